/** Usage as nodes measure it (GET /v1/client/allocation/:id/stats and /v1/client/stats). */

/** CPU of a task or process. Percent is of one core. */
export interface CpuStats {
  /** Names of the values actually measured. */
  Measured: string[] | null;
  Percent: number;
  SystemMode: number;
  ThrottledPeriods: number;
  /** Nanoseconds. */
  ThrottledTime: number;
  /** MHz consumed. */
  TotalTicks: number;
  UserMode: number;
}

/** Memory of a task or process, bytes. */
export interface MemoryStats {
  Cache: number;
  KernelMaxUsage: number;
  KernelUsage: number;
  MaxUsage: number;
  /** Names of the values actually measured. */
  Measured: string[] | null;
  RSS: number;
  Swap: number;
  Usage: number;
}

/** Usage of devices of one kind; the shape of a statistic is the device plugin's. */
export interface DeviceGroupStats {
  InstanceStats: Record<string, unknown> | null;
  Name: string;
  Type: string;
  Vendor: string;
}

/** Usage of a task, a process, or the sum over an allocation. */
export interface ResourceUsage {
  CpuStats: CpuStats;
  DeviceStats: DeviceGroupStats[] | null;
  MemoryStats: MemoryStats;
}

/** Usage of a task and of its processes. */
export interface TaskResourceUsage {
  /** By process id. */
  Pids: Record<string, ResourceUsage> | null;
  ResourceUsage: ResourceUsage;
  /** Unix nanoseconds. */
  Timestamp: number;
}

/** Usage of an allocation. */
export interface AllocResourceUsage {
  ResourceUsage: ResourceUsage;
  /** By task. */
  Tasks: Record<string, TaskResourceUsage>;
  /** Unix nanoseconds of the newest measurement. */
  Timestamp: number;
}

/** One core of a node, percent. */
export interface HostCPUStats {
  /** "cpu0"… */
  CPU: string;
  Idle: number;
  System: number;
  Total: number;
  User: number;
}

/** A file system of a node; sizes in bytes. */
export interface HostDiskStats {
  Available: number;
  Device: string;
  InodesUsedPercent: number;
  Mountpoint: string;
  Size: number;
  Used: number;
  UsedPercent: number;
}

/** Memory of a node, bytes. */
export interface HostMemoryStats {
  Available: number;
  Free: number;
  Total: number;
  Used: number;
}

/** Usage of a node. */
export interface HostStats {
  /** File system of the allocation directories. */
  AllocDirStats: HostDiskStats | null;
  CPU: HostCPUStats[];
  /** MHz. */
  CPUTicksConsumed: number;
  DeviceStats: DeviceGroupStats[] | null;
  DiskStats: HostDiskStats[];
  Memory: HostMemoryStats;
  /** Unix nanoseconds. */
  Timestamp: number;
  /** Seconds. */
  Uptime: number;
}
