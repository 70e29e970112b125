import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job, NodeFilter, NodeScorer, PlacementRequest, TaskGroup } from "@drover/plugin-sdk";
import { createPlan, genericScheduler, placeAllocation, rowsOf } from "@drover/plugin-sdk/scheduling";
import {
  makeEvaluation,
  makeGroup,
  makeJob,
  makeNode,
  makeTask,
  type PlacerScope,
  ScanPlacer,
  SchedulerHarness,
} from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { ColumnPlacer } from "../../workers/placement/index.js";

const onColumns = (scope: PlacerScope): ColumnPlacer =>
  new ColumnPlacer({ ...scope, filters: [], scorers: [] });
const service = genericScheduler({ type: "service", batch: false });

function group(count: number, cpu: number, memory: number, overrides: Partial<TaskGroup> = {}): TaskGroup {
  const task = makeTask();
  return makeGroup({
    Count: count,
    Tasks: [{ ...task, Resources: { ...task.Resources, CPU: cpu, MemoryMB: memory } }],
    ...overrides,
  });
}

const network = (reserved: number[], dynamic: number): TaskGroup["Networks"] => [
  {
    CIDR: "",
    DNS: null,
    Device: "",
    DynamicPorts: Array.from({ length: dynamic }, (_, i) => ({
      HostNetwork: "default",
      Label: `d${i}`,
      To: 0,
      Value: 0,
    })),
    IP: "",
    MBits: 0,
    Mode: "",
    ReservedPorts: reserved.map((Value, i) => ({ HostNetwork: "default", Label: `r${i}`, To: 0, Value })),
  },
];

const jobs = fc.array(
  fc.record({
    count: fc.integer({ min: 0, max: 12 }),
    cpu: fc.integer({ min: 1, max: 2500 }),
    memory: fc.integer({ min: 10, max: 6000 }),
    disk: fc.integer({ min: 10, max: 60_000 }),
    reserved: fc.uniqueArray(fc.constantFrom(80, 443, 8080), { maxLength: 2 }),
    dynamic: fc.integer({ min: 0, max: 3 }),
  }),
  { minLength: 1, maxLength: 4 },
);
const nodes = fc.array(
  fc.record({
    cpu: fc.integer({ min: 500, max: 8000 }),
    memory: fc.integer({ min: 512, max: 16_384 }),
    reserved: fc.constantFrom("", "80", "22,8000-8100"),
    datacenter: fc.constantFrom("dc1", "dc1", "dc2"),
  }),
  { minLength: 1, maxLength: 8 },
);

/** A cluster and jobs, scheduled one after the other. */
async function schedule(
  nodeShapes: readonly { cpu: number; memory: number; reserved: string; datacenter: string }[],
  jobShapes: readonly {
    count: number;
    cpu: number;
    memory: number;
    disk: number;
    reserved: number[];
    dynamic: number;
  }[],
): Promise<{ leader: SchedulerHarness; jobs: Job[] }> {
  const leader = new SchedulerHarness({ placer: onColumns });
  for (const [i, shape] of nodeShapes.entries()) {
    const node = makeNode({ ID: `00000000-0000-0000-0000-00000000000${i}`, Datacenter: shape.datacenter });
    node.NodeResources.Cpu.CpuShares = shape.cpu;
    node.NodeResources.Memory.MemoryMB = shape.memory;
    node.ReservedResources.Networks.ReservedHostPorts = shape.reserved;
    leader.state.putNode(node);
  }
  const list = jobShapes.map((shape, i) =>
    makeJob({
      ID: `job-${i}`,
      TaskGroups: [
        group(shape.count, shape.cpu, shape.memory, {
          EphemeralDisk: { Migrate: false, SizeMB: shape.disk, Sticky: false },
          Networks: shape.reserved.length + shape.dynamic > 0 ? network(shape.reserved, shape.dynamic) : null,
        }),
      ],
    }),
  );
  for (const job of list) {
    const run = await leader.register(service, job);
    // Everything a single scheduler plans fits: a refusal means the columns and the exact check disagree.
    assert.deepEqual(
      run.results.flatMap((result) => result.RejectedNodes),
      [],
    );
  }
  return { leader, jobs: list };
}

