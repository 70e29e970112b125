/** Ports of one node: which are taken, and the choice of new ones. */
import type { Node } from "../domain/node.js";
import {
  type AllocatedPortMapping,
  type AllocatedResources,
  MAX_DYNAMIC_PORT,
  MIN_DYNAMIC_PORT,
  type NetworkResource,
  type Port,
} from "../domain/resources.js";

/** Host network that a port is taken from when the job names none. */
export const DEFAULT_HOST_NETWORK = "default";
const LARGEST_PORT = 65_535;
/** Random draws before the free ports are listed one by one; more would not pay on a node that is nearly full. */
const RANDOM_DRAWS = 20;
const NO_DYNAMIC_PORT = "dynamic port selection failed";

export interface PortCollision {
  readonly label: string;
  readonly value: number;
}

/** Why ports can't be given, in Nomad's words. */
export interface PortRefusal {
  readonly error: string;
  /** Ports that somebody else holds; one of them would help. Empty where nobody's leaving does. */
  readonly lacks: readonly LackingPort[];
}

/** A host port; without a value any dynamic one of the address. */
export interface LackingPort {
  readonly address: string;
  readonly value?: number;
}

/** What `assignPorts` gives: the group's network with every port filled in, and the mappings of `Shared.Ports`. */
export interface AssignedNetwork {
  readonly network: NetworkResource;
  readonly ports: AllocatedPortMapping[];
}

/**
 * Reads a list of ports and ranges, "22,80,8000-8100". Throws a RangeError that names the part which is no port; the agent
 * checks its configuration with this before a node registers.
 */
export function parsePorts(text: string): number[] {
  const ports: number[] = [];
  for (const part of text.split(",")) {
    const trimmed = part.trim();
    if (trimmed === "") continue;
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(trimmed);
    const first = Number(match?.[1] ?? Number.NaN);
    const last = Number(match?.[2] ?? first);
    if (!(first <= last && last <= LARGEST_PORT)) {
      throw new RangeError(`"${trimmed}" is not a port or a range of ports (0-65535) in "${text}"`);
    }
    for (let port = first; port <= last; port++) ports.push(port);
  }
  return ports;
}

/** Taken ports a host address; starts with what the node reserves, then `addAllocation` for each that runs there. */
export class NetworkIndex {
  /** Addresses by host network alias, in the node's order. */
  readonly #addresses = new Map<string, string[]>();
  readonly #used = new Map<string, Set<number>>();
  readonly #reservedEverywhere: readonly number[];
  readonly #node: Node;
  readonly #minDynamic: number;
  readonly #maxDynamic: number;
  /** Why no port of this node may be given out; "" when they may. */
  #refusal = "";

