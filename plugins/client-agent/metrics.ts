/** The client's gauges, named as Nomad names them. */
import { AllocClientStatus, type Metrics, type Node } from "@drover/plugin-sdk";
import type { AllocationRunner } from "./alloc/runner.js";

export function recordGauges(metrics: Metrics, node: Node, runners: readonly AllocationRunner[]): void {
  const labels = {
    datacenter: node.Datacenter,
    node_class: node.NodeClass === "" ? "none" : node.NodeClass,
    node_id: node.ID,
    node_scheduling_eligibility: node.SchedulingEligibility,
    node_status: node.Status,
  };
  const counts = { pending: 0, running: 0, terminal: 0, blocked: 0, migrating: 0 };
  const held = { cpu: 0, memory: 0, disk: 0 };
  for (const runner of runners) {
    if (runner.terminal) {
      counts.terminal += 1;
      continue;
    }
    counts[runner.clientStatus().status === AllocClientStatus.Running ? "running" : "pending"] += 1;
    const { Shared, Tasks } = runner.allocation.AllocatedResources;
    held.disk += Shared.DiskMB;
    for (const task of Object.values(Tasks)) {
      held.cpu += task.Cpu.CpuShares;
      held.memory += task.Memory.MemoryMB;
    }
  }
  for (const [name, value] of Object.entries(counts)) {
    metrics.gauge(`nomad.client.allocations.${name}`, value, labels);
  }
  const has = {
    cpu: node.NodeResources.Cpu.CpuShares - node.ReservedResources.Cpu.CpuShares,
    memory: node.NodeResources.Memory.MemoryMB - node.ReservedResources.Memory.MemoryMB,
    disk: node.NodeResources.Disk.DiskMB - node.ReservedResources.Disk.DiskMB,
  };
  for (const kind of ["cpu", "memory", "disk"] as const) {
    metrics.gauge(`nomad.client.allocated.${kind}`, held[kind], labels);
    metrics.gauge(`nomad.client.unallocated.${kind}`, Math.max(0, has[kind] - held[kind]), labels);
  }
}
