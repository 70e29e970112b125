import { availableParallelism, hostname } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import {
  type AgentConfiguration,
  type AutopilotSettings,
  DEFAULT_AUTOPILOT_SETTINGS,
  DEFAULT_SCHEDULER_SETTINGS,
  type PluginBlock,
  type SchedulerRules,
  type SchedulerSettings,
  type TlsConfiguration,
} from "@drover/plugin-sdk";
import { formatDuration } from "../jobspec/duration.js";
import { findBuiltin } from "../kernel/builtin.js";
import { publisherKey } from "../kernel/signature.js";
import { AddressError, advertiseAddress, resolveTemplate, unreachableReason } from "./addresses.js";
import { DEFAULT_PORTS } from "./defaults.js";
import { ConfigError, type ConfigProblem } from "./errors.js";
import type { Settings } from "./schema.js";
import { checkServerJoin, joinsServers, resolveServerJoin } from "./server-join.js";

/** Milliseconds. */
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

export interface ResolveOptions {
  /** Data folder where the settings name none (the temporary one of `-dev`). */
  readonly dataDir?: string;
  readonly files: readonly string[];
}

/** Merged settings completed with Nomad's defaults and checked as a whole. Throws `ConfigError` with every problem. */
export function resolveSettings(settings: Settings, options: ResolveOptions): AgentConfiguration {
  const problems: ConfigProblem[] = [];
  const problem = (message: string): void => void problems.push({ place: "", message });

  const dataDir = settings.data_dir || options.dataDir || "";
  checkRoles(settings, problem);
  checkServerJoin(settings, problem);
  checkNames(settings, problem);
  checkPorts(settings, problem);
  checkPublishers(settings, problem);
  if (dataDir === "") problem('Must specify "data_dir" config option or "data-dir" CLI flag');
  for (const [key, path] of [
    ["data_dir", dataDir],
    ["server.data_dir", settings.server?.data_dir],
    ["client.state_dir", settings.client?.state_dir],
    ["client.alloc_dir", settings.client?.alloc_dir],
    ["plugin_dir", settings.plugin_dir],
  ] as const) {
    if (path && !isAbsolute(path))
      problem(`${key} must be given as an absolute path: got ${path} (perhaps ${resolve(path)})`);
  }

  const ports = { ...DEFAULT_PORTS, ...settings.ports };
  const addresses = resolveAddresses(settings, ports, problem);
  checkAdvertised(settings, addresses.advertise.rpc, problem);
  if (problems.length > 0) throw new ConfigError(problems);

  return {
    region: settings.region || "global",
    datacenter: settings.datacenter || "dc1",
    name: settings.name || hostname(),
    data_dir: dataDir,
    log_level: settings.log_level ?? "INFO",
    log_json: settings.log_json ?? false,
    log_file: settings.log_file ?? "",
    enable_debug: settings.enable_debug ?? false,
    leave_on_interrupt: settings.leave_on_interrupt ?? false,
    leave_on_terminate: settings.leave_on_terminate ?? false,
    disable_update_check: settings.disable_update_check ?? false,
    http_api_response_headers: settings.http_api_response_headers ?? {},
    ports,
    ...addresses,
    limits: {
      http_max_conns_per_client: settings.limits?.http_max_conns_per_client ?? 100,
      rpc_max_conns_per_client: settings.limits?.rpc_max_conns_per_client ?? 100,
      https_handshake_timeout: settings.limits?.https_handshake_timeout || 5_000,
      rpc_handshake_timeout: settings.limits?.rpc_handshake_timeout || 5_000,
    },
    server: resolveServer(settings, dataDir),
    client: resolveClient(settings, dataDir),
    autopilot: resolveAutopilot(settings.autopilot),
    telemetry: {
      collection_interval: settings.telemetry?.collection_interval || 1000,
      prometheus_metrics: settings.telemetry?.prometheus_metrics ?? false,
      publish_allocation_metrics: settings.telemetry?.publish_allocation_metrics ?? false,
      publish_node_metrics: settings.telemetry?.publish_node_metrics ?? false,
      disable_hostname: settings.telemetry?.disable_hostname ?? false,
    },
    tls: resolveTls(settings),
    plugins: resolvePlugins(settings),
    schedulers: resolveRules(settings),
    files: options.files,
  };
}

