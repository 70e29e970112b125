/** Resources: what tasks ask for, what allocations got, what nodes have. */
import type { Affinity, Constraint } from "./policies.js";

/** Smallest CPU ask, MHz. */
export const MIN_CPU_MHZ = 1;
/** Smallest memory ask, MB. */
export const MIN_MEMORY_MB = 10;
/** CPU when a task asks nothing, MHz. */
export const DEFAULT_CPU_MHZ = 100;
/** Memory when a task asks nothing, MB. */
export const DEFAULT_MEMORY_MB = 300;
/** First dynamic port by default. */
export const MIN_DYNAMIC_PORT = 20000;
/** Last dynamic port by default. */
export const MAX_DYNAMIC_PORT = 32000;

/** What a task asks for (`resources` block); also the legacy form of what allocations and nodes hold. */
export interface Resources {
  /** MHz; default 100. Exclusive with Cores. */
  CPU: number;
  /** Whole cores reserved for the task; default 0: none. */
  Cores: number;
  Devices: RequestedDevice[] | null;
  /** Legacy: disk is the group's EphemeralDisk. */
  DiskMB: number;
  /** Legacy: no longer used. */
  IOPS: number;
  /** Default 300. */
  MemoryMB: number;
  /** Upper bound with memory oversubscription; 0: MemoryMB. */
  MemoryMaxMB: number;
  /** Task networks (deprecated in favour of the group's). */
  Networks: NetworkResource[] | null;
}

/** DNS of a group's network namespace. */
export interface DNSConfig {
  Servers: string[] | null;
  Searches: string[] | null;
  Options: string[] | null;
}

/** A port of a group's network: asked for (static or dynamic) or given. */
export interface Port {
  /** Host network alias it is taken from; default "default". */
  HostNetwork: string;
  Label: string;
  /** Port inside the allocation's namespace; 0: none, -1: same as Value. */
  To: number;
  /** Host port; 0 while a dynamic one is not chosen. */
  Value: number;
}

/** A network: asked for by a group, given to an allocation, or present on a node. */
export interface NetworkResource {
  CIDR: string;
  DNS: DNSConfig | null;
  /** Interface, e.g. "eth0". */
  Device: string;
  DynamicPorts: Port[] | null;
  IP: string;
  /** Legacy: bandwidth, no longer scheduled. */
  MBits: number;
  /** "host" (or ""), "bridge", "none" or "cni/<name>". */
  Mode: string;
  ReservedPorts: Port[] | null;
}

/** A device a task asks for. */
export interface RequestedDevice {
  Affinities: Affinity[] | null;
  Constraints: Constraint[] | null;
  /** Instances; default 1. */
  Count: number;
  /** `<type>`, `<vendor>/<type>` or `<vendor>/<type>/<name>`. */
  Name: string;
}

/** A port an allocation holds. */
export interface AllocatedPortMapping {
  HostIP: string;
  Label: string;
  /** Port inside the namespace; 0 or equal to Value when not mapped. */
  To: number;
  /** Host port. */
  Value: number;
}

/** CPU a task holds. */
export interface AllocatedCpuResources {
  /** MHz. */
  CpuShares: number;
  /** Ids of cores held exclusively. */
  ReservedCores: number[] | null;
}

/** Memory a task holds. */
export interface AllocatedMemoryResources {
  MemoryMB: number;
  /** Bound with oversubscription; 0: MemoryMB. */
  MemoryMaxMB: number;
}

/** Device instances a task holds. */
export interface AllocatedDeviceResource {
  DeviceIDs: string[];
  Name: string;
  Type: string;
  Vendor: string;
}

/** What one task of an allocation holds. */
export interface AllocatedTaskResources {
  Cpu: AllocatedCpuResources;
  Devices: AllocatedDeviceResource[] | null;
  Memory: AllocatedMemoryResources;
  Networks: NetworkResource[] | null;
}

/** What the tasks of an allocation share. */
export interface AllocatedSharedResources {
  DiskMB: number;
  Networks: NetworkResource[] | null;
  Ports: AllocatedPortMapping[] | null;
}

