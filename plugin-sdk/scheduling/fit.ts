/** What allocations hold, what nodes have left, and whether the two go together. */

import type { Allocation } from "../domain/allocation.js";
import { allocIsTerminal } from "../domain/allocation.js";
import type { Node } from "../domain/node.js";
import type { AllocatedResources } from "../domain/resources.js";
import { LifecycleHook } from "../domain/task.js";
import { NetworkIndex } from "./ports.js";

/** Sums of the countable dimensions. */
export interface ResourceUse {
  /** MHz. */
  cpu: number;
  /** MiB. */
  memory: number;
  /** MiB. */
  disk: number;
  /** Ids of the cores held exclusively, in the order they were met. */
  cores: number[];
}

export interface NodeFit {
  readonly fits: boolean;
  /** "" when it fits, else `cpu`, `cores`, `memory`, `disk`, `device oversubscribed`, `reserved port collision http=8080`. */
  readonly dimension: string;
  readonly used: ResourceUse;
}

interface Amount {
  cpu: number;
  memory: number;
}

/**
 * What one allocation holds at its peak. Tasks of different phases never run together: prestart tasks that are not
 * sidecars end before the main tasks start, poststop tasks start after those ended. So the peak is the largest phase, plus
 * the prestart sidecars, which run all the time. Poststart tasks run beside the main ones.
 */
export function allocationUse(resources: AllocatedResources): ResourceUse {
  const before: Amount = { cpu: 0, memory: 0 };
  const main: Amount = { cpu: 0, memory: 0 };
  const after: Amount = { cpu: 0, memory: 0 };
  const always: Amount = { cpu: 0, memory: 0 };
  const cores: number[] = [];
  for (const name in resources.Tasks) {
    const task = resources.Tasks[name]!;
    const lifecycle = resources.TaskLifecycles?.[name] ?? null;
    let phase = main;
    if (lifecycle?.Hook === LifecycleHook.Prestart) phase = lifecycle.Sidecar ? always : before;
    else if (lifecycle?.Hook === LifecycleHook.Poststop) phase = after;
    phase.cpu += task.Cpu.CpuShares;
    phase.memory += task.Memory.MemoryMB;
    if (task.Cpu.ReservedCores !== null) cores.push(...task.Cpu.ReservedCores);
  }
  return {
    cpu: Math.max(before.cpu, main.cpu, after.cpu) + always.cpu,
    memory: Math.max(before.memory, main.memory, after.memory) + always.memory,
    disk: resources.Shared.DiskMB,
    cores,
  };
}

/** What a node offers to allocations: everything less what the operator reserved. */
export function nodeCapacity(node: Pick<Node, "NodeResources" | "ReservedResources">): ResourceUse {
  const { NodeResources: has, ReservedResources: kept } = node;
  const reserved = new Set(kept?.Cpu.ReservedCpuCores ?? []);
  return {
    cpu: has.Cpu.CpuShares - (kept?.Cpu.CpuShares ?? 0),
    memory: has.Memory.MemoryMB - (kept?.Memory.MemoryMB ?? 0),
    disk: has.Disk.DiskMB - (kept?.Disk.DiskMB ?? 0),
    cores: (has.Cpu.ReservableCpuCores ?? []).filter((core) => !reserved.has(core)),
  };
}

/** Sum over the allocations that are not terminal. */
export function sumUse(allocations: readonly Allocation[]): ResourceUse {
  const sum: ResourceUse = { cpu: 0, memory: 0, disk: 0, cores: [] };
  for (const allocation of allocations) {
    if (allocIsTerminal(allocation)) continue;
    const use = allocationUse(allocation.AllocatedResources);
    sum.cpu += use.cpu;
    sum.memory += use.memory;
    sum.disk += use.disk;
    sum.cores.push(...use.cores);
  }
  return sum;
}

/**
 * Whether the node holds all of these allocations at once; terminal ones count nothing. The plan applier calls this with
 * what would run on the node after the plan. The dimension texts are those that Nomad's `AllocMetric` has.
 */
export function nodeFits(node: Node, allocations: readonly Allocation[]): NodeFit {
  const live = allocations.filter((allocation) => !allocIsTerminal(allocation));
  const used = sumUse(live);
  const failure = (dimension: string): NodeFit => ({ fits: false, dimension, used });
  const capacity = nodeCapacity(node);

  if (used.cores.length > 0) {
    const free = new Set(capacity.cores);
    for (const core of used.cores) if (!free.delete(core)) return failure("cores");
  }
  if (used.cpu > capacity.cpu) return failure("cpu");
  if (used.memory > capacity.memory) return failure("memory");
  if (used.disk > capacity.disk) return failure("disk");

  const network = new NetworkIndex(node);
  for (const allocation of live) {
    const collision = network.addAllocation(allocation.AllocatedResources);
    if (collision !== null) return failure(`reserved port collision ${collision.label}=${collision.value}`);
  }
  if (!devicesFit(node, live)) return failure("device oversubscribed");
  return { fits: true, dimension: "", used };
}

/** Whether each device instance is held at most once and exists on the node. */
function devicesFit(node: Node, live: readonly Allocation[]): boolean {
  const free = new Set<string>();
  for (const device of node.NodeResources.Devices ?? []) {
    for (const instance of device.Instances) {
      if (instance.Healthy) free.add(deviceKey(device, instance.ID));
    }
  }
  for (const allocation of live) {
    for (const task of Object.values(allocation.AllocatedResources.Tasks)) {
      for (const device of task.Devices ?? []) {
        for (const id of device.DeviceIDs) if (!free.delete(deviceKey(device, id))) return false;
      }
    }
  }
  return true;
}

function deviceKey(device: { Vendor: string; Type: string; Name: string }, id: string): string {
  return `${device.Vendor}/${device.Type}/${device.Name}/${id}`;
}
