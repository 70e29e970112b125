import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Affinity, Job, Node, Spread } from "@drover/plugin-sdk";
import {
  createPlan,
  genericScheduler,
  newAllocation,
  placeAllocation,
  stopAllocation,
} from "@drover/plugin-sdk/scheduling";
import { makeEvaluation, makeJob, makeNode, makeTask, SchedulerHarness } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { RowHeap } from "../../workers/placement/heap.js";
import { gpus, groupOf, networkOf, nodeNamed, onColumns, placeOne } from "./placement-fixtures.js";

const service = genericScheduler({ type: "service", batch: false });

function clusterOf(nodes: Record<string, Partial<Node>>): SchedulerHarness {
  const leader = new SchedulerHarness({ placer: onColumns });
  for (const [Name, overrides] of Object.entries(nodes))
    leader.state.putNode(makeNode({ Name, ...overrides }));
  return leader;
}

const affinity = (RTarget: string, Weight: number): Affinity => ({
  LTarget: "${meta.rack}",
  Operand: "=",
  RTarget,
  Weight,
});

/** The chosen node's name and its scores. */
function best(
  leader: SchedulerHarness,
  job: Job,
): { name: string; scores: Record<string, number>; norm: number } {
  const { placement } = placeOne(leader, leader.state.putJob(job));
  assert.ok(!("failed" in placement));
  const meta = placement.metrics.ScoreMetaData![0]!;
  assert.equal(meta.NodeID, placement.nodeId);
  return { name: placement.nodeName, scores: meta.Scores, norm: meta.NormScore };
}

