/**
 * Facts of nodes that placement asks for and that no attribute tells: driver health, host volumes, networks, devices, cores.
 * They are columns beside the attributes, so that feasibility reads a column and no node. Their keys contain a space: no
 * target of a constraint can name them.
 */
import type { Node } from "../domain/node.js";
import type { Attribute, NodeDeviceResource } from "../domain/resources.js";

/** Keys of the columns of facts. */
export const NodeFact = {
  /** "healthy", or "unhealthy" where tasks of the driver can't start; none where the node doesn't report the driver. */
  driver: (name: string): string => `driver ${name}`,
  /** "rw" or "ro". */
  hostVolume: (name: string): string => `host volume ${name}`,
  /** "yes" where an interface of the node has this network mode. */
  networkMode: (mode: string): string => `network mode ${mode}`,
  /** "yes" where an address of the node has this alias. */
  hostNetwork: (alias: string): string => `host network ${alias}`,
  /** `DeviceFact[]` as JSON; none on a node without devices. */
  devices: "devices of node",
  /** Number of cores that tasks may reserve. */
  cores: "reservable cores",
  /** MHz of one core. */
  coreMhz: "core mhz",
} as const;

/** Equal devices of a node, without what differs from one to the next. */
export interface DeviceFact {
  readonly Vendor: string;
  readonly Type: string;
  readonly Name: string;
  readonly Attributes: Readonly<Record<string, Attribute>>;
  /** Instances that are healthy. */
  readonly Healthy: number;
}

/** MHz of one core: a task that reserves cores has them as its CPU. */
export function coreMhz(node: Pick<Node, "NodeResources">): number {
  const { CpuShares, TotalCpuCores } = node.NodeResources.Cpu;
  return Math.floor(CpuShares / Math.max(1, TotalCpuCores));
}

/** The facts of a node: column and value. */
export function* nodeFacts(node: Node): Generator<readonly [key: string, value: string]> {
  for (const [name, driver] of Object.entries(node.Drivers ?? {}))
    yield [NodeFact.driver(name), driver.Detected && driver.Healthy ? "healthy" : "unhealthy"];
  for (const [name, volume] of Object.entries(node.HostVolumes ?? {}))
    yield [NodeFact.hostVolume(name), volume.ReadOnly ? "ro" : "rw"];
  const { Cpu, Devices, Networks, NodeNetworks } = node.NodeResources;
  const modes = new Set([...(Networks ?? []), ...(NodeNetworks ?? [])].map((network) => network.Mode));
  for (const mode of modes) if (mode) yield [NodeFact.networkMode(mode), "yes"];
  const aliases = (NodeNetworks ?? []).flatMap((network) =>
    (network.Addresses ?? []).map((one) => one.Alias),
  );
  for (const alias of new Set(aliases)) if (alias) yield [NodeFact.hostNetwork(alias), "yes"];
  if (Devices !== null && Devices !== undefined && Devices.length > 0)
    yield [NodeFact.devices, JSON.stringify(Devices.map(deviceFact))];
  const kept = new Set(node.ReservedResources?.Cpu.ReservedCpuCores ?? []);
  const cores = (Cpu.ReservableCpuCores ?? []).filter((core) => !kept.has(core)).length;
  if (cores > 0) yield [NodeFact.cores, String(cores)];
  yield [NodeFact.coreMhz, String(coreMhz(node))];
}

/** One fact of a node; undefined where it has none under this key. */
export function nodeFact(node: Node, key: string): string | undefined {
  for (const [name, value] of nodeFacts(node)) if (name === key) return value;
  return undefined;
}

function deviceFact(device: NodeDeviceResource): DeviceFact {
  const { Vendor, Type, Name, Attributes, Instances } = device;
  const sorted = Object.entries(Attributes ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    Vendor,
    Type,
    Name,
    Attributes: Object.fromEntries(sorted),
    Healthy: Instances.filter((one) => one.Healthy).length,
  };
}