/** One processor is left to the main thread: it applies plans and answers heartbeats while the others schedule. */
export function defaultSchedulers(): number {
  return Math.max(1, availableParallelism() - 1);
}

function resolveServer(settings: Settings, dataDir: string): AgentConfiguration["server"] {
  const { server = {} } = settings;
  return {
    enabled: server.enabled ?? false,
    bootstrap_expect: server.bootstrap_expect ?? 0,
    server_join: resolveServerJoin(settings),
    data_dir: server.data_dir || join(dataDir, "server"),
    heartbeat_grace: server.heartbeat_grace || 10_000,
    min_heartbeat_ttl: server.min_heartbeat_ttl || 10_000,
    max_heartbeats_per_second: server.max_heartbeats_per_second || 50,
    num_schedulers: server.num_schedulers ?? defaultSchedulers(),
    enabled_schedulers: server.enabled_schedulers ?? [],
    eval_nack_timeout: server.eval_nack_timeout || 60_000,
    eval_delivery_limit: server.eval_delivery_limit || 3,
    eval_gc_threshold: server.eval_gc_threshold || HOUR,
    job_gc_threshold: server.job_gc_threshold || 4 * HOUR,
    node_gc_threshold: server.node_gc_threshold || 24 * HOUR,
    deployment_gc_threshold: server.deployment_gc_threshold || HOUR,
    job_gc_interval: server.job_gc_interval || 5 * MINUTE,
    default_scheduler_config: resolveSchedulers(server.default_scheduler_config),
  };
}

/** What the block leaves out has its default. */
function resolveSchedulers(
  settings: NonNullable<Settings["server"]>["default_scheduler_config"] = {},
): SchedulerSettings {
  const { preemption_config: preemption = {} } = settings;
  const byDefault = DEFAULT_SCHEDULER_SETTINGS;
  const preempts = byDefault.PreemptionConfig;
  return {
    SchedulerAlgorithm: settings.scheduler_algorithm ?? byDefault.SchedulerAlgorithm,
    MemoryOversubscriptionEnabled:
      settings.memory_oversubscription_enabled ?? byDefault.MemoryOversubscriptionEnabled,
    RejectJobRegistration: settings.reject_job_registration ?? byDefault.RejectJobRegistration,
    PauseEvalBroker: settings.pause_eval_broker ?? byDefault.PauseEvalBroker,
    PreemptionConfig: {
      SystemSchedulerEnabled: preemption.system_scheduler_enabled ?? preempts.SystemSchedulerEnabled,
      SysBatchSchedulerEnabled: preemption.sysbatch_scheduler_enabled ?? preempts.SysBatchSchedulerEnabled,
      BatchSchedulerEnabled: preemption.batch_scheduler_enabled ?? preempts.BatchSchedulerEnabled,
      ServiceSchedulerEnabled: preemption.service_scheduler_enabled ?? preempts.ServiceSchedulerEnabled,
    },
  };
}