/** What an allocation holds. */
export interface AllocatedResources {
  Shared: AllocatedSharedResources;
  /** By task: its lifecycle, null for main tasks. Usage is the maximum over phases, not the sum. */
  TaskLifecycles: Record<string, TaskLifecycle | null>;
  /** By task. */
  Tasks: Record<string, AllocatedTaskResources>;
}

/** When a task runs relative to the main tasks. */
export interface TaskLifecycle {
  /** "prestart", "poststart" or "poststop". */
  Hook: string;
  /** Keeps running beside the main tasks instead of completing before them. */
  Sidecar: boolean;
}

/** Rotation of a task's logs (`logs` block). */
export interface LogConfig {
  /** Default 10. */
  MaxFileSizeMB: number;
  /** For stdout and stderr each; default 10. */
  MaxFiles: number;
}

/** CPU of a node. */
export interface NodeCpuResources {
  /** MHz over all cores. */
  CpuShares: number;
  /** Ids of cores that tasks may reserve. */
  ReservableCpuCores: number[] | null;
  TotalCpuCores: number;
}

/** Memory of a node. */
export interface NodeMemoryResources {
  MemoryMB: number;
}

/** Disk of a node, where allocation directories live. */
export interface NodeDiskResources {
  DiskMB: number;
}

/** An address of a node's network. */
export interface NodeNetworkAddress {
  Address: string;
  /** Host network alias; "default" for the default one. */
  Alias: string;
  /** "ipv4" or "ipv6". */
  Family: string;
  Gateway: string;
  /** Ports kept from jobs: "22,80,8000-8100". */
  ReservedPorts: string;
}

/** An interface of a node. */
export interface NodeNetworkResource {
  Addresses: NodeNetworkAddress[] | null;
  Device: string;
  MacAddress: string;
  /** "host", "bridge" or "cni/<name>". */
  Mode: string;
  /** Megabits a second. */
  Speed: number;
}

/** A typed attribute of a device; exactly one of the values is set. */
export interface Attribute {
  Bool?: boolean | null;
  Float?: number | null;
  Int?: number | null;
  String?: string | null;
  /** Unit of Int or Float, e.g. "MiB", "MHz", "GB/s"; "" without. */
  Unit?: string;
}

/** Where a device sits. */
export interface NodeDeviceLocality {
  PciBusID: string;
}

/** An instance of a device on a node. */
export interface NodeDevice {
  HealthDescription: string;
  Healthy: boolean;
  ID: string;
  Locality: NodeDeviceLocality | null;
}

/** Equal devices of a node. */
export interface NodeDeviceResource {
  Attributes: Record<string, Attribute> | null;
  Instances: NodeDevice[];
  Name: string;
  Type: string;
  Vendor: string;
}

/** What a node has. */
export interface NodeResources {
  Cpu: NodeCpuResources;
  Devices: NodeDeviceResource[] | null;
  Disk: NodeDiskResources;
  /** Last dynamic port (`max_dynamic_port`); left out or 0: MAX_DYNAMIC_PORT. */
  MaxDynamicPort?: number;
  Memory: NodeMemoryResources;
  /** First dynamic port (`min_dynamic_port`); left out or 0: MIN_DYNAMIC_PORT. */
  MinDynamicPort?: number;
  Networks: NetworkResource[] | null;
  NodeNetworks: NodeNetworkResource[] | null;
}

/** CPU kept back. */
export interface NodeReservedCpuResources {
  /** MHz. */
  CpuShares: number;
  ReservedCpuCores: number[] | null;
}

/** Ports kept back on every address: "22,80,8000-8100"; "" for none. */
export interface NodeReservedNetworkResources {
  ReservedHostPorts: string;
}

/** What of a node is kept back from jobs. */
export interface NodeReservedResources {
  Cpu: NodeReservedCpuResources;
  Disk: NodeDiskResources;
  Memory: NodeMemoryResources;
  Networks: NodeReservedNetworkResources;
}
