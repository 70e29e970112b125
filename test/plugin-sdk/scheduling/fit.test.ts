import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AllocatedResources, Allocation, NetworkResource, TaskLifecycle } from "@drover/plugin-sdk";
import {
  allocationUse,
  binpackScore,
  NetworkIndex,
  nodeFits,
  parsePorts,
  seededRandom,
  spreadScore,
} from "@drover/plugin-sdk/scheduling";
import { makeNode } from "@drover/plugin-sdk/testing";
import fc from "fast-check";

type TaskShape = { cpu?: number; memory?: number; cores?: number[]; lifecycle?: TaskLifecycle };

function resources(
  tasks: readonly TaskShape[],
  ports: [string, number][] = [],
  disk = 0,
): AllocatedResources {
  return {
    Shared: {
      DiskMB: disk,
      Networks: null,
      Ports: ports.map(([Label, Value]) => ({ HostIP: "10.0.0.1", Label, To: 0, Value })),
    },
    TaskLifecycles: Object.fromEntries(tasks.map((task, i) => [`t${i}`, task.lifecycle ?? null])),
    Tasks: Object.fromEntries(
      tasks.map((task, i) => [
        `t${i}`,
        {
          Cpu: { CpuShares: task.cpu ?? 0, ReservedCores: task.cores ?? null },
          Devices: null,
          Memory: { MemoryMB: task.memory ?? 0, MemoryMaxMB: 0 },
          Networks: null,
        },
      ]),
    ),
  };
}

const allocation = (held: AllocatedResources, change: Partial<Allocation> = {}): Allocation =>
  ({ AllocatedResources: held, ClientStatus: "running", DesiredStatus: "run", ...change }) as Allocation;

const ask = (change: Partial<NetworkResource>): NetworkResource => ({
  CIDR: "",
  DNS: null,
  Device: "",
  DynamicPorts: null,
  IP: "",
  MBits: 0,
  Mode: "",
  ReservedPorts: null,
  ...change,
});
const port = (Label: string, Value = 0, To = 0) => ({ HostNetwork: "default", Label, To, Value });

describe("fitting allocations on a node", () => {
  const cases: [name: string, held: AllocatedResources[], dimension: string][] = [
    ["nothing", [], ""],
    ["just all of it", [resources([{ cpu: 4000, memory: 8192 }], [], 100_000)], ""],
    ["too much cpu", [resources([{ cpu: 4000 }]), resources([{ cpu: 1 }])], "cpu"],
    ["too much memory", [resources([{ memory: 8193 }])], "memory"],
    ["too much disk", [resources([], [], 100_001)], "disk"],
    ["a core twice", [resources([{ cores: [1] }]), resources([{ cores: [1, 2] }])], "cores"],
    ["a core that isn't there", [resources([{ cores: [9] }])], "cores"],
    [
      "a port twice",
      [resources([], [["http", 8080]]), resources([], [["http", 8080]])],
      "reserved port collision http=8080",
    ],
  ];
  for (const [name, held, dimension] of cases) {
    it(name, () => {
      const fit = nodeFits(
        makeNode(),
        held.map((one) => allocation(one)),
      );
      assert.equal(fit.dimension, dimension);
      assert.equal(fit.fits, dimension === "");
    });
  }

  it("counts nothing of terminal allocations", () => {
    const big = resources([{ cpu: 4000 }], [["http", 80]]);
    const ended = [
      allocation(big, { ClientStatus: "failed" }),
      allocation(big, { DesiredStatus: "stop" }),
      allocation(big),
    ];
    const fit = nodeFits(makeNode(), ended);
    assert.ok(fit.fits);
    assert.equal(fit.used.cpu, 4000);
  });

  it("keeps back what the operator reserved", () => {
    const node = makeNode();
    node.ReservedResources.Cpu.CpuShares = 500;
    node.ReservedResources.Networks.ReservedHostPorts = "22,8000-8100";
    assert.equal(nodeFits(node, [allocation(resources([{ cpu: 3501 }]))]).dimension, "cpu");
    assert.equal(
      nodeFits(node, [allocation(resources([], [["x", 8050]]))]).dimension,
      "reserved port collision x=8050",
    );
  });

  it("takes the largest phase of an allocation, and sidecars with all of them", () => {
    const hook = (Hook: string, Sidecar = false): TaskLifecycle => ({ Hook, Sidecar });
    const use = allocationUse(
      resources([
        { cpu: 1000, memory: 50, lifecycle: hook("prestart") },
        { cpu: 100, memory: 100, lifecycle: hook("prestart", true) },
        { cpu: 300, memory: 300 },
        { cpu: 200, memory: 200, lifecycle: hook("poststart") },
        { cpu: 700, memory: 70, lifecycle: hook("poststop") },
      ]),
    );
    assert.equal(use.cpu, 1100);
    assert.equal(use.memory, 600);
  });
});

