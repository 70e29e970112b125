import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job, NodeDeviceResource, TaskGroup } from "@drover/plugin-sdk";
import { genericScheduler, systemScheduler } from "@drover/plugin-sdk/scheduling";
import { makeJob, makeNode, SchedulerHarness } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { gpus, groupOf, networkOf, onColumns, placeOne } from "./placement-fixtures.js";

const service = genericScheduler({ type: "service", batch: false });
const system = systemScheduler({ type: "system", batch: false });

function enable(leader: SchedulerHarness): void {
  leader.state.putSchedulerConfiguration({
    PreemptionConfig: {
      BatchSchedulerEnabled: true,
      ServiceSchedulerEnabled: true,
      SysBatchSchedulerEnabled: true,
      SystemSchedulerEnabled: true,
    },
  });
}

function cluster(nodes: number, devices: NodeDeviceResource[] | null = null): SchedulerHarness {
  const leader = new SchedulerHarness({ placer: onColumns });
  enable(leader);
  for (let i = 0; i < nodes; i++) {
    const node = makeNode();
    node.NodeResources.Devices = devices;
    leader.state.putNode(node);
  }
  return leader;
}

async function run(
  leader: SchedulerHarness,
  ID: string,
  Priority: number,
  group: TaskGroup,
  overrides: Partial<Job> = {},
): Promise<Job> {
  const job = makeJob({ ID, Priority, TaskGroups: [group], ...overrides });
  await leader.register(job.Type === "system" ? system : service, job);
  return job;
}

/** Jobs of the victims that one more allocation would have. */
function victims(leader: SchedulerHarness, job: Job): string[] | null {
  const { placement } = placeOne(leader, leader.state.putJob(job));
  if ("failed" in placement) return null;
  return (placement.preempted ?? []).map((victim) => victim.JobID).sort();
}

