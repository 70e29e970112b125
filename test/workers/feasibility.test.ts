import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ClientHostVolumeConfig, Constraint, DriverInfo, Node, VolumeRequest } from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";
import { makeJob, makeNode, SchedulerHarness } from "@drover/plugin-sdk/testing";
import { feasible, gpus, groupOf, networkOf, onColumns, placeOne } from "./placement-fixtures.js";

function clusterOf(nodes: Record<string, (node: Node) => void>): SchedulerHarness {
  const leader = new SchedulerHarness({ placer: onColumns });
  for (const [name, change] of Object.entries(nodes)) {
    const node = makeNode({ Name: name });
    change(node);
    leader.state.putNode(node);
  }
  return leader;
}

const driver = (Detected: boolean, Healthy: boolean): DriverInfo => ({
  Attributes: null,
  Detected,
  HealthDescription: "",
  Healthy,
  UpdateTime: "",
});

const volume = (Source: string, ReadOnly: boolean): VolumeRequest => ({
  AccessMode: "",
  AttachmentMode: "",
  MountOptions: null,
  Name: Source,
  PerAlloc: false,
  ReadOnly,
  Source,
  Type: "host",
});

const hostVolume = (Name: string, ReadOnly: boolean): Record<string, ClientHostVolumeConfig> => ({
  [Name]: { Name, Path: `/srv/${Name}`, ReadOnly },
});

