/** Random nodes: every property that placement looks at, from few values, so that they meet those of random jobs. */
import type { NetworkResource, Node, NodeDeviceResource, NodeNetworkResource } from "@drover/plugin-sdk";
import { makeNode } from "@drover/plugin-sdk/testing";
import fc from "fast-check";

export const RACKS = ["r1", "r2", "r3"] as const;
export const CLASSES = ["", "large", "small"] as const;
export const DATACENTERS = ["dc1", "dc2", "dc3"] as const;
export const VERSIONS = ["1.2.3", "1.3.0", "1.3.0-beta", "2.0.0", "2.1", "odd"] as const;
export const FEATURES = ["a", "a,b", "b, c", "a,b,c"] as const;

/** Mostly `usual`. */
export function mostly<T>(usual: T, ...others: readonly T[]): fc.Arbitrary<T> {
  return fc.oneof({ weight: 6, arbitrary: fc.constant(usual) }, ...others.map((one) => fc.constant(one)));
}

/** Nothing in five cases of six. */
export function rarely<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, arbitrary);
}

/** Nothing in half of the cases. */
export function perhaps<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof(fc.constant(null), arbitrary);
}

const devices: fc.Arbitrary<NodeDeviceResource[]> = fc
  .uniqueArray(
    fc.record({
      vendor: fc.constantFrom("nvidia", "amd"),
      name: fc.constantFrom("k80", "v100"),
      memory: fc.constantFrom(4, 11, 16),
      healthy: fc.array(fc.boolean(), { minLength: 1, maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 3, selector: ({ vendor, name }) => `${vendor}/${name}` },
  )
  .map((kinds) =>
    kinds.map(({ vendor, name, memory, healthy }) => ({
      Vendor: vendor,
      Type: "gpu",
      Name: name,
      Attributes: { memory: { Int: memory, Unit: "GiB" } },
      Instances: healthy.map((Healthy, i) => ({
        ID: `${name}-${i}`,
        Healthy,
        HealthDescription: "",
        Locality: null,
      })),
    })),
  );

function networksOf(
  row: number,
  extras: {
    readonly publicly: boolean;
    readonly second: boolean;
    readonly bridge: boolean;
    readonly kept: string;
  },
): NodeNetworkResource[] {
  const address = (last: number, Alias: string, ReservedPorts = "") => ({
    Address: `10.${last}.0.${row + 1}`,
    Alias,
    Family: "ipv4",
    Gateway: "",
    ReservedPorts,
  });
  const of = (Device: string, Mode: string, Addresses: NodeNetworkResource["Addresses"]) => ({
    Device,
    Mode,
    Addresses,
    MacAddress: "",
    Speed: 1000,
  });
  const networks = [
    of("eth0", "host", [
      address(0, "default", extras.kept),
      ...(extras.second ? [address(1, "default")] : []),
    ]),
  ];
  if (extras.publicly) networks.push(of("eth1", "host", [address(2, "public")]));
  if (extras.bridge) networks.push(of("nomad", "bridge", []));
  return networks;
}

/** What agents of old report beside: one address an interface, for the tasks' own networks. */
function plainNetworksOf(networks: readonly NodeNetworkResource[]): NetworkResource[] {
  return networks.flatMap(({ Device, Addresses }) =>
    (Addresses ?? []).slice(0, 1).map(({ Address }) => ({
      CIDR: `${Address}/32`,
      DNS: null,
      Device,
      DynamicPorts: null,
      IP: Address,
      MBits: 1000,
      Mode: "host",
      ReservedPorts: null,
    })),
  );
}

/** A node with the number `row`. */
function nodeWith(row: number): fc.Arbitrary<Node> {
  return fc
    .record({
      status: mostly<Node["Status"]>("ready", "down", "initializing"),
      eligibility: mostly<Node["SchedulingEligibility"]>("eligible", "ineligible"),
      draining: mostly(false, true),
      datacenter: fc.constantFrom(...DATACENTERS),
      nodeClass: fc.constantFrom(...CLASSES),
      rack: perhaps(fc.constantFrom(...RACKS)),
      arch: fc.constantFrom("amd64", "arm64"),
      version: perhaps(fc.constantFrom(...VERSIONS)),
      features: perhaps(fc.constantFrom(...FEATURES)),
      size: fc.constantFrom("9", "10", "12.5", "big"),
      driver: mostly<"attribute" | "healthy" | "unhealthy" | "undetected" | "none">(
        "attribute",
        "healthy",
        "unhealthy",
        "undetected",
        "none",
      ),
      volume: perhaps(fc.boolean()),
      cpu: fc.constantFrom(1000, 2000, 4000, 8000),
      memory: fc.constantFrom(512, 1024, 4096, 8192),
      disk: fc.constantFrom(1000, 2000, 5000),
      cores: fc.constantFrom(1, 2, 4),
      keptCpu: fc.constantFrom(0, 0, 100),
      keptMemory: fc.constantFrom(0, 0, 64),
      keptDisk: fc.constantFrom(0, 0, 100),
      keptCores: perhaps(fc.constant([0])),
      keptPorts: mostly("", "8080", "20000-20001"),
      networks: fc.record({
        publicly: fc.boolean(),
        second: fc.boolean(),
        bridge: fc.boolean(),
        kept: mostly("", "8081"),
        plain: mostly(true, false),
      }),
      lastPort: fc.constantFrom(20_002, 20_004, 32_000),
      devices: fc.oneof(fc.constant(null), devices, devices),
    })
    .map((one) => {
      const reported = { Attributes: null, HealthDescription: "", UpdateTime: "2026-01-01T00:00:00Z" };
      const ID = `${String(row).padStart(8, "0")}-0000-4000-8000-000000000000`;
      const attributes: Record<string, string | null> = {
        "kernel.name": "linux",
        "cpu.arch": one.arch,
        "cpu.numcores": String(one.cores),
        "os.version": one.version,
        features: one.features,
        size: one.size,
        "driver.exec": "1",
        "driver.raw_exec": ["attribute", "unhealthy"].includes(one.driver) ? "1" : null,
        "unique.hostname": `host-${row}`,
      };
      return makeNode({
        ID,
        Name: `host-${row}`,
        Status: one.status,
        SchedulingEligibility: one.eligibility,
        Drain: one.draining,
        DrainStrategy: one.draining
          ? { Deadline: 0, IgnoreSystemJobs: false, ForceDeadline: "0001-01-01T00:00:00Z", StartedAt: "" }
          : null,
        Datacenter: one.datacenter,
        NodeClass: one.nodeClass,
        ComputedClass: `v1:${one.nodeClass}`,
        Meta: one.rack === null ? {} : { rack: one.rack },
        Attributes: Object.fromEntries(
          Object.entries(attributes).filter((entry): entry is [string, string] => entry[1] !== null),
        ),
        Drivers: ["attribute", "none"].includes(one.driver)
          ? {}
          : {
              raw_exec: {
                ...reported,
                Detected: one.driver !== "undetected",
                Healthy: one.driver === "healthy",
              },
            },
        HostVolumes:
          one.volume === null ? null : { data: { Name: "data", Path: "/srv/data", ReadOnly: one.volume } },
        NodeResources: {
          Cpu: {
            CpuShares: one.cpu,
            ReservableCpuCores: Array.from({ length: one.cores }, (_, i) => i),
            TotalCpuCores: one.cores,
          },
          Devices: one.devices,
          Disk: { DiskMB: one.disk },
          Memory: { MemoryMB: one.memory },
          MinDynamicPort: 20_000,
          MaxDynamicPort: one.lastPort,
          Networks: one.networks.plain ? plainNetworksOf(networksOf(row, one.networks)) : null,
          NodeNetworks: networksOf(row, one.networks),
        },
        ReservedResources: {
          Cpu: {
            CpuShares: one.keptCpu,
            ReservedCpuCores: one.keptCores === null ? null : [...one.keptCores],
          },
          Disk: { DiskMB: one.keptDisk },
          Memory: { MemoryMB: one.keptMemory },
          Networks: { ReservedHostPorts: one.keptPorts },
        },
      });
    });
}

export const nodes: fc.Arbitrary<Node[]> = fc
  .integer({ min: 1, max: 12 })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, row) => nodeWith(row))));