describe("placement on columns", () => {
  it("never overcommits cpu, memory, disk or ports, and keeps names unique", async () => {
    await fc.assert(
      fc.asyncProperty(nodes, jobs, async (nodeShapes, jobShapes) => {
        const { leader, jobs: list } = await schedule(nodeShapes, jobShapes);
        leader.assertNothingOvercommitted();
        for (const job of list) {
          const live = leader.live(job);
          assert.equal(new Set(live.map((allocation) => allocation.Name)).size, live.length);
          assert.ok(live.length <= job.TaskGroups[0]!.Count);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("comes to rest after one evaluation of each job, whatever the cluster", async () => {
    await fc.assert(
      fc.asyncProperty(nodes, jobs, async (nodeShapes, jobShapes) => {
        const { leader, jobs: list } = await schedule(nodeShapes, jobShapes);
        for (const job of list) {
          const run = await leader.run(service, makeEvaluation(job));
          assert.deepEqual(run.placed, []);
          assert.deepEqual(
            run.plans.flatMap((plan) => Object.values(plan.NodeUpdate).flat()),
            [],
          );
        }
      }),
      { numRuns: 40 },
    );
  });

  it("places as many as a scan over all nodes does, where all are alike", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 100, max: 3000 }),
        async (nodeCount, count, cpu) => {
          const placed: number[] = [];
          for (const leader of [new SchedulerHarness(), new SchedulerHarness({ placer: onColumns })]) {
            for (let i = 0; i < nodeCount; i++) leader.state.putNode(makeNode());
            const job = makeJob({ TaskGroups: [group(count, cpu, 64)] });
            await leader.register(service, job);
            placed.push(leader.live(job).length);
          }
          assert.equal(placed[0], placed[1]);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("always takes the node with the best score", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 38 }), { minLength: 2, maxLength: 20 }), (loads) => {
        const leader = new SchedulerHarness();
        const ids = loads.map((load, i) => {
          const node = makeNode({ ID: `00000000-0000-0000-0000-0000000000${String(i).padStart(2, "0")}` });
          node.ReservedResources.Cpu.CpuShares = 0;
          node.NodeResources.Cpu.CpuShares = 4000 + load;
          leader.state.putNode(node);
          return node.ID;
        });
        const job = leader.state.putJob(makeJob({ TaskGroups: [group(1, 1000, 64)] }));
        const { placement } = placeOne(leader, job);
        assert.ok(!("failed" in placement));
        // The smallest node is the fullest afterwards.
        assert.equal(loads[ids.indexOf(placement.nodeId)], Math.min(...loads));
        const metas = placement.metrics.ScoreMetaData!;
        assert.ok(metas.length <= 5);
        assert.equal(metas[0]!.NormScore, Math.max(...metas.map((meta) => meta.NormScore)));
      }),
      { numRuns: 50 },
    );
  });

  it("reaches the score of a scan at every step of a plan", () => {
    const shapes = fc.array(
      fc.record({ cpu: fc.integer({ min: 500, max: 4000 }), memory: fc.integer({ min: 500, max: 8000 }) }),
      {
        minLength: 1,
        maxLength: 12,
      },
    );
    fc.assert(
      fc.property(
        shapes,
        fc.integer({ min: 1, max: 25 }),
        fc.integer({ min: 50, max: 900 }),
        (nodeShapes, count, cpu) => {
          const leader = new SchedulerHarness();
          for (const shape of nodeShapes) {
            const node = makeNode();
            node.NodeResources.Cpu.CpuShares = shape.cpu;
            node.NodeResources.Memory.MemoryMB = shape.memory;
            leader.state.putNode(node);
          }
          const job = leader.state.putJob(makeJob({ TaskGroups: [group(count, cpu, cpu)] }));
          const evaluation = makeEvaluation(job);
          const plan = createPlan(evaluation, "token", job, leader.state.index);
          const scope = { state: leader.state, columns: leader.state.columns(), plan, evaluation };
          const [fast, slow] = [onColumns(scope), new ScanPlacer(scope)];
          for (let i = 0; i < count; i++) {
            const request = { job, group: job.TaskGroups[0]!, name: `web.g[${i}]`, previous: null };
            const [chosen, best] = [fast.place(request), slow.place(request)];
            assert.equal("failed" in chosen, "failed" in best);
            if ("failed" in chosen || "failed" in best) break;
            const score = chosen.metrics.ScoreMetaData![0]!.NormScore;
            assert.ok(Math.abs(score - best.metrics.ScoreMetaData![0]!.NormScore) < 1e-12);
            const ID = `00000000-0000-0000-0000-0000000000${String(i).padStart(2, "0")}`;
            placeAllocation(plan, {
              ...existing(job, ID, chosen.nodeId),
              AllocatedResources: chosen.resources,
            });
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("gives the recorded scores: binpack 0.0793, anti-affinity -1.5, spread -1, affinity 1", () => {
    const leader = new SchedulerHarness();
    const node = makeNode();
    node.NodeResources.Cpu.CpuShares = 5192;
    node.NodeResources.Memory.MemoryMB = 24_105;
    leader.state.putNode(node);
    const app = group(2, 100, 64, {
      Affinities: [{ LTarget: "${node.datacenter}", Operand: "=", RTarget: "dc1", Weight: 50 }],
      Spreads: [{ Attribute: "${node.datacenter}", SpreadTarget: null, Weight: 50 }],
    });
    const job = leader.state.putJob(makeJob({ TaskGroups: [app] }));
    for (const index of [0, 1]) {
      const { placement } = placeOne(leader, job);
      assert.ok(!("failed" in placement));
      leader.state.putAllocation({
        ...existing(job, `00000000-0000-0000-0000-00000000000${index}`, placement.nodeId),
        AllocatedResources: placement.resources,
      });
    }
    const { placement } = placeOne(leader, job);
    assert.ok(!("failed" in placement));
    assert.deepEqual(placement.metrics.ScoreMetaData, [
      {
        NodeID: node.ID,
        NormScore: -0.35517380908079477,
        Scores: {
          "job-anti-affinity": -1.5,
          "node-reschedule-penalty": 0,
          "node-affinity": 1,
          "allocation-spread": -1,
          binpack: 0.07930476367682084,
        },
      },
    ]);
  });

  it("counts what filtered and what exhausted the nodes", () => {
    const leader = new SchedulerHarness();
    const windows = makeNode({ ComputedClass: "v1:2", NodeClass: "desk" });
    windows.Attributes["kernel.name"] = "windows";
    const undriven = makeNode();
    delete undriven.Attributes["driver.raw_exec"];
    const small = makeNode({ NodeClass: "small" });
    small.NodeResources.Memory.MemoryMB = 100;
    for (const node of [
      windows,
      undriven,
      small,
      makeNode({ Status: "down" }),
      makeNode({ Datacenter: "dc9" }),
    ]) {
      leader.state.putNode(node);
    }
    const job = leader.state.putJob(
      makeJob({
        Datacenters: ["dc1", "dc2"],
        TaskGroups: [
          group(1, 100, 500, {
            Constraints: [{ LTarget: "${attr.kernel.name}", Operand: "=", RTarget: "linux" }],
          }),
        ],
      }),
    );
    const { placement, placer } = placeOne(leader, job);
    assert.ok("failed" in placement);
    const { AllocationTime, ...metric } = placement.failed;
    assert.ok(AllocationTime > 0);
    assert.deepEqual(metric, {
      ClassExhausted: { small: 1 },
      ClassFiltered: { desk: 1 },
      CoalescedFailures: 0,
      ConstraintFiltered: { "${attr.kernel.name} = linux": 1, "missing drivers": 1 },
      DimensionExhausted: { memory: 1 },
      NodesAvailable: { dc1: 3, dc2: 0 },
      NodesEvaluated: 3,
      NodesExhausted: 1,
      NodesFiltered: 2,
      QuotaExhausted: null,
      ResourcesExhausted: {
        t: {
          CPU: 0,
          Cores: 0,
          Devices: null,
          DiskMB: 0,
          IOPS: 0,
          MemoryMB: 500,
          MemoryMaxMB: 0,
          Networks: null,
        },
      },
      ScoreMetaData: null,
      Scores: null,
    });
    assert.deepEqual(placer.classEligibility(), { classes: { "v1:1": true, "v1:2": false }, escaped: false });
  });

  it("keeps distinct_hosts and distinct_property within one plan", async () => {
    const leader = new SchedulerHarness({ placer: onColumns });
    for (const rack of ["r1", "r1", "r2", "r2", "r3"]) leader.state.putNode(makeNode({ Meta: { rack } }));
    const byHost = makeJob({
      ID: "hosts",
      Constraints: [{ LTarget: "", Operand: "distinct_hosts", RTarget: "true" }],
      TaskGroups: [group(7, 10, 10)],
    });
    const hosts = await leader.register(service, byHost);
    assert.equal(leader.live(byHost).length, 5);
    assert.equal(new Set(leader.live(byHost).map((one) => one.NodeID)).size, 5);
    assert.equal(hosts.updated[0]?.FailedTGAllocs?.g?.ConstraintFiltered?.distinct_hosts, 5);

    const byRack = makeJob({
      ID: "racks",
      TaskGroups: [
        group(7, 10, 10, {
          Constraints: [{ LTarget: "${meta.rack}", Operand: "distinct_property", RTarget: "2" }],
        }),
      ],
    });
    await leader.register(service, byRack);
    const racks = leader.live(byRack).map((one) => leader.state.node(one.NodeID)!.Meta!.rack!);
    assert.deepEqual(
      Object.fromEntries(["r1", "r2", "r3"].map((rack) => [rack, racks.filter((r) => r === rack).length])),
      {
        r1: 2,
        r2: 2,
        r3: 2,
      },
    );
  });

  it("spreads evenly over the values of an attribute", async () => {
    const leader = new SchedulerHarness({ placer: onColumns });
    for (let i = 0; i < 20; i++) leader.state.putNode(makeNode({ Meta: { rack: `r${i % 5}` } }));
    const job = makeJob({
      TaskGroups: [
        group(50, 50, 50, { Spreads: [{ Attribute: "${meta.rack}", SpreadTarget: null, Weight: 100 }] }),
      ],
    });
    await leader.register(service, job);
    const racks = leader.live(job).map((one) => leader.state.node(one.NodeID)!.Meta!.rack!);
    for (let i = 0; i < 5; i++) assert.equal(racks.filter((rack) => rack === `r${i}`).length, 10);
  });

  it("spreads by percent", async () => {
    const leader = new SchedulerHarness({ placer: onColumns });
    for (let i = 0; i < 10; i++) leader.state.putNode(makeNode({ Datacenter: i < 5 ? "dc1" : "dc2" }));
    const spread = {
      Attribute: "${node.datacenter}",
      SpreadTarget: [
        { Value: "dc1", Percent: 70 },
        { Value: "dc2", Percent: 30 },
      ],
      Weight: 100,
    };
    const job = makeJob({
      Datacenters: ["dc1", "dc2"],
      TaskGroups: [group(10, 50, 50, { Spreads: [spread] })],
    });
    await leader.register(service, job);
    const first = leader.live(job).filter((one) => leader.state.node(one.NodeID)!.Datacenter === "dc1");
    assert.equal(first.length, 7);
  });

  it("avoids penalised nodes unless there is no other", () => {
    const leader = new SchedulerHarness();
    leader.state.putNode(makeNode());
    leader.state.putNode(makeNode());
    const job = leader.state.putJob(makeJob());
    const [first, second] = leader.state.nodes().map((node) => node.ID);
    for (const avoided of [first!, second!]) {
      const { placement } = placeOne(leader, job, { penaltyNodes: new Set([avoided]) });
      assert.ok(!("failed" in placement) && placement.nodeId !== avoided);
    }
    const both = placeOne(leader, job, { penaltyNodes: new Set([first!, second!]) }).placement;
    assert.ok(!("failed" in both));
    assert.equal(both.metrics.ScoreMetaData![0]!.Scores["node-reschedule-penalty"], -1);
  });

  it("asks plugged filters once a group and counts plugged scores in the mean", async () => {
    const calls: string[] = [];
    const filter: NodeFilter = {
      name: "odd",
      filter(candidates) {
        calls.push("filter");
        let removed = 0;
        for (const row of rowsOf(candidates)) {
          if (row % 2 === 0) continue;
          candidates.remove(row);
          removed++;
        }
        return { "odd row": removed };
      },
    };
    const scorer: NodeScorer = {
      name: "last",
      score(candidates, scores) {
        calls.push("score");
        for (const row of rowsOf(candidates)) scores[row] = row / 10;
        return true;
      },
    };
    const leader = new SchedulerHarness({
      placer: (scope) => new ColumnPlacer({ ...scope, filters: [filter], scorers: [scorer] }),
    });
    for (let i = 0; i < 5; i++) leader.state.putNode(makeNode());
    const run = await leader.register(service, makeJob({ TaskGroups: [group(1, 100, 64)] }));
    assert.deepEqual(calls, ["filter", "score"]);
    const { Metrics, NodeID } = run.placed[0]!;
    assert.equal(NodeID, leader.state.nodes()[4]!.ID);
    assert.deepEqual(Metrics!.ConstraintFiltered, { "odd row": 2 });
    assert.equal(Metrics!.ScoreMetaData![0]!.Scores.last, 0.4);
  });

  it("gives reserved cores and devices away once", async () => {
    const leader = new SchedulerHarness({ placer: onColumns });
    const node = makeNode();
    node.NodeResources.Devices = [
      {
        Attributes: { memory: { Int: 11, Unit: "GiB" } },
        Instances: [
          { HealthDescription: "", Healthy: true, ID: "gpu-0", Locality: null },
          { HealthDescription: "", Healthy: false, ID: "gpu-1", Locality: null },
        ],
        Name: "1080ti",
        Type: "gpu",
        Vendor: "nvidia",
      },
    ];
    leader.state.putNode(node);
    const cores = makeTask();
    const coreJob = makeJob({
      ID: "cores",
      TaskGroups: [
        makeGroup({ Count: 3, Tasks: [{ ...cores, Resources: { ...cores.Resources, CPU: 0, Cores: 2 } }] }),
      ],
    });
    const coreRun = await leader.register(service, coreJob);
    assert.equal(leader.live(coreJob).length, 2);
    assert.ok(coreRun.updated[0]?.FailedTGAllocs?.g !== undefined);
    leader.state.stopJob("default", "cores");
    await leader.run(service, makeEvaluation(coreJob));

    const ask = { Affinities: null, Constraints: null, Count: 1, Name: "nvidia/gpu" };
    const gpuJob = makeJob({
      ID: "gpu",
      TaskGroups: [
        makeGroup({ Count: 2, Tasks: [{ ...cores, Resources: { ...cores.Resources, Devices: [ask] } }] }),
      ],
    });
    const gpuRun = await leader.register(service, gpuJob);
    assert.deepEqual(leader.live(gpuJob)[0]?.AllocatedResources.Tasks.t?.Devices, [
      { Vendor: "nvidia", Type: "gpu", Name: "1080ti", DeviceIDs: ["gpu-0"] },
    ]);
    assert.deepEqual(gpuRun.updated[0]?.FailedTGAllocs?.g?.DimensionExhausted, {
      "devices: no devices match request": 1,
    });
    leader.assertNothingOvercommitted();
  });

  it("follows a plan that is changed without the journal", () => {
    const leader = new SchedulerHarness();
    leader.state.putNode(makeNode());
    const job = leader.state.putJob(makeJob({ TaskGroups: [group(2, 3000, 64)] }));
    const { placer, placement, plan } = placeOne(leader, job, {}, false);
    assert.ok(!("failed" in placement));
    plan.NodeAllocation[placement.nodeId] = [
      {
        ...existing(job, "00000000-0000-0000-0000-000000000001", placement.nodeId),
        AllocatedResources: placement.resources,
      },
    ];
    const next = placer.place({ job, group: job.TaskGroups[0]!, name: "web.g[1]", previous: null });
    assert.ok("failed" in next);
    assert.deepEqual(next.failed.DimensionExhausted, { cpu: 1 });
  });
});

function existing(job: Job, id: string, nodeId: string) {
  return {
    AllocModifyIndex: 0,
    AllocatedResources: { Shared: { DiskMB: 0, Networks: null, Ports: null }, TaskLifecycles: {}, Tasks: {} },
    ClientDescription: "",
    ClientStatus: "running" as const,
    CreateIndex: 0,
    CreateTime: 0,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredStatus: "run" as const,
    EvalID: "",
    ID: id,
    Job: null,
    JobID: job.ID,
    JobVersion: job.Version,
    Metrics: null,
    ModifyIndex: 0,
    ModifyTime: 0,
    Name: "web.g[0]",
    Namespace: job.Namespace,
    NetworkStatus: null,
    NodeID: nodeId,
    NodeName: "",
    TaskGroup: "g",
    TaskStates: null,
  };
}

function placeOne(
  leader: SchedulerHarness,
  job: Job,
  request: Partial<PlacementRequest> = {},
  journal = true,
) {
  const evaluation = makeEvaluation(job);
  const scope = { state: leader.state, columns: leader.state.columns(), evaluation };
  const made = createPlan(evaluation, "token", job, leader.state.index);
  const plan = journal ? made : structuredClone(made);
  const placer = onColumns({ ...scope, plan });
  const placement = placer.place({
    job,
    group: job.TaskGroups[0]!,
    name: "web.g[0]",
    previous: null,
    ...request,
  });
  return { placer, placement, plan };
}
