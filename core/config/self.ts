/**
 * The `config` object of `GET /v1/agent/self`: Nomad's configuration structure with its Go names
 * (https://developer.hashicorp.com/nomad/api-docs/agent#query-self). Durations are nanoseconds, except where Nomad keeps
 * the text. Secrets are blanked as Nomad blanks them. `Schedulers` is Drover's own.
 */
import type { AgentConfiguration, NamedParts } from "@drover/plugin-sdk";
import { formatDuration } from "../jobspec/duration.js";
import type { Settings } from "./schema.js";

const REDACTED = "<redacted>";

const nanoseconds = (milliseconds: number | undefined, byDefault = 0): number =>
  milliseconds === undefined ? byDefault : milliseconds * 1e6;
const durationText = (milliseconds: number | undefined, byDefault = ""): string =>
  milliseconds === undefined ? byDefault : formatDuration(milliseconds * 1e6);
const blank = (secret: string | undefined): string => (secret ? REDACTED : "");
const orNull = <T>(list: readonly T[] | undefined): readonly T[] | null =>
  list && list.length > 0 ? list : null;

export interface SelfOptions {
  readonly dev: boolean;
}

export function agentSelf(config: AgentConfiguration, settings: Settings, { dev }: SelfOptions): object {
  return {
    ACL: {
      Enabled: settings.acl?.enabled ?? false,
      PolicyTTL: nanoseconds(settings.acl?.policy_ttl, 30e9),
      ReplicationToken: blank(settings.acl?.replication_token),
      TokenTTL: nanoseconds(settings.acl?.token_ttl, 30e9),
    },
    Addresses: { HTTP: config.addresses.http, RPC: config.addresses.rpc, Serf: config.addresses.serf },
    AdvertiseAddrs: { HTTP: config.advertise.http, RPC: config.advertise.rpc, Serf: config.advertise.serf },
    Audit: { Enabled: settings.audit?.enabled ?? null, Filters: null, Sinks: null },
    Autopilot: autopilotSelf(settings),
    BindAddr: config.bind_addr,
    Client: clientSelf(config, settings),
    Consul: consulSelf(settings),
    DataDir: dev ? (settings.data_dir ?? "") : config.data_dir,
    Datacenter: config.datacenter,
    DevMode: dev,
    DisableAnonymousSignature: settings.disable_anonymous_signature ?? dev,
    DisableUpdateCheck: config.disable_update_check,
    EnableDebug: config.enable_debug,
    EnableSyslog: settings.enable_syslog ?? false,
    Files: orNull(config.files),
    HTTPAPIResponseHeaders: config.http_api_response_headers,
    LeaveOnInt: config.leave_on_interrupt,
    LeaveOnTerm: config.leave_on_terminate,
    Limits: {
      HTTPMaxConnsPerClient: config.limits.http_max_conns_per_client,
      HTTPSHandshakeTimeout: durationText(settings.limits?.https_handshake_timeout, "5s"),
      RPCHandshakeTimeout: durationText(settings.limits?.rpc_handshake_timeout, "5s"),
      RPCMaxConnsPerClient: config.limits.rpc_max_conns_per_client,
    },
    LogFile: config.log_file,
    LogJson: config.log_json,
    LogLevel: config.log_level,
    LogRotateBytes: settings.log_rotate_bytes ?? 0,
    LogRotateDuration: durationText(settings.log_rotate_duration),
    LogRotateMaxFiles: settings.log_rotate_max_files ?? 0,
    NodeName: settings.name ?? "",
    PluginDir: settings.plugin_dir ?? "",
    Plugins: pluginsSelf(settings),
    Ports: { HTTP: config.ports.http, RPC: config.ports.rpc, Serf: config.ports.serf },
    Region: config.region,
    Schedulers: schedulersSelf(config),
    Sentinel: { Imports: null },
    Server: serverSelf(config, settings),
    SyslogFacility: settings.syslog_facility ?? "LOCAL0",
    TLSConfig: tlsSelf(settings),
    Telemetry: telemetrySelf(config, settings),
    UI: uiSelf(settings),
    Vault: vaultSelf(settings),
    Version: null,
  };
}

