/** What the kernel itself offers to every plugin: logs, metrics, the agent's identity and configuration. */
import type { AutopilotSettings, SchedulerSettings } from "../domain/index.js";
import { createToken } from "../kernel/token.js";
import type { SchedulerRules } from "./scheduler-rules.js";
import type { TlsConfiguration } from "./tls.js";

/** Structured log. Fields come first so that a line is searchable; never put a secret in either. */
export interface Logger {
  trace(fields: object, message: string): void;
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Logger;
}
export const Logger = createToken<Logger>("Logger");

export type MetricLabels = Record<string, string>;

/** Counters, gauges and samples; names with dots (`nomad.broker.total_ready`), labels few and bounded. */
export interface Metrics {
  increment(name: string, by?: number, labels?: MetricLabels): void;
  gauge(name: string, value: number, labels?: MetricLabels): void;
  /** A timing or size; `value` in milliseconds for names ending in no unit, as Nomad's own metrics. */
  sample(name: string, value: number, labels?: MetricLabels): void;
  /** Registers a reader that sets gauges just before they are read; returns its removal. */
  onCollect(read: () => void): () => void;
  /** Nomad's JSON shape of `GET /v1/metrics`. */
  toJSON(): MetricsSummary;
  /** The Prometheus text exposition of the same. */
  toPrometheus(): Promise<string>;
}
export const Metrics = createToken<Metrics>("Metrics");

export interface MetricsSummary {
  Counters: MetricSample[];
  Gauges: { Labels: MetricLabels; Name: string; Value: number }[];
  Points: unknown[];
  Samples: MetricSample[];
  /** `2026-11-23 14:49:20 +0000 UTC` */
  Timestamp: string;
}

export interface MetricSample {
  Count: number;
  Labels: MetricLabels;
  Max: number;
  Mean: number;
  Min: number;
  Name: string;
  Rate: number;
  Stddev: number;
  Sum: number;
}

/** Who this agent is and what its configuration says, after files and flags are merged. */
export interface AgentInfo {
  /** `name` of the configuration or the host's name. */
  readonly nodeName: string;
  readonly region: string;
  readonly datacenter: string;
  /** Version of Drover, for example `0.1.0`. */
  readonly version: string;
  readonly devMode: boolean;
  /** Absolute folder of everything durable; in `-dev` a temporary folder that is removed at the end. */
  readonly dataDir: string;
  readonly serverEnabled: boolean;
  readonly clientEnabled: boolean;
  /** The agent configuration, completed with defaults. */
  readonly config: AgentConfiguration;
  /** The `config` object of `GET /v1/agent/self`, with Nomad's key names; secrets are blanked. */
  readonly selfConfig: object;
  /** Addresses this agent is reached at, `host:port`. */
  readonly advertise: { readonly http: string; readonly rpc: string; readonly serf: string };
}
export const AgentInfo = createToken<AgentInfo>("AgentInfo");

/**
 * Nomad's agent configuration (https://developer.hashicorp.com/nomad/docs/configuration), the parts that plugins read.
 * Keys are those of the files, durations in milliseconds where the schema says duration.
 */
