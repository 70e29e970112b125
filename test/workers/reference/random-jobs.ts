/** Random jobs: constraints, affinities, spreads, distinct rules, ports, cores, devices and lifecycles. */
import type {
  Affinity,
  Constraint,
  Job,
  NetworkResource,
  RequestedDevice,
  Spread,
  Task,
  TaskGroup,
  TaskLifecycle,
} from "@drover/plugin-sdk";
import { makeGroup, makeJob, makeTask } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { CLASSES, DATACENTERS, mostly, perhaps, RACKS, rarely } from "./random-nodes.js";

function rule(
  LTarget: string,
  operands: readonly string[],
  sides: readonly string[],
): fc.Arbitrary<Constraint> {
  return fc
    .tuple(fc.constantFrom(...operands), fc.constantFrom(...sides))
    .map(([Operand, RTarget]) => ({ LTarget, Operand, RTarget }));
}

/** Rules about a node alone. */
const nodeRule: fc.Arbitrary<Constraint> = fc.oneof(
  rule("${attr.cpu.arch}", ["=", "!=", "is", "not", "=="], ["amd64", "arm64"]),
  rule("${node.class}", ["=", "!="], CLASSES),
  rule("${node.datacenter}", ["=", "!=", "<", ">="], DATACENTERS),
  rule("${meta.rack}", ["=", "!=", "<", "<=", ">", ">="], RACKS),
  rule("${meta.rack}", ["is_set", "is_not_set"], [""]),
  rule("${attr.size}", ["<", "<=", ">", ">="], ["9", "10", "12", "c"]),
  rule(
    "${attr.os.version}",
    ["version"],
    [">= 1.2", "~> 1.2", "> 1.2.3, < 2", "= 2.1.0", "!= 1.3.0", ">= 1.3.0-alpha"],
  ),
  rule("${attr.os.version}", ["semver"], [">= 1.3.0-beta", "< 2.0.0", "!= 1.3.0", "~> 1.2.0"]),
  rule("${attr.features}", ["set_contains", "set_contains_all", "set_contains_any"], ["a", "a,c", "b, c"]),
  rule("${node.unique.name}", ["regexp", "="], ["host-[0-4]", "^host-1", "host-3$"]),
  rule("${node.unique.name}", ["=", "!="], ["${attr.unique.hostname}", "${attr.nothing}"]),
  rule("${node.unique.id}", ["!=", "regexp"], ["00000001-0000-4000-8000-000000000000"]),
  rule("${attr.nothing}", ["is_set", "is_not_set", "!="], ["x"]),
);

const distinctRule: fc.Arbitrary<Constraint> = fc.oneof(
  rule("", ["distinct_hosts"], ["true", "false"]),
  rule("${meta.rack}", ["distinct_property"], ["", "1", "2"]),
  rule("${node.class}", ["distinct_property"], ["2", "3"]),
);

const constraints = rarely(fc.array(nodeRule, { minLength: 1, maxLength: 1 }));
const constraintsAndDistinct = perhaps(
  fc.array(fc.oneof(nodeRule, distinctRule), { minLength: 1, maxLength: 2 }),
);

const affinities: fc.Arbitrary<Affinity[] | null> = perhaps(
  fc.array(
    fc
      .tuple(nodeRule, fc.constantFrom(-100, -30, 20, 50, 100))
      .map(([one, Weight]): Affinity => ({ ...one, Weight })),
    { minLength: 1, maxLength: 2 },
  ),
);

const spreads: fc.Arbitrary<Spread[] | null> = perhaps(
  fc.array(
    fc.oneof(
      fc
        .tuple(
          fc.constantFrom("${meta.rack}", "${node.datacenter}", "${node.class}"),
          fc.constantFrom(20, 50, 100),
        )
        .map(([Attribute, Weight]): Spread => ({ Attribute, SpreadTarget: null, Weight })),
      fc
        .record({
          over: fc.constantFrom(
            { Attribute: "${node.datacenter}", values: DATACENTERS },
            { Attribute: "${meta.rack}", values: RACKS },
          ),
          percents: fc.constantFrom([70], [70, 30], [75, 25], [50, 20], [33, 33], [100, 0]),
          // For all values that aren't named.
          others: perhaps(fc.constantFrom(0, 10, 25)),
          Weight: fc.constantFrom(20, 50, 100),
        })
        .map(({ over: { Attribute, values }, percents, others, Weight }): Spread => {
          const named = percents.map((Percent, i) => ({ Percent, Value: values[i]! }));
          const left = 100 - percents.reduce<number>((sum, percent) => sum + percent, 0);
          const rest = others === null ? [] : [{ Percent: Math.min(left, others), Value: "*" }];
          return { Attribute, SpreadTarget: [...named, ...rest], Weight };
        }),
    ),
    { minLength: 1, maxLength: 2 },
  ),
);

const deviceRule = fc.oneof(
  rule("${device.attr.memory}", [">=", "<", "="], ["11 GiB", "12 GB", "4096 MiB"]),
  rule("${device.model}", ["=", "!="], ["k80"]),
  rule("${device.vendor}", ["=", "!="], ["amd"]),
);

const deviceAsk: fc.Arbitrary<RequestedDevice> = fc.record({
  Name: fc.constantFrom("gpu", "nvidia/gpu", "amd/gpu", "nvidia/gpu/k80"),
  Count: fc.constantFrom(1, 1, 2),
  Constraints: perhaps(deviceRule.map((one) => [one])),
  Affinities: perhaps(
    fc.array(
      fc
        .tuple(deviceRule, fc.constantFrom(-50, 50, 100))
        .map(([one, Weight]): Affinity => ({ ...one, Weight })),
      { minLength: 1, maxLength: 2 },
    ),
  ),
});