/** Names and shapes only: a plugin's config may hold secrets that nobody here can tell from the rest. */
function pluginsSelf({ plugin = {} }: Settings): object[] | null {
  return orNull(
    Object.entries(plugin).map(([Name, { args, config }]) => ({
      Args: args ?? null,
      Config: Object.fromEntries(
        Object.entries(config ?? {}).map(([key, value]) => [
          key,
          typeof value === "boolean" ? value : REDACTED,
        ]),
      ),
      Name,
    })),
  ) as object[] | null;
}

/** The `scheduler` blocks, which are Drover's own: the shape is that of the other labelled blocks. */
function schedulersSelf({ schedulers }: AgentConfiguration): readonly object[] | null {
  const parts = ({ filters, scorers }: NamedParts) => ({
    Filters: orNull(filters),
    Scorers: orNull(scorers),
  });
  return orNull(
    Object.entries(schedulers).map(([Type, rule]) => ({
      ...parts(rule),
      Deadline: nanoseconds(rule.deadline),
      Namespaces: orNull(Object.entries(rule.namespaces).map(([Name, named]) => ({ ...parts(named), Name }))),
      Type,
    })),
  );
}

function autopilotSelf({ autopilot = {} }: Settings): object {
  return {
    CleanupDeadServers: autopilot.cleanup_dead_servers ?? null,
    DisableUpgradeMigration: autopilot.disable_upgrade_migration ?? null,
    EnableCustomUpgrades: autopilot.enable_custom_upgrades ?? null,
    EnableRedundancyZones: autopilot.enable_redundancy_zones ?? null,
    LastContactThreshold: nanoseconds(autopilot.last_contact_threshold, 200e6),
    MaxTrailingLogs: autopilot.max_trailing_logs ?? 250,
    MinQuorum: autopilot.min_quorum ?? 0,
    ServerStabilizationTime: nanoseconds(autopilot.server_stabilization_time, 10e9),
  };
}

function joinSelf(join: NonNullable<Settings["server"]>["server_join"] = {}): object {
  return {
    RetryInterval: nanoseconds(join.retry_interval, 30e9),
    RetryJoin: join.retry_join ?? [],
    RetryMaxAttempts: join.retry_max ?? 0,
    StartJoin: orNull(join.start_join),
  };
}

function clientSelf({ client: config }: AgentConfiguration, { client = {} }: Settings): object {
  return {
    AllocDir: client.alloc_dir ?? "",
    BindWildcardDefaultHostNetwork: client.bind_wildcard_default_host_network ?? true,
    BridgeNetworkName: client.bridge_network_name ?? "",
    BridgeNetworkSubnet: client.bridge_network_subnet ?? "",
    CNIConfigDir: client.cni_config_dir ?? "",
    CNIPath: client.cni_path ?? "",
    CgroupParent: client.cgroup_parent ?? "",
    ChrootEnv: client.chroot_env ?? {},
    ClientMaxPort: client.client_max_port ?? 14512,
    ClientMinPort: client.client_min_port ?? 14000,
    CpuCompute: config.cpu_total_compute,
    DisableRemoteExec: client.disable_remote_exec ?? false,
    Enabled: config.enabled,
    GCDiskUsageThreshold: config.gc_disk_usage_threshold,
    GCInodeUsageThreshold: client.gc_inode_usage_threshold ?? 70,
    GCInterval: nanoseconds(config.gc_interval),
    GCMaxAllocs: config.gc_max_allocs,
    GCParallelDestroys: client.gc_parallel_destroys ?? 2,
    HostNetworks: orNull(
      Object.entries(client.host_network ?? {}).map(([Name, network]) => ({
        CIDR: network.cidr ?? "",
        Interface: network.interface ?? "",
        Name,
        ReservedPorts: network.reserved_ports ?? "",
      })),
    ),
    HostVolumes: orNull(
      Object.entries(config.host_volumes).map(([Name, { path, read_only }]) => ({
        Name,
        Path: path,
        ReadOnly: read_only,
      })),
    ),
    MaxKillTimeout: durationText(config.max_kill_timeout),
    MemoryMB: config.memory_total_mb,
    Meta: config.meta,
    NetworkInterface: config.network_interface,
    NetworkSpeed: client.network_speed ?? 0,
    NoHostUUID: client.no_host_uuid ?? true,
    NodeClass: config.node_class,
    Options: config.options,
    ReserveableCores: client.reservable_cores ?? "",
    Reserved: {
      CPU: config.reserved.cpu,
      Cores: config.reserved.cores,
      DiskMB: config.reserved.disk,
      MemoryMB: config.reserved.memory,
      ReservedPorts: config.reserved.reserved_ports,
    },
    ServerJoin: joinSelf(client.server_join),
    Servers: orNull(config.servers),
    StateDir: client.state_dir ?? "",
    TemplateConfig: {
      DisableSandbox: client.template?.disable_file_sandbox ?? false,
      FunctionBlacklist: orNull(client.template?.function_blacklist),
      FunctionDenylist: client.template?.function_denylist ?? ["plugin"],
    },
  };
}