  constructor(node: Node) {
    this.#node = node;
    this.#minDynamic = node.NodeResources.MinDynamicPort || MIN_DYNAMIC_PORT;
    this.#maxDynamic = node.NodeResources.MaxDynamicPort || MAX_DYNAMIC_PORT;
    this.#reservedEverywhere = this.#reserved(node.ReservedResources?.Networks.ReservedHostPorts);
    for (const device of node.NodeResources.NodeNetworks ?? []) {
      for (const address of device.Addresses ?? []) {
        this.#addAddress(address.Alias || DEFAULT_HOST_NETWORK, address.Address);
        const used = this.#usedOn(address.Address);
        for (const port of this.#reserved(address.ReservedPorts)) used.add(port);
      }
    }
    if (this.#addresses.size === 0) {
      // A node of an agent that reports no addresses by alias: its plain networks are the default host network.
      for (const network of node.NodeResources.Networks ?? []) {
        if (network.IP !== "") this.#addAddress(DEFAULT_HOST_NETWORK, network.IP);
      }
    }
  }

  /** Marks every port of an allocation as taken; returns the first that already was. */
  addAllocation(resources: AllocatedResources): PortCollision | null {
    let collision: PortCollision | null = null;
    for (const [address, label, value] of portsOf(resources)) {
      const used = this.#usedOn(address);
      if (used.has(value)) collision ??= { label, value };
      used.add(value);
    }
    return collision;
  }

  /** Frees the ports of an allocation that a plan stops. */
  removeAllocation(resources: AllocatedResources): void {
    for (const [address, , value] of portsOf(resources)) this.#used.get(address)?.delete(value);
  }

  /**
   * Chooses the ports of a group's network, static and dynamic, and marks them as taken. Static ports are taken on the
   * first address of their host network. Nothing is marked when it fails; the error has Nomad's wording.
   */
  assignPorts(ask: NetworkResource, random: () => number): AssignedNetwork | PortRefusal {
    if (this.#refusal !== "") return { error: this.#refusal, lacks: [] };
    const taken: AllocatedPortMapping[] = [];
    const undo = (refusal: PortRefusal): PortRefusal => {
      for (const port of taken) this.#usedOn(port.HostIP).delete(port.Value);
      return refusal;
    };
    const assign = (port: Port, dynamic: boolean): PortRefusal | null => {
      const alias = port.HostNetwork || DEFAULT_HOST_NETWORK;
      const addresses = this.#addresses.get(alias) ?? [];
      if (addresses.length === 0)
        return { error: `no addresses available for "${alias}" network`, lacks: [] };
      if (!dynamic) {
        const address = addresses[0]!;
        if (this.#usedOn(address).has(port.Value)) return collisionOf(port, address);
        taken.push(this.#take(address, port, port.Value));
        return null;
      }
      for (const address of addresses) {
        const value = this.#dynamicPort(address, random);
        if (value === null) continue;
        taken.push(this.#take(address, port, value));
        return null;
      }
      return { error: NO_DYNAMIC_PORT, lacks: addresses.map((address) => ({ address })) };
    };

    const reserved: Port[] = [];
    for (const port of ask.ReservedPorts ?? []) {
      const refusal = assign(port, false);
      if (refusal !== null) return undo(refusal);
      reserved.push(chosen(port, taken.at(-1)!));
    }
    const dynamic: Port[] = [];
    for (const port of ask.DynamicPorts ?? []) {
      const refusal = assign(port, true);
      if (refusal !== null) return undo(refusal);
      dynamic.push(chosen(port, taken.at(-1)!));
    }
    return {
      network: {
        ...ask,
        IP: taken[0]?.HostIP ?? this.#addresses.get(DEFAULT_HOST_NETWORK)?.[0] ?? "",
        ReservedPorts: reserved.length > 0 ? reserved : null,
        DynamicPorts: dynamic.length > 0 ? dynamic : null,
      },
      ports: taken,
    };
  }

  /** Chooses the ports of a task's own network (deprecated by group networks): all on one interface of the node. */
  assignTaskNetwork(ask: NetworkResource, random: () => number): NetworkResource | PortRefusal {
    if (this.#refusal !== "") return { error: this.#refusal, lacks: [] };
    let error = "no networks available";
    const lacks: LackingPort[] = [];
    for (const network of this.#node.NodeResources.Networks ?? []) {
      if (network.IP === "" || (ask.Device !== "" && ask.Device !== network.Device)) continue;
      const used = this.#usedOn(network.IP);
      const collision = (ask.ReservedPorts ?? []).find((port) => used.has(port.Value));
      if (collision !== undefined) {
        const refusal = collisionOf(collision, network.IP);
        error = refusal.error;
        lacks.push(...refusal.lacks);
        continue;
      }
      const taken: number[] = (ask.ReservedPorts ?? []).map((port) => port.Value);
      for (const port of taken) used.add(port);
      const dynamic: Port[] = [];
      for (const port of ask.DynamicPorts ?? []) {
        const value = this.#dynamicPort(network.IP, random);
        if (value === null) break;
        used.add(value);
        taken.push(value);
        dynamic.push({ ...port, Value: value, To: port.To === -1 ? value : port.To });
      }
      if (dynamic.length === (ask.DynamicPorts?.length ?? 0)) {
        return {
          ...ask,
          Device: network.Device,
          IP: network.IP,
          DynamicPorts: ask.DynamicPorts === null ? null : dynamic,
        };
      }
      for (const port of taken) used.delete(port);
      error = NO_DYNAMIC_PORT;
      lacks.push({ address: network.IP });
    }
    return { error, lacks };
  }

  #reserved(text: string | undefined): number[] {
    try {
      return parsePorts(text ?? "");
    } catch (error) {
      // One node with a list that can't be read must not stop every evaluation that looks at it.
      this.#refusal = `unreadable reserved ports: ${(error as Error).message}`;
      return [];
    }
  }

  #addAddress(alias: string, address: string): void {
    const list = this.#addresses.get(alias);
    if (list === undefined) this.#addresses.set(alias, [address]);
    else list.push(address);
  }

  #usedOn(address: string): Set<number> {
    let used = this.#used.get(address);
    if (used === undefined) {
      used = new Set(this.#reservedEverywhere);
      this.#used.set(address, used);
    }
    return used;
  }

  #take(address: string, port: Port, value: number): AllocatedPortMapping {
    this.#usedOn(address).add(value);
    return { HostIP: address, Label: port.Label, To: port.To === -1 ? value : port.To, Value: value };
  }

  #dynamicPort(address: string, random: () => number): number | null {
    const used = this.#usedOn(address);
    const span = this.#maxDynamic - this.#minDynamic + 1;
    for (let draw = 0; draw < RANDOM_DRAWS; draw++) {
      const port = this.#minDynamic + Math.floor(random() * span);
      if (!used.has(port)) return port;
    }
    const free: number[] = [];
    for (let port = this.#minDynamic; port <= this.#maxDynamic; port++) if (!used.has(port)) free.push(port);
    return free[Math.floor(random() * free.length)] ?? null;
  }
}

/** How many host ports on an address an allocation holds; with `value` only that one counts. */
export function portsHeld(resources: AllocatedResources, address: string, value?: number): number {
  let count = 0;
  for (const [on, , port] of portsOf(resources))
    if (on === address && (value === undefined || port === value)) count++;
  return count;
}

function collisionOf(port: Port, address: string): PortRefusal {
  return {
    error: `reserved port collision ${port.Label}=${port.Value}`,
    lacks: [{ address, value: port.Value }],
  };
}

function chosen(port: Port, mapping: AllocatedPortMapping): Port {
  return {
    HostNetwork: port.HostNetwork || DEFAULT_HOST_NETWORK,
    Label: port.Label,
    To: mapping.To,
    Value: mapping.Value,
  };
}

/** Host ports an allocation holds: address, label, number. */
function* portsOf(resources: AllocatedResources): Generator<readonly [string, string, number]> {
  const mapped = resources.Shared.Ports ?? [];
  if (mapped.length > 0) {
    for (const port of mapped) yield [port.HostIP, port.Label, port.Value];
  } else {
    for (const network of resources.Shared.Networks ?? []) yield* portsOfNetwork(network);
  }
  for (const name in resources.Tasks) {
    for (const network of resources.Tasks[name]!.Networks ?? []) yield* portsOfNetwork(network);
  }
}

function* portsOfNetwork(network: NetworkResource): Generator<readonly [string, string, number]> {
  for (const port of network.ReservedPorts ?? []) yield [network.IP, port.Label, port.Value];
  for (const port of network.DynamicPorts ?? []) {
    if (port.Value > 0) yield [network.IP, port.Label, port.Value];
  }
}
