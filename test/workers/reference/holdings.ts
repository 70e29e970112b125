/** What allocations hold and what nodes have: the count by which nothing may be overcommitted. */
import type { AllocatedResources, Allocation, Node } from "@drover/plugin-sdk";

/** MHz, MiB, MiB. */
export interface Amounts {
  readonly cpu: number;
  readonly memory: number;
  readonly disk: number;
}

/** Whether it holds anything: neither the servers nor its client are done with it. */
export function holdsResources(allocation: Allocation): boolean {
  return allocation.DesiredStatus === "run" && ["pending", "running"].includes(allocation.ClientStatus);
}

/**
 * The peak of what an allocation's tasks use. Prestart tasks run before the main ones, poststop tasks after them; prestart
 * sidecars run all the time, poststart tasks beside the main ones.
 */
export function peak(resources: AllocatedResources): Amounts {
  const names = Object.keys(resources.Tasks);
  const phase = (name: string): string => {
    const lifecycle = resources.TaskLifecycles[name];
    if (lifecycle?.Hook === "prestart") return lifecycle.Sidecar ? "always" : "before";
    return lifecycle?.Hook === "poststop" ? "after" : "main";
  };
  const highest = (of: (name: string) => number): number => {
    const sum = (wanted: string): number =>
      names.filter((name) => phase(name) === wanted).reduce((total, name) => total + of(name), 0);
    return sum("always") + Math.max(sum("before"), sum("main"), sum("after"));
  };
  return {
    cpu: highest((name) => resources.Tasks[name]!.Cpu.CpuShares),
    memory: highest((name) => resources.Tasks[name]!.Memory.MemoryMB),
    disk: resources.Shared.DiskMB,
  };
}

/** What a node has for allocations. */
export function capacity(node: Node): Amounts {
  const { NodeResources: has, ReservedResources: kept } = node;
  return {
    cpu: has.Cpu.CpuShares - kept.Cpu.CpuShares,
    memory: has.Memory.MemoryMB - kept.Memory.MemoryMB,
    disk: has.Disk.DiskMB - kept.Disk.DiskMB,
  };
}

export function total(allocations: readonly Allocation[]): Amounts {
  let [cpu, memory, disk] = [0, 0, 0];
  for (const { AllocatedResources } of allocations) {
    const held = peak(AllocatedResources);
    cpu += held.cpu;
    memory += held.memory;
    disk += held.disk;
  }
  return { cpu, memory, disk };
}

/** Cores that tasks may reserve. */
export function reservableCores(node: Node): number[] {
  const kept = node.ReservedResources.Cpu.ReservedCpuCores ?? [];
  return (node.NodeResources.Cpu.ReservableCpuCores ?? []).filter((core) => !kept.includes(core));
}

export function coresHeld(allocations: readonly Allocation[]): number[] {
  return tasksOf(allocations).flatMap((task) => task.Cpu.ReservedCores ?? []);
}

/** `address:port` for each host port, of groups and of tasks' own networks. */
export function portsHeld(allocations: readonly Allocation[]): string[] {
  const ofGroups = allocations
    .flatMap(({ AllocatedResources: { Shared } }) => Shared.Ports ?? [])
    .map((port) => `${port.HostIP}:${port.Value}`);
  const ofTasks = tasksOf(allocations)
    .flatMap((task) => task.Networks ?? [])
    .flatMap(({ IP, ReservedPorts, DynamicPorts }) =>
      [...(ReservedPorts ?? []), ...(DynamicPorts ?? [])].map((port) => `${IP}:${port.Value}`),
    );
  return [...ofGroups, ...ofTasks];
}

/** `address:port` for each host port that the operator keeps back. */
export function portsKept(node: Node): string[] {
  const list = (text: string): number[] =>
    text
      .split(",")
      .filter((part) => part !== "")
      .flatMap((part) => {
        const [first = 0, last = first] = part.split("-").map(Number);
        return Array.from({ length: last - first + 1 }, (_, i) => first + i);
      });
  const everywhere = list(node.ReservedResources.Networks.ReservedHostPorts);
  return addresses(node).flatMap(({ Address, ReservedPorts }) =>
    [...everywhere, ...list(ReservedPorts)].map((port) => `${Address}:${port}`),
  );
}

export function addresses(node: Node): { Address: string; Alias: string; ReservedPorts: string }[] {
  return (node.NodeResources.NodeNetworks ?? []).flatMap((network) => network.Addresses ?? []);
}

/** `vendor/type/name#instance` for each. */
export function devicesHeld(allocations: readonly Allocation[]): string[] {
  return tasksOf(allocations)
    .flatMap((task) => task.Devices ?? [])
    .flatMap((device) => device.DeviceIDs.map((id) => instanceName(device, id)));
}

/** `vendor/type/name#instance` for each that is healthy. */
export function devicesOf(node: Node): string[] {
  return (node.NodeResources.Devices ?? []).flatMap((device) =>
    device.Instances.filter((one) => one.Healthy).map((one) => instanceName(device, one.ID)),
  );
}

export function instanceName(device: { Vendor: string; Type: string; Name: string }, id: string): string {
  return `${device.Vendor}/${device.Type}/${device.Name}#${id}`;
}

/** What of the node is given away twice or isn't there; null when it holds all of these. */
export function overcommitted(node: Node, all: readonly Allocation[]): string | null {
  const allocations = all.filter(holdsResources);
  const has = capacity(node);
  const used = total(allocations);
  for (const dimension of ["cpu", "memory", "disk"] as const) {
    if (used[dimension] > has[dimension]) return `${dimension}: ${used[dimension]} of ${has[dimension]}`;
  }
  const cores = coresHeld(allocations);
  const strange = cores.find((core) => !reservableCores(node).includes(core));
  if (strange !== undefined) return `core ${strange} can't be reserved`;
  const twice = [
    ["core", repeated(cores.map(String))],
    ["port", repeated([...new Set(portsKept(node)), ...portsHeld(allocations)])],
    ["device", repeated(devicesHeld(allocations))],
  ].find(([, name]) => name !== undefined);
  if (twice !== undefined) return `${twice[0]} ${twice[1]} is given away twice`;
  const foreign = portsHeld(allocations).find(
    (port) => !addresses(node).some(({ Address }) => port.startsWith(`${Address}:`)),
  );
  if (foreign !== undefined) return `port ${foreign} is on no address of the node`;
  const missing = devicesHeld(allocations).find((device) => !devicesOf(node).includes(device));
  return missing === undefined ? null : `device ${missing} isn't there`;
}

function tasksOf(allocations: readonly Allocation[]): AllocatedResources["Tasks"][string][] {
  return allocations.flatMap(({ AllocatedResources }) => Object.values(AllocatedResources.Tasks));
}

function repeated(names: readonly string[]): string | undefined {
  return names.find((name, i) => names.indexOf(name) !== i);
}