const deviceAsks = fc.array(deviceAsk, { minLength: 1, maxLength: 2 });

const network: fc.Arbitrary<NetworkResource> = fc
  .record({
    mode: mostly("host", "bridge", "none", ""),
    fixed: fc.uniqueArray(fc.constantFrom(8080, 8081, 9090, 20_001), { maxLength: 2 }),
    dynamic: fc.integer({ min: 0, max: 2 }),
    hostNetwork: mostly("", "default", "public"),
  })
  .map(({ mode, fixed, dynamic, hostNetwork }) => ({
    CIDR: "",
    DNS: null,
    Device: "",
    IP: "",
    MBits: 0,
    Mode: mode,
    ReservedPorts:
      fixed.length === 0
        ? null
        : fixed.map((Value) => ({ HostNetwork: hostNetwork, Label: `p${Value}`, To: 0, Value })),
    DynamicPorts:
      dynamic === 0
        ? null
        : Array.from({ length: dynamic }, (_, i) => ({
            HostNetwork: i === 0 ? hostNetwork : "",
            Label: `d${i}`,
            To: -1,
            Value: 0,
          })),
  }));

/**
 * A task's own network. Its static ports are no dynamic ones: those are drawn by chance for whoever comes first, so that
 * whether a later static port is free would be chance as well.
 */
const taskNetwork: fc.Arbitrary<NetworkResource> = fc
  .record({
    device: mostly("", "eth0", "eth1"),
    fixed: fc.uniqueArray(fc.constantFrom(8080, 8081, 9090), { maxLength: 1 }),
    dynamic: fc.integer({ min: 0, max: 2 }),
  })
  .map(({ device, fixed, dynamic }) => ({
    CIDR: "",
    DNS: null,
    Device: device,
    IP: "",
    MBits: 10,
    Mode: "",
    ReservedPorts: fixed.map((Value) => ({ HostNetwork: "default", Label: `t${Value}`, To: 0, Value })),
    DynamicPorts: Array.from({ length: dynamic }, (_, i) => ({
      HostNetwork: "default",
      Label: `e${i}`,
      To: 0,
      Value: 0,
    })),
  }));

const lifecycle: fc.Arbitrary<TaskLifecycle | null> = mostly<TaskLifecycle | null>(
  null,
  { Hook: "prestart", Sidecar: false },
  { Hook: "prestart", Sidecar: true },
  { Hook: "poststart", Sidecar: false },
  { Hook: "poststop", Sidecar: false },
);

function taskWith(name: string, exact: boolean): fc.Arbitrary<Task> {
  return fc
    .record({
      cpu: fc.constantFrom(50, 100, 250, 600),
      memory: fc.constantFrom(32, 64, 200, 500),
      maximum: fc.constantFrom(0, 600),
      cores: exact ? mostly(0, 1, 2) : fc.constant(0),
      devices: exact ? fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, deviceAsks) : fc.constant(null),
      networks: rarely(fc.array(taskNetwork, { minLength: 1, maxLength: 1 })),
      lifecycle,
      constraints,
      affinities,
      driver: mostly("raw_exec", "exec"),
    })
    .map((one) => {
      const task = makeTask({ Name: name });
      return {
        ...task,
        Driver: one.driver,
        Lifecycle: one.lifecycle,
        Constraints: one.constraints,
        Affinities: one.affinities,
        Resources: {
          ...task.Resources,
          CPU: one.cores > 0 ? 0 : one.cpu,
          Cores: one.cores,
          MemoryMB: one.memory,
          MemoryMaxMB: one.maximum,
          Devices: one.devices,
          Networks: one.networks,
        },
      };
    });
}

function groupWith(name: string): fc.Arbitrary<TaskGroup> {
  return fc
    .record({
      count: fc.integer({ min: 1, max: 8 }),
      disk: fc.constantFrom(10, 100, 300),
      first: taskWith("first", true),
      second: perhaps(taskWith("second", false)),
      constraints: constraintsAndDistinct,
      affinities,
      spreads,
      network: perhaps(network),
      volume: rarely(fc.boolean()),
    })
    .map((one) =>
      makeGroup({
        Name: name,
        Count: one.count,
        Constraints: one.constraints,
        Affinities: one.affinities,
        Spreads: one.spreads,
        EphemeralDisk: { Migrate: false, SizeMB: one.disk, Sticky: false },
        Networks: one.network === null ? null : [one.network],
        Tasks: one.second === null ? [one.first] : [one.first, one.second],
        Volumes:
          one.volume === null
            ? null
            : {
                data: {
                  AccessMode: "",
                  AttachmentMode: "",
                  MountOptions: null,
                  Name: "data",
                  PerAlloc: false,
                  ReadOnly: one.volume,
                  Source: "data",
                  Type: "host",
                },
              },
      }),
    );
}

/** A job `web` of one to three groups. */
export const jobs: fc.Arbitrary<Job> = fc
  .record({
    groups: fc
      .integer({ min: 1, max: 3 })
      .chain((count) => fc.tuple(...["g1", "g2", "g3"].slice(0, count).map(groupWith))),
    datacenters: fc.constantFrom(["dc1"], ["dc1", "dc2"], [...DATACENTERS], [...DATACENTERS]),
    constraints: rarely(fc.array(fc.oneof(nodeRule, distinctRule), { minLength: 1, maxLength: 1 })),
    affinities,
    spreads,
    priority: fc.constantFrom(30, 50, 80),
  })
  .map((one) =>
    makeJob({
      TaskGroups: one.groups,
      Datacenters: [...one.datacenters],
      Constraints: one.constraints,
      Affinities: one.affinities,
      Spreads: one.spreads,
      Priority: one.priority,
    }),
  );