describe("feasibility", () => {
  it("asks for drivers that are healthy, and believes the attribute where a node reports no health", () => {
    const leader = clusterOf({
      healthy: (node) => {
        node.Drivers = { raw_exec: driver(true, true) };
      },
      sick: (node) => {
        node.Drivers = { raw_exec: driver(true, false) };
      },
      undetected: (node) => {
        node.Drivers = { raw_exec: driver(false, true) };
      },
      unreported: () => {},
      without: (node) => {
        delete node.Attributes["driver.raw_exec"];
      },
    });
    const job = leader.state.putJob(makeJob());
    const found = feasible(leader, job);
    assert.deepEqual(found.names, ["healthy", "unreported"]);
    assert.deepEqual(found.filtered, { "missing drivers": 3 });
  });

  it("keeps a node class eligible where only health or a volume of one node stood in the way", () => {
    const leader = clusterOf({
      sick: (node) => {
        node.Drivers = { raw_exec: driver(true, false) };
      },
    });
    const job = leader.state.putJob(makeJob());
    assert.deepEqual(placeOne(leader, job).placer.classEligibility(), {
      classes: { "v1:1": true },
      escaped: false,
    });
    const windows = leader.state.putJob(
      makeJob({ Constraints: [{ LTarget: "${attr.kernel.name}", Operand: "=", RTarget: "windows" }] }),
    );
    assert.deepEqual(placeOne(leader, windows).placer.classEligibility().classes, { "v1:1": false });
  });

  it("takes host volumes by name, and read-only ones only for reading", () => {
    const leader = clusterOf({
      writable: (node) => {
        node.HostVolumes = hostVolume("data", false);
      },
      readable: (node) => {
        node.HostVolumes = hostVolume("data", true);
      },
      other: (node) => {
        node.HostVolumes = hostVolume("logs", false);
      },
    });
    const writes = makeJob({ TaskGroups: [groupOf(1, {}, { Volumes: { d: volume("data", false) } })] });
    const reads = makeJob({ TaskGroups: [groupOf(1, {}, { Volumes: { d: volume("data", true) } })] });
    assert.deepEqual(feasible(leader, leader.state.putJob(writes)).names, ["writable"]);
    const found = feasible(leader, leader.state.putJob(reads));
    assert.deepEqual(found.names, ["readable", "writable"]);
    assert.deepEqual(found.filtered, { "missing compatible host volumes": 1 });
  });

  it("asks for network modes and host networks; host and none are everywhere", () => {
    const leader = clusterOf({
      plain: () => {},
      bridged: (node) => {
        node.NodeResources.NodeNetworks!.push({
          Addresses: null,
          Device: "nomad",
          MacAddress: "",
          Mode: "bridge",
          Speed: 0,
        });
      },
      cni: (node) => {
        node.NodeResources.Networks!.push({
          ...node.NodeResources.Networks![0]!,
          IP: "",
          Mode: "cni/mesh",
        });
      },
      public: (node) => {
        node.NodeResources.NodeNetworks![0]!.Addresses!.push({
          Address: "192.0.2.1",
          Alias: "public",
          Family: "ipv4",
          Gateway: "",
          ReservedPorts: "",
        });
      },
    });
    const inMode = (mode: string) =>
      feasible(
        leader,
        leader.state.putJob(makeJob({ TaskGroups: [groupOf(1, {}, { Networks: networkOf([], mode) })] })),
      );
    assert.deepEqual(inMode("bridge").names, ["bridged"]);
    assert.deepEqual(inMode("bridge").filtered, { "missing network": 3 });
    assert.deepEqual(inMode("cni/mesh").names, ["cni"]);
    assert.equal(inMode("none").names.length, 4);
    assert.equal(inMode("host").names.length, 4);
    const ports = networkOf([{ label: "web", hostNetwork: "public" }]);
    const onPublic = feasible(
      leader,
      leader.state.putJob(makeJob({ TaskGroups: [groupOf(1, {}, { Networks: ports })] })),
    );
    assert.deepEqual(onPublic.names, ["public"]);
    assert.deepEqual(onPublic.filtered, { 'missing host network "public" for port "web"': 3 });
  });

  it("asks for devices by type, vendor and model, with constraints that know units", () => {
    const leader = clusterOf({
      none: () => {},
      small: (node) => {
        node.NodeResources.Devices = [gpus("k80", 2, 1)];
      },
      big: (node) => {
        node.NodeResources.Devices = [gpus("t4", 16, 2)];
      },
    });
    const asks = (Name: string, Count = 1, Constraints: Constraint[] | null = null) =>
      feasible(
        leader,
        leader.state.putJob(
          makeJob({
            TaskGroups: [groupOf(1, { Devices: [{ Affinities: null, Constraints, Count, Name }] })],
          }),
        ),
      ).names;
    assert.deepEqual(asks("gpu"), ["big", "small"]);
    assert.deepEqual(asks("nvidia/gpu"), ["big", "small"]);
    assert.deepEqual(asks("nvidia/gpu/t4"), ["big"]);
    assert.deepEqual(asks("amd/gpu"), []);
    assert.deepEqual(asks("gpu", 2), ["big"]);
    const memory = (Operand: string, RTarget: string) => [
      { LTarget: "${device.attr.memory}", Operand, RTarget },
    ];
    assert.deepEqual(asks("gpu", 1, memory(">=", "4096 MiB")), ["big"]);
    assert.deepEqual(asks("gpu", 1, memory("<", "3 GB")), ["small"]);
    assert.deepEqual(asks("gpu", 1, memory("=", "16384 MiB")), ["big"]);
    assert.deepEqual(asks("gpu", 1, [{ LTarget: "${device.model}", Operand: "regexp", RTarget: "^k" }]), [
      "small",
    ]);
  });

  it("calls devices that all others hold exhausted, and devices no node has missing", async () => {
    const leader = clusterOf({
      one: (node) => {
        node.NodeResources.Devices = [gpus("t4", 16, 1)];
      },
    });
    const ask = (Name: string) => ({ Affinities: null, Constraints: null, Count: 1, Name });
    const first = makeJob({ ID: "first", TaskGroups: [groupOf(1, { Devices: [ask("gpu")] })] });
    await leader.register(genericScheduler({ type: "service", batch: false }), first);
    const second = leader.state.putJob(
      makeJob({ ID: "second", TaskGroups: [groupOf(1, { Devices: [ask("gpu")] })] }),
    );
    assert.deepEqual(feasible(leader, second), {
      names: [],
      filtered: null,
      lacking: { "devices: no devices match request": 1 },
    });
    const fpga = leader.state.putJob(
      makeJob({ ID: "third", TaskGroups: [groupOf(1, { Devices: [ask("fpga")] })] }),
    );
    assert.deepEqual(feasible(leader, fpga), {
      names: [],
      filtered: { "missing devices": 1 },
      lacking: null,
    });
  });

  it("holds every operand of constraints on job, group and task", () => {
    const leader = clusterOf({
      a: (node) => {
        node.Meta = { rack: "r1", tags: "ssd,fast", only: "x" };
        node.Attributes["driver.docker.version"] = "1.13.1";
        node.NodeClass = "c1";
      },
      b: (node) => {
        node.Meta = { rack: "r2", tags: "hdd" };
        node.Attributes["driver.docker.version"] = "20.10.7-rc1";
        node.NodeClass = "c2";
      },
    });
    const expected: [string, string, string, string[]][] = [
      ["${meta.rack}", "=", "r1", ["a"]],
      ["${meta.rack}", "==", "r2", ["b"]],
      ["${meta.rack}", "is", "r2", ["b"]],
      ["${meta.only}", "!=", "x", ["b"]],
      ["${meta.rack}", "not", "r1", ["b"]],
      ["${meta.rack}", "<", "r2", ["a"]],
      ["${meta.rack}", "<=", "r2", ["a", "b"]],
      ["${meta.rack}", ">", "r1", ["b"]],
      ["${meta.rack}", ">=", "r1", ["a", "b"]],
      ["${node.class}", "regexp", "^c[2-9]$", ["b"]],
      ["${attr.driver.docker.version}", "version", ">= 1.12, < 2", ["a"]],
      ["${attr.driver.docker.version}", "semver", ">= 20.10.7-rc1", ["b"]],
      ["${meta.tags}", "set_contains", "fast,ssd", ["a"]],
      ["${meta.tags}", "set_contains_all", "hdd", ["b"]],
      ["${meta.tags}", "set_contains_any", "hdd,ssd", ["a", "b"]],
      ["${meta.only}", "is_set", "", ["a"]],
      ["${meta.only}", "is_not_set", "", ["b"]],
      ["${node.unique.name}", "=", "a", ["a"]],
      ["${node.datacenter}", "=", "dc1", ["a", "b"]],
    ];
    for (const [LTarget, Operand, RTarget, names] of expected) {
      const rule = [{ LTarget, Operand, RTarget }];
      const group = groupOf(1, {});
      const places = [
        makeJob({ Constraints: rule }),
        makeJob({ TaskGroups: [{ ...group, Constraints: rule }] }),
        makeJob({ TaskGroups: [{ ...group, Tasks: [{ ...group.Tasks[0]!, Constraints: rule }] }] }),
      ];
      for (const job of places) {
        const found = feasible(leader, leader.state.putJob(job));
        assert.deepEqual(found.names, names, `${LTarget} ${Operand} ${RTarget}`);
        if (names.length < 2)
          assert.deepEqual(found.filtered, { [`${LTarget} ${Operand} ${RTarget}`]: 2 - names.length });
      }
    }
  });

  it("looks only at ready, eligible nodes that don't drain", () => {
    const leader = clusterOf({
      ready: () => {},
      down: (node) => {
        node.Status = "down";
      },
      closed: (node) => {
        node.SchedulingEligibility = "ineligible";
      },
      draining: (node) => {
        node.DrainStrategy = {
          Deadline: 0,
          ForceDeadline: "",
          IgnoreSystemJobs: false,
          StartedAt: "",
        };
      },
    });
    const job = leader.state.putJob(makeJob());
    assert.deepEqual(feasible(leader, job).names, ["ready"]);
    const { placement } = placeOne(leader, job);
    assert.ok(!("failed" in placement));
    assert.deepEqual(
      [placement.metrics.NodesAvailable, placement.metrics.NodesEvaluated, placement.metrics.NodesFiltered],
      [{ dc1: 1 }, 1, 0],
    );
  });
});
