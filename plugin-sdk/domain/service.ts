/** Services, their checks, and Consul Connect. Durations are nanoseconds. */

import type { LogConfig, Resources } from "./resources.js";

/** Consul settings of a group. */
export interface Consul {
  /** Consul namespace (Enterprise); "" is the agent's. */
  Namespace: string;
}

/** When an unhealthy check restarts its task. */
export interface CheckRestart {
  /** Wait after a start before failures count; default 1s. */
  Grace: number;
  /** Count "warning" as healthy. */
  IgnoreWarnings: boolean;
  /** Failures in a row; 0: never restart. */
  Limit: number;
}

/** A health check. */
export interface ServiceCheck {
  AddressMode: string;
  Args: string[] | null;
  /** HTTP body. */
  Body: string;
  CheckRestart: CheckRestart | null;
  /** Script checks: what to run inside the task. */
  Command: string;
  /** Connect: expose an HTTP or gRPC check through the proxy. */
  Expose: boolean;
  FailuresBeforeCritical: number;
  GRPCService: string;
  GRPCUseTLS: boolean;
  Header: Record<string, string[]> | null;
  /** "", "passing", "warning" or "critical". */
  InitialStatus: string;
  /** At least 1s. */
  Interval: number;
  /** HTTP; default GET. */
  Method: string;
  Name: string;
  /** "require_healthy", "ignore" or "ignore_warnings". */
  OnUpdate: string;
  Path: string;
  PortLabel: string;
  /** "http" or "https". */
  Protocol: string;
  SuccessBeforePassing: number;
  TLSSkipVerify: boolean;
  /** Task a script check runs in. */
  TaskName: string;
  /** At least 1s. */
  Timeout: number;
  /** "http", "tcp", "script" or "grpc". */
  Type: string;
}

/** A service of a group or task. */
export interface Service {
  /** "auto", "host", "driver" or "alloc". */
  AddressMode: string;
  CanaryMeta: Record<string, string> | null;
  /** Instead of Tags while a canary. */
  CanaryTags: string[] | null;
  Checks: ServiceCheck[] | null;
  Connect: ConsulConnect | null;
  EnableTagOverride: boolean;
  Meta: Record<string, string> | null;
  /** Default `<job>-<group>-<task>`. */
  Name: string;
  /** Consul namespace. */
  Namespace: string;
  /** Default "require_healthy". */
  OnUpdate: string;
  /** Label or number. */
  PortLabel: string;
  Tags: string[] | null;
  TaskName: string;
}

/** Consul Connect of a service: one of the three ways. */
export interface ConsulConnect {
  Gateway: ConsulGateway | null;
  /** The task speaks Connect itself. */
  Native: boolean;
  SidecarService: ConsulSidecarService | null;
  SidecarTask: SidecarTask | null;
}

/** Registration of the sidecar proxy. */
export interface ConsulSidecarService {
  DisableDefaultTCPCheck: boolean;
  Port: string;
  Proxy: ConsulProxy | null;
  Tags: string[] | null;
}

/** Changes to the sidecar task that admission injects. */
export interface SidecarTask {
  Config: Record<string, unknown> | null;
  Driver: string;
  Env: Record<string, string> | null;
  KillSignal: string;
  KillTimeout: number | null;
  LogConfig: LogConfig | null;
  Meta: Record<string, string> | null;
  Name: string;
  Resources: Resources | null;
  ShutdownDelay: number | null;
  User: string;
}

/** Configuration of a sidecar proxy. */
export interface ConsulProxy {
  Config: Record<string, unknown> | null;
  Expose: ConsulExposeConfig | null;
  LocalServiceAddress: string;
  LocalServicePort: number;
  Upstreams: ConsulUpstream[] | null;
}

/** Gateway that upstream traffic takes: "", "none", "local" or "remote". */
export interface ConsulMeshGateway {
  Mode: string;
}

/** A service reached through the proxy. */
export interface ConsulUpstream {
  Datacenter: string;
  DestinationName: string;
  LocalBindAddress: string;
  LocalBindPort: number;
  MeshGateway: ConsulMeshGateway | null;
}

/** Paths exposed outside the mesh. */
export interface ConsulExposeConfig {
  Paths: ConsulExposePath[] | null;
}

/** A path exposed outside the mesh. */
export interface ConsulExposePath {
  ListenerPort: string;
  LocalPathPort: number;
  Path: string;
  /** "http" or "http2". */
  Protocol: string;
}

/** A gateway: exactly one of the three kinds. */
export interface ConsulGateway {
  Ingress: ConsulIngressConfigEntry | null;
  Mesh: ConsulMeshConfigEntry | null;
  Proxy: ConsulGatewayProxy | null;
  Terminating: ConsulTerminatingConfigEntry | null;
}

/** Address a gateway's proxy binds. */
export interface ConsulGatewayBindAddress {
  Address: string;
  Name: string;
  Port: number;
}

/** Envoy settings of a gateway. */
export interface ConsulGatewayProxy {
  Config: Record<string, unknown> | null;
  /** Default 5s. */
  ConnectTimeout: number | null;
  /** "STRICT_DNS" or "LOGICAL_DNS"; "" for Envoy's default. */
  EnvoyDNSDiscoveryType: string;
  EnvoyGatewayBindAddresses: Record<string, ConsulGatewayBindAddress> | null;
  EnvoyGatewayBindTaggedAddresses: boolean;
  EnvoyGatewayNoDefaultBind: boolean;
}

/** TLS of an ingress gateway. */
export interface ConsulGatewayTLSConfig {
  Enabled: boolean;
}

/** Service behind an ingress listener. */
export interface ConsulIngressService {
  Hosts: string[] | null;
  Name: string;
}

/** Listener of an ingress gateway. */
export interface ConsulIngressListener {
  Port: number;
  /** "tcp" or "http". */
  Protocol: string;
  Services: ConsulIngressService[] | null;
}

/** Ingress gateway: from outside into the mesh. */
export interface ConsulIngressConfigEntry {
  Listeners: ConsulIngressListener[] | null;
  TLS: ConsulGatewayTLSConfig | null;
}

/** Service behind a terminating gateway, outside the mesh. */
export interface ConsulLinkedService {
  CAFile: string;
  CertFile: string;
  KeyFile: string;
  Name: string;
  SNI: string;
}

/** Terminating gateway: from the mesh to the outside. */
export interface ConsulTerminatingConfigEntry {
  Services: ConsulLinkedService[] | null;
}

/** Mesh gateway: between datacenters; it has no settings. */
export type ConsulMeshConfigEntry = Record<string, never>;
