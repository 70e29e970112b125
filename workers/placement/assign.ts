/** The exact part of a placement: ports, cores and devices of the one node that was chosen. */
import type {
  AllocatedDeviceResource,
  AllocatedResources,
  Allocation,
  Node,
  RequestedDevice,
  TaskGroup,
} from "@drover/plugin-sdk";
import {
  allocationUse,
  chooseDevice,
  coreMhz,
  deviceAffinityWeight,
  deviceMatches,
  NetworkIndex,
  nodeCapacity,
  type PortRefusal,
  portsHeld,
} from "@drover/plugin-sdk/scheduling";

type NodeDevices = NonNullable<Node["NodeResources"]["Devices"]>[number];

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

  get freeCores(): number {
    return this.#freeCores.size;
  }

  /** Takes cores; null when too few are free. */
  takeCores(count: number): number[] | null {
    if (this.#freeCores.size < count) return null;
    const cores: number[] = [];
    for (const core of this.#freeCores) {
      if (cores.length === count) break;
      cores.push(core);
    }
    for (const core of cores) this.#freeCores.delete(core);
    return cores;
  }

  /**
   * Takes devices, of those that match and are free in number the ones that the ask's affinities like best; null when
   * there are none.
   */
  takeDevices(
    ask: RequestedDevice,
  ): { readonly taken: AllocatedDeviceResource; readonly liked: number } | null {
    const devices = this.node.NodeResources.Devices ?? [];
    const { at, liked } = chooseDevice(ask, devices, (i) => this.#freeInstances(devices[i]!).length);
    const best = devices[at];
    if (best === undefined) return null;
    const ids = this.#freeInstances(best).slice(0, ask.Count);
    for (const id of ids) this.#devices.add(key(best, id));
    const { Vendor, Type, Name } = best;
    return { taken: { Vendor, Type, Name, DeviceIDs: ids }, liked };
  }

  /** The most instances that are free of one kind that matches. */
  freeDevices(ask: RequestedDevice): number {
    let most = 0;
    for (const device of this.node.NodeResources.Devices ?? [])
      if (deviceMatches(ask, device)) most = Math.max(most, this.#freeInstances(device).length);
    return most;
  }

  /** How many instances that match one of the asks an allocation holds. */
  devicesHeld(asks: readonly RequestedDevice[], resources: AllocatedResources): number {
    let count = 0;
    for (const task of Object.values(resources.Tasks)) {
      for (const held of task.Devices ?? []) {
        const device = (this.node.NodeResources.Devices ?? []).find((one) => sameKind(one, held));
        if (device !== undefined && asks.some((ask) => deviceMatches(ask, device)))
          count += held.DeviceIDs.length;
      }
    }
    return count;
  }

  #freeInstances(device: NodeDevices): string[] {
    return device.Instances.filter((one) => one.Healthy && !this.#devices.has(key(device, one.ID))).map(
      (one) => one.ID,
    );
  }
}

/** MHz that a group takes at the peak of its phases where a core has `mhz`; reserved cores count in the phase of their task. */
export function cpuWithCores(group: TaskGroup, plain: AllocatedResources, mhz: number): number {
  const resources = structuredClone(plain);
  for (const { Name, Resources: ask } of group.Tasks)
    if (ask.Cores > 0) resources.Tasks[Name]!.Cpu.CpuShares = mhz * ask.Cores;
  return allocationUse(resources).cpu;
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

/** What a group gets on a node. */
export interface Assigned {
  readonly resources: AllocatedResources;
  /** Share of the device affinities that hold, between -1 and 1: the score `devices`. */
  readonly deviceScore: number;
}

/** What ran out, in the words of `AllocMetric.DimensionExhausted`, and who could give it back. */
export interface Refusal {
  readonly error: string;
  /** How much is missing; 0 where nobody's leaving helps. */
  readonly missing: number;
  heldBy(resources: AllocatedResources): number;
}

/**
 * Chooses ports, cores and devices on a node and marks them as held. After a refusal the holdings must be made anew.
 */
export function assignResources(
  group: TaskGroup,
  holdings: NodeHoldings,
  oversubscription: boolean,
  random: () => number,
): Assigned | Refusal {
  const resources = plainResources(group, oversubscription);
  const network = group.Networks?.[0];
  if (network !== undefined) {
    const assigned = holdings.ports.assignPorts(network, random);
    if ("error" in assigned) return portRefusal(assigned);
    resources.Shared.Networks = [assigned.network];
    resources.Shared.Ports = assigned.ports.length > 0 ? assigned.ports : null;
  }
  let liked = 0;
  const asked: RequestedDevice[] = [];
  for (const task of group.Tasks) {
    const held = resources.Tasks[task.Name]!;
    for (const ask of task.Resources.Networks ?? []) {
      const assigned = holdings.ports.assignTaskNetwork(ask, random);
      if ("error" in assigned) return portRefusal(assigned);
      held.Networks = [...(held.Networks ?? []), assigned];
    }
    for (const ask of task.Resources.Devices ?? []) {
      const assigned = holdings.takeDevices(ask);
      asked.push(ask);
      if (assigned === null) return deviceRefusal(ask, asked, holdings);
      held.Devices = [...(held.Devices ?? []), assigned.taken];
      liked += assigned.liked;
    }
    const { Cores } = task.Resources;
    if (Cores > 0) {
      held.Cpu.ReservedCores = holdings.takeCores(Cores);
      if (held.Cpu.ReservedCores === null)
        return { error: "cores", missing: Cores - holdings.freeCores, heldBy: coresHeld };
      held.Cpu.CpuShares = coreMhz(holdings.node) * Cores;
    }
  }
  const weight = deviceAffinityWeight(group);
  return { resources, deviceScore: weight === 0 ? 0 : liked / weight };
}

function portRefusal({ error, lacks }: PortRefusal): Refusal {
  return {
    error: `network: ${error}`,
    missing: lacks.length === 0 ? 0 : 1,
    heldBy: (resources) =>
      Math.max(0, ...lacks.map(({ address, value }) => portsHeld(resources, address, value))),
  };
}

/** `asked` are the ask and those before it: with more to choose from, they may leave it what they took. */
function deviceRefusal(
  ask: RequestedDevice,
  asked: readonly RequestedDevice[],
  holdings: NodeHoldings,
): Refusal {
  return {
    error: "devices: no devices match request",
    missing: Math.max(1, ask.Count - holdings.freeDevices(ask)),
    heldBy: (resources) => holdings.devicesHeld(asked, resources),
  };
}

function coresHeld(resources: AllocatedResources): number {
  let count = 0;
  for (const task of Object.values(resources.Tasks)) count += task.Cpu.ReservedCores?.length ?? 0;
  return count;
}

interface Named {
  readonly Vendor: string;
  readonly Type: string;
  readonly Name: string;
}

function sameKind(a: Named, b: Named): boolean {
  return a.Vendor === b.Vendor && a.Type === b.Type && a.Name === b.Name;
}

function key(device: Named, id: string): string {
  return `${device.Vendor}/${device.Type}/${device.Name}/${id}`;
}