export interface AgentConfiguration {
  readonly region: string;
  readonly datacenter: string;
  readonly name: string;
  readonly data_dir: string;
  readonly bind_addr: string;
  readonly log_level: "TRACE" | "DEBUG" | "INFO" | "WARN" | "ERROR";
  readonly log_json: boolean;
  readonly log_file: string;
  readonly enable_debug: boolean;
  readonly leave_on_interrupt: boolean;
  readonly leave_on_terminate: boolean;
  readonly disable_update_check: boolean;
  readonly http_api_response_headers: Readonly<Record<string, string>>;
  readonly ports: { readonly http: number; readonly rpc: number; readonly serf: number };
  readonly addresses: { readonly http: string; readonly rpc: string; readonly serf: string };
  readonly advertise: { readonly http: string; readonly rpc: string; readonly serf: string };
  readonly limits: {
    readonly http_max_conns_per_client: number;
    readonly rpc_max_conns_per_client: number;
    /** Milliseconds that a new connection has for its handshake. */
    readonly https_handshake_timeout: number;
    readonly rpc_handshake_timeout: number;
  };
  readonly server: ServerConfiguration;
  readonly client: ClientConfiguration;
  /** Settings of autopilot for a cluster that has none yet. */
  readonly autopilot: AutopilotSettings;
  readonly telemetry: {
    readonly collection_interval: number;
    readonly prometheus_metrics: boolean;
    readonly publish_allocation_metrics: boolean;
    readonly publish_node_metrics: boolean;
    readonly disable_hostname: boolean;
  };
  readonly tls: TlsConfiguration;
  /** `plugin "NAME"` blocks by name. */
  readonly plugins: Readonly<Record<string, PluginBlock>>;
  /** `scheduler "TYPE"` blocks by job type, or `*`. */
  readonly schedulers: SchedulerRules;
  /** Files that were read, in order. */
  readonly files: readonly string[];
}

export interface PluginBlock {
  readonly enabled: boolean;
  /** npm package or file path, where the plugin is not a built-in. */
  readonly source?: string;
  readonly args: readonly string[];
  readonly config: Readonly<Record<string, unknown>>;
}

export interface ServerConfiguration {
  readonly enabled: boolean;
  /** Servers that begin a cluster together; 0: this one waits to be taken into one. */
  readonly bootstrap_expect: number;
  /** Which servers are joined; addresses are `host[:port]` of their RPC ports. */
  readonly server_join: {
    /** Joined once at start, which fails where none of them answers. */
    readonly start_join: readonly string[];
    /** Joined until one answers. */
    readonly retry_join: readonly string[];
    /** Tries after which the agent ends; 0: none. */
    readonly retry_max: number;
    /** Milliseconds. */
    readonly retry_interval: number;
  };
  readonly data_dir: string;
  /** Milliseconds. */
  readonly heartbeat_grace: number;
  /** Milliseconds. */
  readonly min_heartbeat_ttl: number;
  readonly max_heartbeats_per_second: number;
  /** Threads of the scheduling pool; 0 turns scheduling off on this server. */
  readonly num_schedulers: number;
  /** Job types that this server schedules, `_core` among them; empty: all that there are schedulers for. */
  readonly enabled_schedulers: readonly string[];
  /** Milliseconds. */
  readonly eval_nack_timeout: number;
  readonly eval_delivery_limit: number;
  /** Milliseconds that a row must be over before it is collected. */
  readonly eval_gc_threshold: number;
  readonly job_gc_threshold: number;
  readonly node_gc_threshold: number;
  readonly deployment_gc_threshold: number;
  /** Milliseconds between collections of jobs. */
  readonly job_gc_interval: number;
  /** Settings of the schedulers for a cluster that has none yet. */
  readonly default_scheduler_config: SchedulerSettings;
}

export interface ClientConfiguration {
  readonly enabled: boolean;
  readonly state_dir: string;
  readonly alloc_dir: string;
  readonly servers: readonly string[];
  readonly node_class: string;
  readonly meta: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly network_interface: string;
  readonly cpu_total_compute: number;
  readonly memory_total_mb: number;
  readonly min_dynamic_port: number;
  readonly max_dynamic_port: number;
  readonly max_kill_timeout: number;
  readonly gc_max_allocs: number;
  readonly gc_disk_usage_threshold: number;
  /** Milliseconds. */
  readonly gc_interval: number;
  readonly reserved: {
    readonly cpu: number;
    readonly memory: number;
    readonly disk: number;
    readonly cores: string;
    readonly reserved_ports: string;
  };
  readonly host_volumes: Readonly<Record<string, { readonly path: string; readonly read_only: boolean }>>;
}