function serverSelf({ server: config }: AgentConfiguration, { server = {} }: Settings): object {
  const { search = {}, default_scheduler_config: scheduler } = server;
  return {
    AuthoritativeRegion: server.authoritative_region ?? "",
    BootstrapExpect: config.bootstrap_expect,
    CSIPluginGCThreshold: durationText(server.csi_plugin_gc_threshold),
    CSIVolumeClaimGCThreshold: durationText(server.csi_volume_claim_gc_threshold),
    DataDir: server.data_dir ?? "",
    DefaultSchedulerConfig: scheduler === undefined ? null : config.default_scheduler_config,
    DeploymentGCThreshold: durationText(server.deployment_gc_threshold),
    EnableEventBroker: server.enable_event_broker ?? true,
    Enabled: config.enabled,
    EnabledSchedulers: orNull(config.enabled_schedulers),
    EvalGCThreshold: durationText(server.eval_gc_threshold),
    EventBufferSize: server.event_buffer_size ?? 100,
    HeartbeatGrace: nanoseconds(server.heartbeat_grace),
    JobGCInterval: durationText(server.job_gc_interval),
    JobGCThreshold: durationText(server.job_gc_threshold),
    LicenseEnv: blank(server.license_env),
    LicensePath: server.license_path ?? "",
    MaxHeartbeatsPerSecond: server.max_heartbeats_per_second ?? 0,
    MinHeartbeatTTL: nanoseconds(server.min_heartbeat_ttl),
    NodeGCThreshold: durationText(server.node_gc_threshold),
    NonVotingServer: server.non_voting_server ?? false,
    NumSchedulers: server.num_schedulers ?? null,
    ProtocolVersion: server.protocol_version ?? 0,
    RaftMultiplier: server.raft_multiplier ?? null,
    RaftProtocol: server.raft_protocol ?? 0,
    RedundancyZone: server.redundancy_zone ?? "",
    RejoinAfterLeave: server.rejoin_after_leave ?? false,
    RetryInterval: nanoseconds(server.retry_interval),
    RetryJoin: server.retry_join ?? [],
    RetryMaxAttempts: server.retry_max ?? 0,
    Search: {
      FuzzyEnabled: search.fuzzy_enabled ?? true,
      LimitQuery: search.limit_query ?? 20,
      LimitResults: search.limit_results ?? 100,
      MinTermLength: search.min_term_length ?? 2,
    },
    ServerJoin: joinSelf(server.server_join),
    StartJoin: server.start_join ?? [],
    UpgradeVersion: server.upgrade_version ?? "",
  };
}

function consulSelf({ consul = {} }: Settings): object {
  return {
    Addr: consul.address ?? "127.0.0.1:8500",
    AllowUnauthenticated: consul.allow_unauthenticated ?? true,
    Auth: blank(consul.auth),
    AutoAdvertise: consul.auto_advertise ?? true,
    CAFile: consul.ca_file ?? "",
    CertFile: consul.cert_file ?? "",
    ChecksUseAdvertise: consul.checks_use_advertise ?? false,
    ClientAutoJoin: consul.client_auto_join ?? true,
    ClientHTTPCheckName: consul.client_http_check_name ?? "Nomad Client HTTP Check",
    ClientServiceName: consul.client_service_name ?? "nomad-client",
    EnableSSL: consul.ssl ?? false,
    GRPCAddr: consul.grpc_address ?? "",
    KeyFile: consul.key_file ?? "",
    Namespace: consul.namespace ?? "",
    ServerAutoJoin: consul.server_auto_join ?? true,
    ServerHTTPCheckName: consul.server_http_check_name ?? "Nomad Server HTTP Check",
    ServerRPCCheckName: consul.server_rpc_check_name ?? "Nomad Server RPC Check",
    ServerSerfCheckName: consul.server_serf_check_name ?? "Nomad Server Serf Check",
    ServerServiceName: consul.server_service_name ?? "nomad",
    ShareSSL: consul.share_ssl ?? null,
    Tags: orNull(consul.tags),
    Timeout: nanoseconds(consul.timeout, 5e9),
    Token: blank(consul.token),
    VerifySSL: consul.verify_ssl ?? true,
  };
}

