/** Usage of allocations in the API's shapes (GET /v1/client/allocation/:id/stats). */
import type {
  AllocResourceUsage,
  ProcessStats,
  ResourceUsage,
  TaskResourceUsage,
  TaskStats,
} from "@drover/plugin-sdk";

/** `frequency` in MHz of one core: what percentages are turned into ticks with. */
export function allocationUsage(
  tasks: ReadonlyMap<string, TaskStats>,
  frequency: number,
): AllocResourceUsage {
  const usage: Record<string, TaskResourceUsage> = {};
  const all: ProcessStats[] = [];
  let timestamp = 0;
  for (const [name, stats] of tasks) {
    const processes = Object.entries(stats.pids);
    all.push(...processes.map(([, process]) => process));
    timestamp = Math.max(timestamp, stats.timestamp);
    usage[name] = {
      Pids: Object.fromEntries(processes.map(([pid, process]) => [pid, usageOf([process], frequency)])),
      ResourceUsage: usageOf(
        processes.map(([, process]) => process),
        frequency,
      ),
      Timestamp: stats.timestamp,
    };
  }
  return {
    ResourceUsage: { ...usageOf(all, frequency), DeviceStats: [] },
    Tasks: usage,
    Timestamp: timestamp,
  };
}

function usageOf(processes: readonly ProcessStats[], frequency: number): ResourceUsage {
  const sum = (pick: (process: ProcessStats) => number) =>
    processes.reduce((total, process) => total + pick(process), 0);
  const percent = sum((process) => process.percent);
  return {
    CpuStats: {
      Measured: ["System Mode", "User Mode", "Percent"],
      Percent: percent,
      SystemMode: sum((process) => process.systemPercent),
      ThrottledPeriods: 0,
      ThrottledTime: 0,
      TotalTicks: (percent / 100) * frequency,
      UserMode: sum((process) => process.userPercent),
    },
    DeviceStats: null,
    MemoryStats: {
      Cache: 0,
      KernelMaxUsage: 0,
      KernelUsage: 0,
      MaxUsage: 0,
      Measured: ["RSS", "Swap"],
      RSS: sum((process) => process.rss),
      Swap: sum((process) => process.swap),
      Usage: 0,
    },
  };
}
