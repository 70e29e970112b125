/** Whether a group has room beside what runs on a node. */
import type { AllocatedResources, Allocation, Node, TaskGroup } from "@drover/plugin-sdk";
import { takeDevices } from "./devices.js";
import {
  type Amounts,
  addresses,
  capacity,
  coresHeld,
  devicesHeld,
  holdsResources,
  peak,
  portsHeld,
  portsKept,
  reservableCores,
  total,
} from "./holdings.js";

/** What one allocation of the group uses on this node. A reserved core counts as its share of the node's MHz. */
export function askOf(group: TaskGroup, node: Node): Amounts {
  const { CpuShares, TotalCpuCores } = node.NodeResources.Cpu;
  const core = Math.floor(CpuShares / TotalCpuCores);
  const resources: AllocatedResources = {
    Shared: { DiskMB: group.EphemeralDisk.SizeMB, Networks: null, Ports: null },
    TaskLifecycles: {},
    Tasks: {},
  };
  for (const { Name, Lifecycle, Resources } of group.Tasks) {
    resources.TaskLifecycles[Name] = Lifecycle;
    resources.Tasks[Name] = {
      Cpu: {
        CpuShares: Resources.Cores > 0 ? Resources.Cores * core : Resources.CPU,
        ReservedCores: null,
      },
      Devices: null,
      Memory: { MemoryMB: Resources.MemoryMB, MemoryMaxMB: 0 },
      Networks: null,
    };
  }
  return peak(resources);
}

/** Whether everything that the group asks for is free on the node beside these allocations. */
export function hasRoom(node: Node, all: readonly Allocation[], group: TaskGroup): boolean {
  const running = all.filter(holdsResources);
  return (
    amountsFit(node, running, group) &&
    coresFit(node, running, group) &&
    portsFit(node, running, group) &&
    takeDevices(group, node, devicesHeld(running)) !== null
  );
}

function amountsFit(node: Node, running: readonly Allocation[], group: TaskGroup): boolean {
  const [ask, used, has] = [askOf(group, node), total(running), capacity(node)];
  return (["cpu", "memory", "disk"] as const).every(
    (dimension) => used[dimension] + ask[dimension] <= has[dimension],
  );
}

function coresFit(node: Node, running: readonly Allocation[], group: TaskGroup): boolean {
  const wanted = group.Tasks.reduce((sum, task) => sum + task.Resources.Cores, 0);
  const held = coresHeld(running);
  return reservableCores(node).filter((core) => !held.includes(core)).length >= wanted;
}

/** Static ports lie on the first address of their host network; dynamic ones on any of its addresses. */
function portsFit(node: Node, running: readonly Allocation[], group: TaskGroup): boolean {
  const network = group.Networks?.[0];
  const taken = new Set([...portsKept(node), ...portsHeld(running)]);
  const on = (alias: string): string[] =>
    addresses(node)
      .filter((one) => one.Alias === (alias || "default"))
      .map((one) => one.Address);
  for (const port of network?.ReservedPorts ?? []) {
    const [address] = on(port.HostNetwork);
    if (address === undefined || taken.has(`${address}:${port.Value}`)) return false;
    taken.add(`${address}:${port.Value}`);
  }
  const { MinDynamicPort = 20_000, MaxDynamicPort = 32_000 } = node.NodeResources;
  for (const port of network?.DynamicPorts ?? []) {
    const free = on(port.HostNetwork)
      .flatMap((address) =>
        Array.from(
          { length: MaxDynamicPort - MinDynamicPort + 1 },
          (_, i) => `${address}:${MinDynamicPort + i}`,
        ),
      )
      .find((name) => !taken.has(name));
    if (free === undefined) return false;
    taken.add(free);
  }
  return true;
}