describe("preemption", () => {
  it("happens only when the operator enabled it for the type of the job", async () => {
    const leader = cluster(1);
    await run(leader, "low", 20, groupOf(1, { CPU: 3000 }));
    const job = makeJob({ ID: "high", Priority: 80, TaskGroups: [groupOf(1, { CPU: 2000 })] });
    assert.deepEqual(victims(leader, job), ["low"]);
    leader.state.putSchedulerConfiguration({
      PreemptionConfig: {
        BatchSchedulerEnabled: true,
        ServiceSchedulerEnabled: false,
        SysBatchSchedulerEnabled: false,
        SystemSchedulerEnabled: true,
      },
    });
    assert.equal(victims(leader, job), null);
    assert.deepEqual(victims(leader, { ...job, Type: "batch" }), ["low"]);
    assert.equal(victims(leader, { ...job, Type: "sysbatch" }), null);
  });

  it("doesn't happen while a node has room", async () => {
    const leader = cluster(2);
    await run(leader, "low", 20, groupOf(1, { CPU: 3000 }));
    const job = makeJob({ ID: "high", Priority: 80, TaskGroups: [groupOf(1, { CPU: 2000 })] });
    assert.deepEqual(victims(leader, job), []);
  });

  it("spares jobs whose priority is less than ten lower, and the job itself", async () => {
    const leader = cluster(1);
    await run(leader, "near", 71, groupOf(1, { CPU: 3000 }));
    const ask = groupOf(1, { CPU: 2000 });
    assert.equal(victims(leader, makeJob({ ID: "high", Priority: 80, TaskGroups: [ask] })), null);
    assert.deepEqual(victims(leader, makeJob({ ID: "high", Priority: 81, TaskGroups: [ask] })), ["near"]);
    assert.equal(victims(leader, makeJob({ ID: "near", Priority: 100, TaskGroups: [ask] })), null);
  });

  it("takes the lowest priority first, then the nearest match, and lets off whom it doesn't need", async () => {
    const leader = cluster(1);
    await run(leader, "tiny", 10, groupOf(1, { CPU: 100 }));
    await run(leader, "half", 20, groupOf(1, { CPU: 1500 }));
    await run(leader, "whole", 20, groupOf(1, { CPU: 2000 }));
    const high = (CPU: number) => makeJob({ ID: "high", Priority: 90, TaskGroups: [groupOf(1, { CPU })] });
    assert.deepEqual(victims(leader, high(500)), ["tiny"]);
    // 400 MHz are free: 1,600 are missing, which 1,500 and 100 give.
    assert.deepEqual(victims(leader, high(2000)), ["half", "tiny"]);
    // 2,000 are missing: with "whole", "tiny" may stay.
    assert.deepEqual(victims(leader, high(2400)), ["whole"]);
  });

  it("pushes aside the holder of a static port, and nobody where the node keeps the port", async () => {
    const leader = cluster(1);
    await run(leader, "other", 20, groupOf(1, {}, { Networks: networkOf([{ label: "a", value: 80 }]) }));
    await run(leader, "holder", 30, groupOf(1, {}, { Networks: networkOf([{ label: "a", value: 8080 }]) }));
    const wants = (value: number) =>
      makeJob({
        ID: "high",
        Priority: 90,
        TaskGroups: [groupOf(1, {}, { Networks: networkOf([{ label: "a", value }]) })],
      });
    assert.deepEqual(victims(leader, wants(8080)), ["holder"]);
    const node = leader.state.nodes()[0]!;
    leader.state.putNode({
      ...node,
      ReservedResources: { ...node.ReservedResources, Networks: { ReservedHostPorts: "9090" } },
    });
    assert.equal(victims(leader, wants(9090)), null);
  });

  it("finds who may go on any interface that a task's own network may lie on", async () => {
    const leader = new SchedulerHarness({ placer: onColumns });
    enable(leader);
    const node = makeNode();
    const [first] = node.NodeResources.Networks!;
    node.NodeResources.Networks = [first!, { ...first!, Device: "eth1", IP: "10.1.0.1" }];
    leader.state.putNode(node);
    const ask = { Networks: networkOf([{ label: "a", value: 8080 }]) };
    await run(leader, "low", 20, groupOf(1, ask));
    await run(leader, "dear", 85, groupOf(1, ask));
    const high = makeJob({ ID: "high", Priority: 90, TaskGroups: [groupOf(1, ask)] });
    assert.deepEqual(victims(leader, high), ["low"]);
  });

  it("frees devices and reserved cores", async () => {
    const leader = cluster(1, [gpus("t4", 16, 1)]);
    const ask = { Affinities: null, Constraints: null, Count: 1, Name: "gpu" };
    await run(leader, "gpu", 20, groupOf(1, { Devices: [ask], CPU: 10 }));
    await run(leader, "cores", 20, groupOf(1, { Cores: 3, CPU: 0 }));
    await run(leader, "plain", 10, groupOf(1, { CPU: 10 }));
    const high = (resources: Parameters<typeof groupOf>[1]) =>
      makeJob({ ID: "high", Priority: 90, TaskGroups: [groupOf(1, resources)] });
    assert.deepEqual(victims(leader, high({ Devices: [ask], CPU: 10 })), ["gpu"]);
    assert.deepEqual(victims(leader, high({ Cores: 2, CPU: 0 })), ["cores"]);
  });

  it("frees a device that an earlier ask can use, so that it leaves its own to a later one", async () => {
    const leader = cluster(1, [gpus("t4", 16, 1), gpus("k80", 11, 1)]);
    const ask = (Name: string) => ({ Affinities: null, Constraints: null, Count: 1, Name });
    await run(leader, "low", 20, groupOf(1, { Devices: [ask("nvidia/gpu/t4")], CPU: 10 }));
    // The first ask takes the k80, which is free; the second can use nothing else.
    const high = groupOf(1, { Devices: [ask("gpu"), ask("nvidia/gpu/k80")], CPU: 10 });
    assert.deepEqual(victims(leader, makeJob({ ID: "high", Priority: 90, TaskGroups: [high] })), ["low"]);
  });

  it("prefers the node whose victims have the lower priority, and shows the score", async () => {
    const leader = cluster(2);
    await run(leader, "worse", 60, groupOf(1, { CPU: 4000 }));
    await run(leader, "better", 20, groupOf(1, { CPU: 4000 }));
    const job = leader.state.putJob(
      makeJob({ ID: "high", Priority: 90, TaskGroups: [groupOf(1, { CPU: 4000 })] }),
    );
    const { placement } = placeOne(leader, job);
    assert.ok(!("failed" in placement));
    assert.deepEqual(
      placement.preempted?.map((victim) => victim.JobID),
      ["better"],
    );
    const [first, second] = placement.metrics.ScoreMetaData!;
    // One victim of priority 20: 20 + 20/20 = 21.
    assert.equal(first!.Scores.preemption, 1 / (1 + Math.exp(0.0048 * (21 - 2048))));
    assert.ok(first!.NormScore > second!.NormScore);
    assert.equal(placement.metrics.NodesExhausted, 0);
  });

  it("spares groups of which more would leave at once than may migrate at once", async () => {
    const migrate = { HealthCheck: "checks", HealthyDeadline: 0, MaxParallel: 1, MinHealthyTime: 0 } as const;
    const leader = cluster(1);
    await run(leader, "pair", 20, groupOf(2, { CPU: 1000 }, { Migrate: migrate }));
    await run(leader, "other", 20, groupOf(1, { CPU: 1900 }));
    const job = makeJob({ ID: "high", Priority: 90, TaskGroups: [groupOf(1, { CPU: 2000 })] });
    // 1,900 are missing less 100: the nearest is "other" alone; two of "pair" would do as well but break max_parallel.
    assert.deepEqual(victims(leader, job), ["other"]);
    const two = makeJob({ ID: "high", Priority: 90, TaskGroups: [groupOf(1, { CPU: 2900 })] });
    assert.deepEqual(victims(leader, two), ["other", "pair"]);
  });

  it("never takes a victim twice in a plan, and overcommits nothing", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(
          fc.record({
            priority: fc.constantFrom(10, 30, 50),
            count: fc.integer({ min: 1, max: 5 }),
            cpu: fc.integer({ min: 200, max: 2500 }),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 200, max: 3900 }),
        async (nodes, low, count, cpu) => {
          const leader = cluster(nodes);
          for (const [i, one] of low.entries())
            await run(leader, `low-${i}`, one.priority, groupOf(one.count, { CPU: one.cpu }));
          const job = makeJob({ ID: "high", Priority: 60, TaskGroups: [groupOf(count, { CPU: cpu })] });
          const { plans, results } = await leader.register(service, job);
          assert.deepEqual(
            results.flatMap((result) => result.RejectedNodes),
            [],
          );
          const ids = plans.flatMap((plan) =>
            Object.values(plan.NodePreemptions)
              .flat()
              .map((one) => one.ID),
          );
          assert.equal(new Set(ids).size, ids.length);
          leader.assertNothingOvercommitted();
          // All 4,000 MHz of every node could be had.
          assert.equal(leader.live(job).length, Math.min(count, nodes * Math.floor(4000 / cpu)));
        },
      ),
      { numRuns: 40 },
    );
  });

  it("counts as exhausted only the nodes where nobody may be pushed aside", async () => {
    const leader = new SchedulerHarness({ placer: onColumns });
    enable(leader);
    leader.state.putNode(makeNode({ NodeClass: "busy" }));
    await run(leader, "equal", 90, groupOf(1, { CPU: 4000 }));
    leader.state.putNode(makeNode({ NodeClass: "idle" }));
    await run(leader, "low", 20, groupOf(1, { CPU: 4000 }));
    const job = makeJob({ ID: "high", Priority: 90, TaskGroups: [groupOf(1, { CPU: 1000 })] });
    const { placement } = placeOne(leader, leader.state.putJob(job));
    assert.ok(!("failed" in placement));
    const { NodesExhausted, ClassExhausted, DimensionExhausted } = placement.metrics;
    assert.deepEqual([NodesExhausted, ClassExhausted, DimensionExhausted], [1, { busy: 1 }, { cpu: 1 }]);
  });

  it("makes room for system jobs on each node, by default", async () => {
    const leader = new SchedulerHarness({ placer: onColumns });
    for (let i = 0; i < 3; i++) leader.state.putNode(makeNode());
    const low = await run(leader, "low", 20, groupOf(3, { CPU: 3500 }));
    const agent = await run(leader, "agent", 90, groupOf(1, { CPU: 1000 }), { Type: "system" });
    assert.equal(leader.live(agent).length, 3);
    assert.equal(leader.live(low).length, 0);
    const [placed] = leader.live(agent);
    assert.deepEqual(Object.keys(placed!.Metrics!.ScoreMetaData![0]!.Scores), ["binpack", "preemption"]);
    leader.assertNothingOvercommitted();
  });
});