/** What the block leaves out has its default; so has a duration of zero, which would make every server unhealthy. */
function resolveAutopilot(settings: NonNullable<Settings["autopilot"]> = {}): AutopilotSettings {
  const byDefault = DEFAULT_AUTOPILOT_SETTINGS;
  const duration = (milliseconds: number | undefined, otherwise: string): string =>
    milliseconds ? formatDuration(milliseconds * 1e6) : otherwise;
  return {
    CleanupDeadServers: settings.cleanup_dead_servers ?? byDefault.CleanupDeadServers,
    DisableUpgradeMigration: settings.disable_upgrade_migration ?? byDefault.DisableUpgradeMigration,
    EnableCustomUpgrades: settings.enable_custom_upgrades ?? byDefault.EnableCustomUpgrades,
    EnableRedundancyZones: settings.enable_redundancy_zones ?? byDefault.EnableRedundancyZones,
    LastContactThreshold: duration(settings.last_contact_threshold, byDefault.LastContactThreshold),
    MaxTrailingLogs: settings.max_trailing_logs ?? byDefault.MaxTrailingLogs,
    MinQuorum: settings.min_quorum ?? byDefault.MinQuorum,
    ServerStabilizationTime: duration(settings.server_stabilization_time, byDefault.ServerStabilizationTime),
  };
}

function resolveClient({ client = {} }: Settings, dataDir: string): AgentConfiguration["client"] {
  const { reserved = {}, host_volume = {} } = client;
  return {
    enabled: client.enabled ?? false,
    state_dir: client.state_dir || join(dataDir, "client"),
    alloc_dir: client.alloc_dir || join(dataDir, "alloc"),
    servers: client.servers ?? [],
    node_class: client.node_class ?? "",
    meta: client.meta ?? {},
    options: client.options ?? {},
    network_interface: client.network_interface ?? "",
    cpu_total_compute: client.cpu_total_compute ?? 0,
    memory_total_mb: client.memory_total_mb ?? 0,
    min_dynamic_port: client.min_dynamic_port || 20_000,
    max_dynamic_port: client.max_dynamic_port || 32_000,
    max_kill_timeout: client.max_kill_timeout || 30_000,
    gc_max_allocs: client.gc_max_allocs || 50,
    gc_disk_usage_threshold: client.gc_disk_usage_threshold || 80,
    gc_interval: client.gc_interval || 60_000,
    reserved: {
      cpu: reserved.cpu ?? 0,
      memory: reserved.memory ?? 0,
      disk: reserved.disk ?? 0,
      cores: reserved.cores ?? "",
      reserved_ports: reserved.reserved_ports ?? "",
    },
    host_volumes: Object.fromEntries(
      Object.entries(host_volume).map(([name, { path, read_only }]) => [
        name,
        { path, read_only: read_only ?? false },
      ]),
    ),
  };
}

function resolveTls({ tls = {} }: Settings): TlsConfiguration {
  return {
    http: tls.http ?? false,
    rpc: tls.rpc ?? false,
    ca_file: tls.ca_file ?? "",
    cert_file: tls.cert_file ?? "",
    key_file: tls.key_file ?? "",
    rpc_upgrade_mode: tls.rpc_upgrade_mode ?? false,
    tls_cipher_suites: tls.tls_cipher_suites ?? "",
    tls_min_version: tls.tls_min_version ?? "tls12",
    tls_prefer_server_cipher_suites: tls.tls_prefer_server_cipher_suites ?? false,
    verify_https_client: tls.verify_https_client ?? false,
    verify_server_hostname: tls.verify_server_hostname ?? false,
  };
}

/** Blocks by the name of their plugin: one written for Nomad (`raw_exec`) lands at the built-in it means. */
function resolvePlugins({ plugin = {} }: Settings): Record<string, PluginBlock> {
  const plugins = new Map<string, PluginBlock>();
  for (const [label, block] of Object.entries(plugin)) {
    const name = block.source === undefined ? (findBuiltin(label)?.name ?? label) : label;
    const before = plugins.get(name);
    plugins.set(name, {
      enabled: block.enabled ?? before?.enabled ?? true,
      ...(block.source === undefined ? {} : { source: block.source }),
      args: block.args ?? before?.args ?? [],
      config: { ...before?.config, ...block.config },
    });
  }
  return Object.fromEntries(plugins);
}