function tlsSelf({ tls = {} }: Settings): object {
  return {
    CAFile: tls.ca_file ?? "",
    CertFile: tls.cert_file ?? "",
    Checksum: "",
    EnableHTTP: tls.http ?? false,
    EnableRPC: tls.rpc ?? false,
    KeyFile: tls.key_file ?? "",
    KeyLoader: {},
    RPCUpgradeMode: tls.rpc_upgrade_mode ?? false,
    TLSCipherSuites: tls.tls_cipher_suites ?? "",
    TLSMinVersion: tls.tls_min_version ?? "",
    TLSPreferServerCipherSuites: tls.tls_prefer_server_cipher_suites ?? false,
    VerifyHTTPSClient: tls.verify_https_client ?? false,
    VerifyServerHostname: tls.verify_server_hostname ?? false,
  };
}

function telemetrySelf({ telemetry: config }: AgentConfiguration, { telemetry = {} }: Settings): object {
  return {
    CirconusAPIApp: telemetry.circonus_api_app ?? "",
    CirconusAPIToken: blank(telemetry.circonus_api_token),
    CirconusAPIURL: telemetry.circonus_api_url ?? "",
    CirconusBrokerID: telemetry.circonus_broker_id ?? "",
    CirconusBrokerSelectTag: telemetry.circonus_broker_select_tag ?? "",
    CirconusCheckDisplayName: telemetry.circonus_check_display_name ?? "",
    CirconusCheckForceMetricActivation: telemetry.circonus_check_force_metric_activation ?? "",
    CirconusCheckID: telemetry.circonus_check_id ?? "",
    CirconusCheckInstanceID: telemetry.circonus_check_instance_id ?? "",
    CirconusCheckSearchTag: telemetry.circonus_check_search_tag ?? "",
    CirconusCheckSubmissionURL: telemetry.circonus_submission_url ?? "",
    CirconusCheckTags: telemetry.circonus_check_tags ?? "",
    CirconusSubmissionInterval: telemetry.circonus_submission_interval ?? "",
    CollectionInterval: durationText(config.collection_interval),
    DataDogAddr: telemetry.datadog_address ?? "",
    DataDogTags: orNull(telemetry.datadog_tags),
    DisableDispatchedJobSummaryMetrics: telemetry.disable_dispatched_job_summary_metrics ?? false,
    DisableHostname: config.disable_hostname,
    FilterDefault: telemetry.filter_default ?? null,
    PrefixFilter: orNull(telemetry.prefix_filter),
    PrometheusMetrics: config.prometheus_metrics,
    PublishAllocationMetrics: config.publish_allocation_metrics,
    PublishNodeMetrics: config.publish_node_metrics,
    StatsdAddr: telemetry.statsd_address ?? "",
    StatsiteAddr: telemetry.statsite_address ?? "",
    UseNodeName: telemetry.use_node_name ?? false,
  };
}

function uiSelf({ ui = {} }: Settings): object {
  return {
    Enabled: ui.enabled ?? true,
    Consul: { BaseUIURL: ui.consul?.ui_url ?? "" },
    Vault: { BaseUIURL: ui.vault?.ui_url ?? "" },
  };
}

function vaultSelf({ vault = {} }: Settings): object {
  return {
    Addr: vault.address ?? "https://vault.service.consul:8200",
    AllowUnauthenticated: vault.allow_unauthenticated ?? true,
    ConnectionRetryIntv: 30e9,
    Enabled: vault.enabled ?? null,
    Namespace: vault.namespace ?? "",
    Role: vault.create_from_role ?? "",
    TLSCaFile: vault.ca_file ?? "",
    TLSCaPath: vault.ca_path ?? "",
    TLSCertFile: vault.cert_file ?? "",
    TLSKeyFile: vault.key_file ?? "",
    TLSServerName: vault.tls_server_name ?? "",
    TLSSkipVerify: vault.tls_skip_verify ?? null,
    TaskTokenTTL: vault.task_token_ttl ?? "",
    Token: blank(vault.token),
  };
}