describe("ranking", () => {
  it("fills nodes up with binpack and uses them evenly with spread", async () => {
    for (const [algorithm, name] of [
      ["binpack", "used"],
      ["spread", "empty"],
    ] as const) {
      const leader = clusterOf({ used: {}, empty: { SchedulingEligibility: "ineligible" } });
      leader.state.putSchedulerConfiguration({ SchedulerAlgorithm: algorithm });
      await leader.register(service, makeJob({ ID: "first", TaskGroups: [groupOf(1, { CPU: 1000 })] }));
      leader.state.putNode({ ...nodeNamed(leader, "empty"), SchedulingEligibility: "eligible" });
      assert.equal(best(leader, makeJob({ ID: "second" })).name, name);
    }
  });

  it("adds affinities of job, group and task as the share of their weights, negative ones against", () => {
    const leader = clusterOf({ a: { Meta: { rack: "a" } }, b: { Meta: { rack: "b" } } });
    const group = groupOf(1, {});
    const job = makeJob({
      Affinities: [affinity("a", 50)],
      TaskGroups: [
        {
          ...group,
          Affinities: [affinity("b", 25)],
          Tasks: [{ ...group.Tasks[0]!, Affinities: [affinity("a", -100)] }],
        },
      ],
    });
    const chosen = best(leader, job);
    assert.equal(chosen.name, "b");
    assert.equal(chosen.scores["node-affinity"], 25 / 175);
    const { placement } = placeOne(leader, job);
    assert.ok(!("failed" in placement));
    assert.equal(placement.metrics.ScoreMetaData![1]!.Scores["node-affinity"], -50 / 175);
  });

  it("prefers devices that the task has an affinity for, and counts those that are free only", async () => {
    const leader = clusterOf({ old: {}, new: {} });
    for (const [name, devices] of [
      ["old", gpus("k80", 2, 4)],
      ["new", gpus("t4", 16, 1)],
    ] as const) {
      const node = nodeNamed(leader, name);
      leader.state.putNode({ ...node, NodeResources: { ...node.NodeResources, Devices: [devices] } });
    }
    const ask = {
      Affinities: [{ LTarget: "${device.attr.memory}", Operand: ">", RTarget: "8 GiB", Weight: 60 }],
      Constraints: null,
      Count: 1,
      Name: "gpu",
    };
    const job = makeJob({ TaskGroups: [groupOf(1, { Devices: [ask] })] });
    const first = best(leader, job);
    assert.deepEqual([first.name, first.scores.devices], ["new", 1]);
    await leader.register(service, { ...job, ID: "holder" });
    const second = best(leader, { ...job, ID: "second" });
    assert.deepEqual([second.name, second.scores.devices], ["old", 0]);
  });

  it("shows what the free devices of a preferred node are liked, not what all of them would be", async () => {
    const leader = clusterOf({ only: {} });
    const node = nodeNamed(leader, "only");
    const Devices = [gpus("t4", 16, 1), gpus("k80", 2, 1)];
    leader.state.putNode({ ...node, NodeResources: { ...node.NodeResources, Devices } });
    const weighed = (Weight: number) => ({
      Affinities: [{ LTarget: "${device.model}", Operand: "=", RTarget: "k80", Weight }],
      Constraints: null,
      Count: 1,
      Name: "gpu",
    });
    const job = makeJob({ ID: "holder", TaskGroups: [groupOf(1, { Devices: [weighed(-60)] })] });
    await leader.register(service, job);
    const { placement } = placeOne(leader, { ...job, ID: "second" }, { preferredNode: node.ID });
    assert.ok(!("failed" in placement));
    const [shown] = placement.metrics.ScoreMetaData!;
    const { binpack = Number.NaN, devices } = shown!.Scores;
    assert.equal(devices, -1);
    assert.ok(Math.abs(shown!.NormScore - (binpack - 1) / 2) < 1e-12, `${shown!.NormScore}`);
  });

  it("follows percentages with an implicit remainder, and several spreads by their weights", async () => {
    const nodes: Record<string, Partial<Node>> = {};
    for (let i = 0; i < 12; i++)
      nodes[`n${i}`] = { Datacenter: ["dc1", "dc2", "dc3"][i % 3]!, Meta: { rack: `r${i % 4}` } };
    const leader = clusterOf(nodes);
    const spreads: Spread[] = [
      { Attribute: "${node.datacenter}", SpreadTarget: [{ Value: "dc1", Percent: 75 }], Weight: 100 },
    ];
    const job = makeJob({
      ID: "quarters",
      Datacenters: ["dc1", "dc2"],
      TaskGroups: [groupOf(8, { CPU: 10 }, { Spreads: spreads })],
    });
    await leader.register(service, job);
    const datacenters = leader.live(job).map((one) => leader.state.node(one.NodeID)!.Datacenter);
    assert.equal(datacenters.filter((name) => name === "dc1").length, 6);

    const two: Spread[] = [
      {
        Attribute: "${node.datacenter}",
        SpreadTarget: [{ Value: "dc1", Percent: 100 }],
        Weight: 75,
      },
      { Attribute: "${meta.rack}", SpreadTarget: [{ Value: "r1", Percent: 100 }], Weight: 25 },
    ];
    const chosen = best(leader, {
      ...job,
      ID: "two",
      TaskGroups: [groupOf(4, { CPU: 10 }, { Spreads: two })],
    });
    const node = nodeNamed(leader, chosen.name);
    assert.deepEqual([node.Datacenter, node.Meta!.rack], ["dc1", "r1"]);
    // One of four placed: (4 - 1) / 4 of each, by weight.
    assert.equal(chosen.scores["allocation-spread"], 0.75 * 0.75 + 0.75 * 0.25);
  });

  it("ranks as looking at every node anew does, while a plan places and stops", () => {
    const spreadsOf = fc.constantFrom<Spread[] | null>(
      null,
      [{ Attribute: "${meta.rack}", SpreadTarget: null, Weight: 50 }],
      [
        { Attribute: "${meta.rack}", SpreadTarget: [{ Value: "r0", Percent: 60 }], Weight: 70 },
        { Attribute: "${node.unique.name}", SpreadTarget: null, Weight: 30 },
      ],
    );
    fc.assert(
      fc.property(
        fc.array(fc.record({ cpu: fc.integer({ min: 300, max: 3000 }), rack: fc.nat(3) }), {
          minLength: 1,
          maxLength: 12,
        }),
        spreadsOf,
        fc.array(fc.boolean(), { minLength: 1, maxLength: 25 }),
        (shapes, Spreads, steps) => {
          const leader = new SchedulerHarness();
          for (const [i, { cpu, rack }] of shapes.entries()) {
            const node = makeNode({ Name: `n${i}`, Meta: { rack: `r${rack}` } });
            node.NodeResources.Cpu.CpuShares = cpu;
            leader.state.putNode(node);
          }
          const group = groupOf(10, { CPU: 120 }, { Spreads, Affinities: [affinity("r1", 40)] });
          const job = leader.state.putJob(makeJob({ TaskGroups: [group] }));
          const evaluation = makeEvaluation(job);
          const plan = createPlan(evaluation, "token", job, leader.state.index);
          const scope = { state: leader.state, columns: leader.state.columns(), plan, evaluation };
          const kept = onColumns(scope);
          const live = [];
          for (const [i, place] of steps.entries()) {
            if (!place && live.length > 0) {
              const stopped = live.pop()!;
              stopAllocation(plan, stopped, { description: "test" });
              continue;
            }
            const request = { job, group: job.TaskGroups[0]!, name: `web.g[${i}]`, previous: null };
            const chosen = kept.place(request);
            const anew = onColumns(scope).place(request);
            assert.equal("failed" in chosen, "failed" in anew);
            if ("failed" in chosen || "failed" in anew) continue;
            assert.equal(chosen.nodeId, anew.nodeId);
            assert.deepEqual(chosen.metrics.ScoreMetaData, anew.metrics.ScoreMetaData);
            const allocation = newAllocation({
              id: `00000000-0000-0000-0000-0000000000${String(i).padStart(2, "0")}`,
              name: request.name,
              evaluation,
              job,
              group: request.group,
              placement: chosen,
              now: 0,
            });
            placeAllocation(plan, allocation);
            live.push(allocation);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("shows the five best nodes, best first, and shares what didn't change between metrics", () => {
    const leader = clusterOf(Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`n${i}`, {}])));
    const job = leader.state.putJob(makeJob({ TaskGroups: [groupOf(3, {})] }));
    const { placer, placement } = placeOne(leader, job);
    assert.ok(!("failed" in placement));
    const metas = placement.metrics.ScoreMetaData!;
    assert.equal(metas.length, 5);
    assert.deepEqual(
      metas.map((meta) => meta.NormScore),
      metas.map((meta) => meta.NormScore).toSorted((a, b) => b - a),
    );
    const again = placer.place({ job, group: job.TaskGroups[0]!, name: "web.g[1]", previous: null });
    assert.ok(!("failed" in again));
    assert.equal(again.metrics.NodesAvailable, placement.metrics.NodesAvailable);
    for (const [i, meta] of metas.entries()) assert.equal(again.metrics.ScoreMetaData![i], meta);
  });
});

describe("resources", () => {
  it("takes dynamic ports from the node's range", () => {
    const leader = clusterOf({ n: {} });
    const node = nodeNamed(leader, "n");
    leader.state.putNode({
      ...node,
      NodeResources: { ...node.NodeResources, MinDynamicPort: 30_000, MaxDynamicPort: 30_001 },
    });
    const ports = networkOf([{ label: "a" }, { label: "b" }]);
    const job = leader.state.putJob(makeJob({ TaskGroups: [groupOf(1, {}, { Networks: ports })] }));
    const { placement } = placeOne(leader, job);
    assert.ok(!("failed" in placement));
    assert.deepEqual(placement.resources.Shared.Ports!.map((port) => port.Value).sort(), [30_000, 30_001]);
    const three = networkOf([{ label: "a" }, { label: "b" }, { label: "c" }]);
    const failed = placeOne(
      leader,
      leader.state.putJob(makeJob({ TaskGroups: [groupOf(1, {}, { Networks: three })] })),
    ).placement;
    assert.ok("failed" in failed);
    assert.deepEqual(failed.failed.DimensionExhausted, { "network: dynamic port selection failed": 1 });
  });

  it("keeps memory_max only where oversubscription is enabled, and counts memory alone", () => {
    const leader = clusterOf({ n: {} });
    const job = leader.state.putJob(
      makeJob({ TaskGroups: [groupOf(1, { MemoryMB: 100, MemoryMaxMB: 100_000 })] }),
    );
    for (const MemoryOversubscriptionEnabled of [false, true]) {
      leader.state.putSchedulerConfiguration({ MemoryOversubscriptionEnabled });
      const { placement } = placeOne(leader, job);
      assert.ok(!("failed" in placement));
      assert.equal(
        placement.resources.Tasks.t!.Memory.MemoryMaxMB,
        MemoryOversubscriptionEnabled ? 100_000 : 0,
      );
    }
  });

  it("gives reserved cores the share of the node's MHz and keeps the node's own cores", () => {
    const leader = clusterOf({ n: {} });
    const node = nodeNamed(leader, "n");
    node.ReservedResources.Cpu.ReservedCpuCores = [0, 1];
    leader.state.putNode(node);
    const cores = (count: number) =>
      placeOne(leader, leader.state.putJob(makeJob({ TaskGroups: [groupOf(1, { CPU: 0, Cores: count })] })))
        .placement;
    const two = cores(2);
    assert.ok(!("failed" in two));
    assert.deepEqual(two.resources.Tasks.t!.Cpu, { CpuShares: 2000, ReservedCores: [2, 3] });
    const three = cores(3);
    assert.ok("failed" in three);
    assert.deepEqual(three.failed.DimensionExhausted, { cores: 1 });
  });

  it("updates in place only what keeps its cores, devices and ports and fits with its growth", async () => {
    const leader = clusterOf({ n: {} });
    const networks = networkOf([{ label: "http", value: 8080 }]);
    const job = makeJob({ TaskGroups: [groupOf(1, { CPU: 1000 }, { Networks: networks })] });
    await leader.register(service, job);
    await leader.register(service, makeJob({ ID: "other", TaskGroups: [groupOf(1, { CPU: 1000 })] }));
    const [allocation] = leader.live(job);
    const fits = (group: ReturnType<typeof groupOf>, overrides: Partial<Job> = {}) => {
      const changed = makeJob({ TaskGroups: [group], ...overrides });
      return placeOne(leader, changed).placer.fitInPlace(allocation!, changed, group) !== null;
    };
    assert.ok(fits(groupOf(1, { CPU: 3000 }, { Networks: networks })));
    assert.ok(!fits(groupOf(1, { CPU: 3001 }, { Networks: networks })));
    assert.ok(!fits(groupOf(1, { CPU: 0, Cores: 1 }, { Networks: networks })));
    assert.ok(!fits(groupOf(1, { CPU: 1000 }, { Networks: networkOf([{ label: "http", value: 9090 }]) })));
    assert.ok(!fits(groupOf(1, { CPU: 1000 })));
    const more = makeTask({ Name: "more" });
    assert.ok(!fits(groupOf(1, {}, { Networks: networks, Tasks: [makeTask(), more] })));
    const distinct = { Constraints: [{ LTarget: "", Operand: "distinct_hosts", RTarget: "true" }] };
    assert.ok(fits(groupOf(1, { CPU: 1000 }, { Networks: networks }), distinct));
  });
});

describe("heap of rows", () => {
  it("has the best row on top whatever comes, moves and goes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(19), fc.nat(5), fc.boolean()), { maxLength: 120 }),
        (operations) => {
          const keys = new Float64Array(20);
          const tie = Uint32Array.from({ length: 20 }, (_, row) => (row * 7) % 20);
          const heap = new RowHeap(keys, tie, new Int32Array(20));
          const inside = new Set<number>();
          for (const [row, key, leave] of operations) {
            if (inside.has(row) && leave) {
              heap.remove(row);
              inside.delete(row);
            } else {
              keys[row] = key;
              if (inside.has(row)) heap.moved(row);
              else heap.push(row);
              inside.add(row);
            }
            const sorted = [...inside].sort((a, b) => keys[b]! - keys[a]! || tie[a]! - tie[b]!);
            assert.equal(heap.rows[0], sorted[0]);
            assert.equal(heap.rows.length, inside.size);
          }
        },
      ),
    );
  });
});