function resolveRules({ scheduler = {} }: Settings): SchedulerRules {
  return Object.fromEntries(
    Object.entries(scheduler).map(([type, { filters = [], scorers = [], deadline, namespace = {} }]) => [
      type,
      {
        filters,
        scorers,
        ...(deadline === undefined ? {} : { deadline }),
        namespaces: Object.fromEntries(
          Object.entries(namespace).map(([name, parts]) => [
            name,
            { filters: parts.filters ?? [], scorers: parts.scorers ?? [] },
          ]),
        ),
      },
    ]),
  );
}

type Report = (message: string) => void;

function resolveAddresses(
  settings: Settings,
  ports: AgentConfiguration["ports"],
  problem: Report,
): Pick<AgentConfiguration, "bind_addr" | "addresses" | "advertise"> {
  const said = new Set<string>();
  const attempt = (key: string, make: () => string): string => {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof AddressError)) throw error;
      // The three kinds share one bind address, and mostly what is wrong with it.
      if (!said.has(error.message)) problem(`${key}: ${error.message}`);
      said.add(error.message);
      return "";
    }
  };
  const bind = attempt("bind_addr", () => resolveTemplate(settings.bind_addr || "0.0.0.0"));
  const bound = (kind: "http" | "rpc" | "serf") =>
    attempt(`addresses.${kind}`, () => resolveTemplate(settings.addresses?.[kind] || bind));
  const addresses = { http: bound("http"), rpc: bound("rpc"), serf: bound("serf") };
  const reached = (kind: "http" | "rpc" | "serf") =>
    attempt(`advertise.${kind}`, () =>
      advertiseAddress(settings.advertise?.[kind] ?? "", addresses[kind], ports[kind]),
    );
  return {
    bind_addr: bind,
    addresses,
    advertise: { http: reached("http"), rpc: reached("rpc"), serf: reached("serf") },
  };
}

function checkRoles(settings: Settings, problem: Report): void {
  const { server, client } = settings;
  if (server?.enabled !== true && client?.enabled !== true) {
    problem("Must specify either server, client or dev mode for the agent.");
  }
  if (server?.enabled !== true) return;
  const expect = server.bootstrap_expect ?? 0;
  if (expect === 0 && !joinsServers(settings)) {
    problem(
      "server.bootstrap_expect (or -bootstrap-expect) must be set: 1 for a single server; a server that joins a cluster needs server_join (or -retry-join) instead",
    );
  }
}

/** A server among others gives its address to them. */
function checkAdvertised({ server = {} }: Settings, rpc: string, problem: Report): void {
  const { server_join: join = {} } = server;
  const joins = [server.start_join, server.retry_join, join.start_join, join.retry_join];
  const isAmongOthers = (server.bootstrap_expect ?? 0) > 1 || joins.some((list) => (list?.length ?? 0) > 0);
  // An address that could not be made out was reported.
  if (server.enabled !== true || !isAmongOthers || rpc === "") return;
  const reason = unreachableReason(rpc);
  if (reason === undefined) return;
  problem(
    `advertise.rpc: other servers can't reach this one at ${rpc}: ${reason}; set advertise.rpc (or bind_addr) to an ` +
      "address of this machine",
  );
}

function checkNames(settings: Settings, problem: Report): void {
  for (const key of ["region", "datacenter", "name"] as const) {
    const value = settings[key];
    // Region and node stand in MQTT topics, and all of them in names that people type.
    if (value && /[\s/+#\p{Cc}]/u.test(value))
      problem(`${key} "${value}" must not contain blanks, "/", "+" or "#"`);
  }
}

function checkPorts({ client }: Settings, problem: Report): void {
  const low = client?.min_dynamic_port || 20_000;
  const high = client?.max_dynamic_port || 32_000;
  if (low > high) problem(`client.min_dynamic_port (${low}) is above client.max_dynamic_port (${high})`);
}

function checkPublishers({ plugin_trust }: Settings, problem: Report): void {
  for (const key of plugin_trust?.publishers ?? []) {
    try {
      publisherKey(key);
    } catch (error) {
      problem(`plugin_trust.publishers: ${(error as Error).message}`);
    }
  }
}