describe("scores of fullness", () => {
  it("gives the recorded score", () => {
    assert.equal(binpackScore(1 - 300 / 5192, 1 - 192 / 24_105), 0.07930476367682084);
  });

  it("is 0 for an empty node and 1 for a full one, and the reverse for spread", () => {
    assert.deepEqual([binpackScore(1, 1), binpackScore(0, 0)], [0, 1]);
    assert.deepEqual([spreadScore(1, 1), spreadScore(0, 0)], [1, 0]);
  });
});

describe("ports of a node", () => {
  it("reads lists and ranges, and names what is no port", () => {
    assert.deepEqual(parsePorts("22, 80,8000-8002"), [22, 80, 8000, 8001, 8002]);
    assert.deepEqual(parsePorts(""), []);
    assert.throws(() => parsePorts("22,x"), /"x" is not a port/);
    assert.throws(() => parsePorts("90-80"), RangeError);
    assert.throws(() => parsePorts("70000"), RangeError);
  });

  it("fills in the network as the API shows it", () => {
    const given = new NetworkIndex(makeNode()).assignPorts(
      ask({ DynamicPorts: [port("http"), port("admin", 0, -1)], ReservedPorts: [port("dns", 53, 5353)] }),
      seededRandom("e"),
    );
    assert.ok(!("error" in given));
    const [dns, http, admin] = given.ports;
    assert.deepEqual(dns, { HostIP: "10.0.0.1", Label: "dns", To: 5353, Value: 53 });
    assert.equal(http!.To, 0);
    assert.equal(admin!.To, admin!.Value);
    assert.equal(given.network.IP, "10.0.0.1");
    assert.deepEqual(given.network.DynamicPorts![0], {
      HostNetwork: "default",
      Label: "http",
      To: 0,
      Value: http!.Value,
    });
  });

  it("refuses taken static ports and unknown host networks in Nomad's words", () => {
    const index = new NetworkIndex(makeNode());
    index.addAllocation(resources([], [["web", 80]]));
    const error = (network: NetworkResource): unknown =>
      (index.assignPorts(network, seededRandom("")) as { error: string }).error;
    assert.equal(error(ask({ ReservedPorts: [port("http", 80)] })), "reserved port collision http=80");
    const elsewhere = { ...port("http"), HostNetwork: "public" };
    assert.equal(error(ask({ DynamicPorts: [elsewhere] })), 'no addresses available for "public" network');
  });

  it("gives every dynamic port once, then says that none is left; a failure holds nothing", () => {
    const node = makeNode();
    node.NodeResources.MinDynamicPort = 20_000;
    node.NodeResources.MaxDynamicPort = 20_049;
    fc.assert(
      fc.property(
        fc.string(),
        fc.uniqueArray(fc.integer({ min: 20_000, max: 20_049 }), { maxLength: 30 }),
        (seed, taken) => {
          const index = new NetworkIndex(node);
          index.addAllocation(
            resources(
              [],
              taken.map((value) => ["x", value]),
            ),
          );
          const random = seededRandom(seed);
          const tooMany = ask({
            DynamicPorts: Array.from({ length: 51 - taken.length }, (_, i) => port(`p${i}`)),
          });
          assert.equal(
            (index.assignPorts(tooMany, random) as { error?: string }).error,
            "dynamic port selection failed",
          );
          const all = ask({ DynamicPorts: tooMany.DynamicPorts!.slice(1) });
          const given = index.assignPorts(all, random);
          assert.ok(!("error" in given));
          const values = given.ports.map((one) => one.Value);
          assert.equal(new Set([...values, ...taken]).size, 50);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("chooses the same ports for the same evaluation", () => {
    const choose = (seed: string): unknown =>
      new NetworkIndex(makeNode()).assignPorts(
        ask({ DynamicPorts: [port("a"), port("b")] }),
        seededRandom(seed, "web.g[0]"),
      );
    assert.deepEqual(choose("one"), choose("one"));
    assert.notDeepEqual(choose("one"), choose("two"));
  });

  it("gives no port of a node whose reserved ports can't be read, and says why", () => {
    const node = makeNode();
    node.ReservedResources.Networks.ReservedHostPorts = "ssh";
    const given = new NetworkIndex(node).assignPorts(ask({ DynamicPorts: [port("a")] }), seededRandom(""));
    assert.match((given as { error: string }).error, /unreadable reserved ports: "ssh"/);
  });
});
