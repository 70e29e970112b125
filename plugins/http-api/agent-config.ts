/** The agent's configuration as `GET /v1/agent/self` prints it: Nomad's names, durations in nanoseconds. */
import type { AgentConfiguration, AgentInfo } from "@drover/plugin-sdk";

/** Nanoseconds of milliseconds. */
const ns = (milliseconds: number) => milliseconds * 1e6;

export function printedConfig(info: AgentInfo): Record<string, unknown> {
  const { config } = info;
  return {
    ACL: { Enabled: false, PolicyTTL: 30e9, ReplicationToken: "", TokenTTL: 30e9 },
    Addresses: { HTTP: config.addresses.http, RPC: config.addresses.rpc, Serf: config.addresses.serf },
    AdvertiseAddrs: { HTTP: info.advertise.http, RPC: info.advertise.rpc, Serf: info.advertise.serf },
    BindAddr: config.bind_addr,
    Client: client(config),
    DataDir: config.data_dir,
    Datacenter: config.datacenter,
    DevMode: info.devMode,
    DisableUpdateCheck: config.disable_update_check,
    EnableDebug: config.enable_debug,
    Files: config.files,
    HTTPAPIResponseHeaders: config.http_api_response_headers,
    LeaveOnInt: config.leave_on_interrupt,
    LeaveOnTerm: config.leave_on_terminate,
    Limits: {
      HTTPMaxConnsPerClient: config.limits.http_max_conns_per_client,
      RPCMaxConnsPerClient: config.limits.rpc_max_conns_per_client,
    },
    LogFile: config.log_file,
    LogJson: config.log_json,
    LogLevel: config.log_level,
    NodeName: config.name,
    Plugins: Object.entries(config.plugins).map(([name, block]) => ({
      Args: block.args.length === 0 ? null : block.args,
      Config: block.config,
      Enabled: block.enabled,
      Name: name,
    })),
    Ports: { HTTP: config.ports.http, RPC: config.ports.rpc, Serf: config.ports.serf },
    Region: config.region,
    Server: server(config),
    Telemetry: {
      CollectionInterval: `${config.telemetry.collection_interval / 1000}s`,
      DisableHostname: config.telemetry.disable_hostname,
      PrometheusMetrics: config.telemetry.prometheus_metrics,
      PublishAllocationMetrics: config.telemetry.publish_allocation_metrics,
      PublishNodeMetrics: config.telemetry.publish_node_metrics,
    },
    Version: { Version: info.version },
  };
}

function client({ client }: AgentConfiguration): Record<string, unknown> {
  const volumes = Object.entries(client.host_volumes);
  return {
    AllocDir: client.alloc_dir,
    CpuCompute: client.cpu_total_compute,
    Enabled: client.enabled,
    GCDiskUsageThreshold: client.gc_disk_usage_threshold,
    GCInterval: ns(client.gc_interval),
    GCMaxAllocs: client.gc_max_allocs,
    HostVolumes:
      volumes.length === 0
        ? null
        : volumes.map(([name, volume]) => ({ Name: name, Path: volume.path, ReadOnly: volume.read_only })),
    MaxDynamicPort: client.max_dynamic_port,
    MaxKillTimeout: `${client.max_kill_timeout / 1000}s`,
    MemoryMB: client.memory_total_mb,
    Meta: client.meta,
    MinDynamicPort: client.min_dynamic_port,
    NetworkInterface: client.network_interface,
    NodeClass: client.node_class,
    Options: client.options,
    Reserved: {
      CPU: client.reserved.cpu,
      Cores: client.reserved.cores,
      DiskMB: client.reserved.disk,
      MemoryMB: client.reserved.memory,
      ReservedPorts: client.reserved.reserved_ports,
    },
    Servers: client.servers.length === 0 ? null : client.servers,
    StateDir: client.state_dir,
  };
}

function server({ server }: AgentConfiguration): Record<string, unknown> {
  return {
    BootstrapExpect: server.bootstrap_expect,
    DataDir: server.data_dir,
    Enabled: server.enabled,
    EnabledSchedulers: server.enabled_schedulers.length === 0 ? null : server.enabled_schedulers,
    HeartbeatGrace: ns(server.heartbeat_grace),
    MaxHeartbeatsPerSecond: server.max_heartbeats_per_second,
    MinHeartbeatTTL: ns(server.min_heartbeat_ttl),
    NumSchedulers: server.num_schedulers,
  };
}
