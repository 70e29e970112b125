/** The node as it registers (`GET /v1/node/:id`). */
import { createHash } from "node:crypto";
import {
  type AgentInfo,
  type DriverInfo,
  type Node,
  NodeEligibility,
  NodeStatus,
  type TaskDriver,
} from "@drover/plugin-sdk";
import { fingerprintAgent } from "./fingerprint/agent.js";
import { fingerprintCgroup } from "./fingerprint/cgroup.js";
import { fingerprintCpu } from "./fingerprint/cpu.js";
import { fingerprintDrivers } from "./fingerprint/drivers.js";
import { fingerprintHost } from "./fingerprint/host.js";
import { fingerprintMemory } from "./fingerprint/memory.js";
import { fingerprintNetwork } from "./fingerprint/network.js";
import { fingerprintStorage } from "./fingerprint/storage.js";
import type { NodeIdentity } from "./state/identity.js";

/** Nomad's defaults for Connect's proxies, which its clients set on every node. */
const CONNECT_META = {
  "connect.gateway_image": "envoyproxy/envoy:v${NOMAD_envoy_version}",
  "connect.log_level": "info",
  "connect.proxy_concurrency": "1",
  "connect.sidecar_image": "envoyproxy/envoy:v${NOMAD_envoy_version}",
};

export interface NodeInput {
  readonly agent: AgentInfo;
  readonly identity: NodeIdentity;
  readonly allocDir: string;
  readonly drivers: readonly TaskDriver[];
  /** Told what the operator should know (an unknown CPU frequency). */
  readonly warn: (message: string) => void;
}

export async function buildNode({ agent, identity, allocDir, drivers, warn }: NodeInput): Promise<Node> {
  const client = agent.config.client;
  const cpu = fingerprintCpu(client.cpu_total_compute);
  if (!cpu.measured) {
    warn(
      `the machine does not tell its CPU frequency; set client { cpu_total_compute } (assumed: ${cpu.frequency} MHz a core)`,
    );
  }
  const memory = fingerprintMemory(client.memory_total_mb);
  const storage = await fingerprintStorage(allocDir);
  const network = fingerprintNetwork(client.network_interface, agent.devMode);
  const driverFacts = await fingerprintDrivers(drivers, {});
  const { reserved } = client;
  const volumes = Object.entries(client.host_volumes);
  const legacy = { Cores: 0, Devices: null, IOPS: 0, MemoryMaxMB: 0 };
  const node: Node = {
    Attributes: {
      ...fingerprintHost(),
      ...cpu.attributes,
      ...memory.attributes,
      ...storage.attributes,
      ...network.attributes,
      ...fingerprintCgroup(),
      ...fingerprintAgent(agent.version, agent.advertise.http),
      ...driverFacts.attributes,
    },
    CSIControllerPlugins: null,
    CSINodePlugins: null,
    ComputedClass: "",
    CreateIndex: 0,
    Datacenter: agent.datacenter,
    Drain: false,
    DrainStrategy: null,
    Drivers: driverFacts.drivers,
    Events: [],
    HTTPAddr: agent.advertise.http,
    HostVolumes:
      volumes.length === 0
        ? null
        : Object.fromEntries(
            volumes.map(([Name, { path, read_only }]) => [Name, { Name, Path: path, ReadOnly: read_only }]),
          ),
    ID: identity.id,
    LastDrain: null,
    Links: null,
    Meta: { ...CONNECT_META, ...client.meta },
    ModifyIndex: 0,
    Name: agent.nodeName,
    NodeClass: client.node_class,
    NodeResources: {
      Cpu: {
        CpuShares: cpu.totalCompute,
        ReservableCpuCores: Array.from({ length: cpu.cores }, (_, index) => index),
        TotalCpuCores: cpu.cores,
      },
      Devices: null,
      Disk: { DiskMB: storage.diskMB },
      Memory: { MemoryMB: memory.memoryMB },
      Networks: network.networks,
      NodeNetworks: network.nodeNetworks,
    },
    Reserved: {
      ...legacy,
      CPU: reserved.cpu,
      DiskMB: reserved.disk,
      MemoryMB: reserved.memory,
      Networks: null,
    },
    ReservedResources: {
      Cpu: { CpuShares: reserved.cpu, ReservedCpuCores: parseCores(reserved.cores) },
      Disk: { DiskMB: reserved.disk },
      Memory: { MemoryMB: reserved.memory },
      Networks: { ReservedHostPorts: reserved.reserved_ports },
    },
    Resources: {
      ...legacy,
      CPU: cpu.totalCompute,
      DiskMB: storage.diskMB,
      MemoryMB: memory.memoryMB,
      Networks: network.networks,
    },
    SchedulingEligibility: NodeEligibility.Eligible,
    SecretID: identity.secretId,
    Status: NodeStatus.Ready,
    StatusDescription: "",
    StatusUpdatedAt: 0,
    TLSEnabled: false,
  };
  return { ...node, ComputedClass: computeClass(node) };
}

/** The node with its drivers asked again; the same object where nothing changed. */
export async function refreshDrivers(node: Node, drivers: readonly TaskDriver[]): Promise<Node> {
  const facts = await fingerprintDrivers(drivers, node.Drivers);
  if (sameDrivers(facts.drivers, node.Drivers)) return node;
  const stale = new Set(
    Object.entries(node.Drivers).flatMap(([name, info]) => [
      `driver.${name}`,
      ...Object.keys(info.Attributes ?? {}),
    ]),
  );
  const kept = Object.entries(node.Attributes).filter(([key]) => !stale.has(key));
  const changed = {
    ...node,
    Attributes: { ...Object.fromEntries(kept), ...facts.attributes },
    Drivers: facts.drivers,
  };
  return { ...changed, ComputedClass: computeClass(changed) };
}

function sameDrivers(
  a: Readonly<Record<string, DriverInfo>>,
  b: Readonly<Record<string, DriverInfo>>,
): boolean {
  return Object.keys(a).every((name) => a[name]?.UpdateTime === b[name]?.UpdateTime);
}

/** Hash of what is not unique to the node, so that nodes that schedule alike share it. */
export function computeClass(node: Node): string {
  const common = (values: Readonly<Record<string, string>> | null) =>
    Object.entries(values ?? {})
      .filter(([key]) => !key.startsWith("unique."))
      .sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([
    node.Datacenter,
    node.NodeClass,
    common(node.Attributes),
    common(node.Meta),
    node.NodeResources.Devices,
  ]);
  return `v1:${createHash("sha256").update(text).digest().readBigUInt64BE()}`;
}

/** `0-2,7` as numbers; null for none. Throws for anything else. */
export function parseCores(text: string): number[] | null {
  if (text.trim() === "") return null;
  const cores = text.split(",").flatMap((part) => {
    const match = /^\s*(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(part);
    if (match === null)
      throw new Error(`client.reserved.cores "${text}" must be core numbers and ranges, as "0-2,7"`);
    const from = Number(match[1]);
    const to = Number(match[2] ?? match[1]);
    return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
  });
  return [...new Set(cores)].sort((a, b) => a - b);
}
