/** Whether a group has room beside what runs on a node. */
import type { AllocatedResources, Allocation, NetworkResource, Node, TaskGroup } from "@drover/plugin-sdk";
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

/**
 * Static ports of the group lie on the first address of their host network; dynamic ones on any of its addresses. A task's
 * own network comes after them and lies on one interface, the first that has all its ports.
 */
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
  for (const port of network?.DynamicPorts ?? []) {
    const free = on(port.HostNetwork)
      .flatMap((address) => dynamicPorts(node, address))
      .find((name) => !taken.has(name));
    if (free === undefined) return false;
    taken.add(free);
  }
  return group.Tasks.flatMap((task) => task.Resources.Networks ?? []).every((ask) => {
    const ports = (node.NodeResources.Networks ?? [])
      .filter(({ Device }) => ask.Device === "" || ask.Device === Device)
      .map(({ IP }) => portsOn(node, IP, ask, taken))
      .find((found) => found !== null);
    for (const port of ports ?? []) taken.add(port);
    return ports !== undefined;
  });
}

/** The ports of a task's network on one address; null when some are taken. */
function portsOn(
  node: Node,
  address: string,
  { ReservedPorts, DynamicPorts }: NetworkResource,
  taken: ReadonlySet<string>,
): string[] | null {
  const fixed = (ReservedPorts ?? []).map((port) => `${address}:${port.Value}`);
  const wanted = DynamicPorts?.length ?? 0;
  const dynamic = dynamicPorts(node, address).filter((name) => !taken.has(name) && !fixed.includes(name));
  if (fixed.some((name) => taken.has(name)) || dynamic.length < wanted) return null;
  return [...fixed, ...dynamic.slice(0, wanted)];
}

function dynamicPorts(node: Node, address: string): string[] {
  const { MinDynamicPort = 20_000, MaxDynamicPort = 32_000 } = node.NodeResources;
  return Array.from(
    { length: MaxDynamicPort - MinDynamicPort + 1 },
    (_, i) => `${address}:${MinDynamicPort + i}`,
  );
}
