/** The exact part of a placement: ports, cores and devices of the one node that was chosen. */
import type {
  AllocatedDeviceResource,
  AllocatedResources,
  Allocation,
  Node,
  TaskGroup,
} from "@drover/plugin-sdk";
import {
  checkConstraint,
  NetworkIndex,
  nodeCapacity,
  parseTarget,
  resolveOnNode,
} from "@drover/plugin-sdk/scheduling";

/** What of a node must be told apart and not only counted. */
export class NodeHoldings {
  readonly node: Node;
  readonly ports: NetworkIndex;
  readonly #freeCores: Set<number>;
  /** `vendor/type/name/id` of instances in use. */
  readonly #devices = new Set<string>();

  constructor(node: Node, allocations: readonly Allocation[]) {
    this.node = node;
    this.ports = new NetworkIndex(node);
    this.#freeCores = new Set(nodeCapacity(node).cores);
    for (const { AllocatedResources: held } of allocations) {
      this.ports.addAllocation(held);
      for (const task of Object.values(held.Tasks)) {
        for (const core of task.Cpu.ReservedCores ?? []) this.#freeCores.delete(core);
        for (const device of task.Devices ?? [])
          for (const id of device.DeviceIDs) this.#devices.add(key(device, id));
      }
    }
  }

  /** Takes cores; null when too few are free. */
  takeCores(count: number): number[] | null {
    const cores = [...this.#freeCores].slice(0, count);
    if (cores.length < count) return null;
    for (const core of cores) this.#freeCores.delete(core);
    return cores;
  }

  /** Takes devices for a task; null when there aren't enough free ones that fit. */
  takeDevices(
    asks: NonNullable<TaskGroup["Tasks"][number]["Resources"]["Devices"]>,
  ): AllocatedDeviceResource[] | null {
    const taken: AllocatedDeviceResource[] = [];
    for (const ask of asks) {
      const group = (this.node.NodeResources.Devices ?? []).find((device) => {
        if (!matchesName(ask.Name, device)) return false;
        const holds = (ask.Constraints ?? []).every((constraint) => {
          const side = (target: string): string | undefined => deviceValue(target, device, this.node);
          return checkConstraint(constraint.Operand, side(constraint.LTarget), side(constraint.RTarget));
        });
        return holds && this.#freeInstances(device).length >= ask.Count;
      });
      if (group === undefined) return null;
      const ids = this.#freeInstances(group).slice(0, ask.Count);
      for (const id of ids) this.#devices.add(key(group, id));
      taken.push({ Vendor: group.Vendor, Type: group.Type, Name: group.Name, DeviceIDs: ids });
    }
    return taken;
  }

  #freeInstances(device: NonNullable<Node["NodeResources"]["Devices"]>[number]): string[] {
    return device.Instances.filter((one) => one.Healthy && !this.#devices.has(key(device, one.ID))).map(
      (one) => one.ID,
    );
  }
}

/** Whether the group needs `NodeHoldings` at all; counting is enough for the others. */
export function needsHoldings(group: TaskGroup): boolean {
  return (
    (group.Networks?.length ?? 0) > 0 ||
    group.Tasks.some(
      ({ Resources: ask }) =>
        ask.Cores > 0 || (ask.Networks?.length ?? 0) > 0 || (ask.Devices?.length ?? 0) > 0,
    )
  );
}

/** What a group gets where nothing has to be told apart. `oversubscription`: keep the tasks' MemoryMaxMB. */
export function plainResources(group: TaskGroup, oversubscription: boolean): AllocatedResources {
  const resources: AllocatedResources = {
    Shared: { DiskMB: group.EphemeralDisk.SizeMB, Networks: null, Ports: null },
    TaskLifecycles: {},
    Tasks: {},
  };
  for (const task of group.Tasks) {
    resources.TaskLifecycles[task.Name] = task.Lifecycle;
    resources.Tasks[task.Name] = {
      Cpu: { CpuShares: task.Resources.Cores > 0 ? 0 : task.Resources.CPU, ReservedCores: null },
      Devices: null,
      Memory: {
        MemoryMB: task.Resources.MemoryMB,
        MemoryMaxMB: oversubscription ? task.Resources.MemoryMaxMB : 0,
      },
      Networks: null,
    };
  }
  return resources;
}

/**
 * Chooses ports, cores and devices on a node and marks them as held. The error is the dimension that ran out, in the words
 * of `AllocMetric.DimensionExhausted`; after an error the holdings must be made anew.
 */
export function assignResources(
  group: TaskGroup,
  holdings: NodeHoldings,
  oversubscription: boolean,
  random: () => number,
): AllocatedResources | { readonly error: string } {
  const resources = plainResources(group, oversubscription);
  const network = group.Networks?.[0];
  if (network !== undefined) {
    const assigned = holdings.ports.assignPorts(network, random);
    if ("error" in assigned) return { error: `network: ${assigned.error}` };
    resources.Shared.Networks = [assigned.network];
    resources.Shared.Ports = assigned.ports.length > 0 ? assigned.ports : null;
  }
  for (const task of group.Tasks) {
    const held = resources.Tasks[task.Name]!;
    for (const ask of task.Resources.Networks ?? []) {
      const assigned = holdings.ports.assignTaskNetwork(ask, random);
      if ("error" in assigned) return { error: `network: ${assigned.error}` };
      held.Networks = [...(held.Networks ?? []), assigned];
    }
    if ((task.Resources.Devices?.length ?? 0) > 0) {
      held.Devices = holdings.takeDevices(task.Resources.Devices!);
      if (held.Devices === null) return { error: "devices" };
    }
    if (task.Resources.Cores > 0) {
      held.Cpu.ReservedCores = holdings.takeCores(task.Resources.Cores);
      if (held.Cpu.ReservedCores === null) return { error: "cores" };
      held.Cpu.CpuShares = coreShare(holdings.node) * task.Resources.Cores;
    }
  }
  return resources;
}

/** MHz of one core. */
function coreShare(node: Node): number {
  const { CpuShares, TotalCpuCores } = node.NodeResources.Cpu;
  return Math.floor(CpuShares / Math.max(1, TotalCpuCores));
}

/** `<type>`, `<vendor>/<type>` or `<vendor>/<type>/<name>`; a name may itself contain slashes. */
function matchesName(name: string, device: { Vendor: string; Type: string; Name: string }): boolean {
  return (
    name === device.Type ||
    name === `${device.Vendor}/${device.Type}` ||
    name === `${device.Vendor}/${device.Type}/${device.Name}`
  );
}

function deviceValue(
  target: string,
  device: NonNullable<Node["NodeResources"]["Devices"]>[number],
  node: Node,
): string | undefined {
  const parsed = parseTarget(target);
  if ("literal" in parsed) return parsed.literal;
  switch (parsed.key) {
    case "device.type":
      return device.Type;
    case "device.vendor":
      return device.Vendor;
    case "device.model":
      return device.Name;
  }
  if (!parsed.key.startsWith("device.attr.")) return resolveOnNode(target, node);
  const attribute = device.Attributes?.[parsed.key.slice("device.attr.".length)];
  const value = attribute?.String ?? attribute?.Int ?? attribute?.Float ?? attribute?.Bool;
  if (value === undefined || value === null) return undefined;
  return attribute?.Unit ? `${value} ${attribute.Unit}` : String(value);
}

function key(device: { Vendor: string; Type: string; Name: string }, id: string): string {
  return `${device.Vendor}/${device.Type}/${device.Name}/${id}`;
}
