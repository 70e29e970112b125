import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import type { Evaluation } from "@drover/plugin-sdk";
import { makeNode, makeTask, SchedulerHarness } from "@drover/plugin-sdk/testing";
import { ColumnPlacer } from "../../../workers/placement/index.js";
import { again, cluster, envOf, failedAt, service, web } from "./support.js";

describe("a service job", () => {
  it("replaces allocations of a changed group and says so", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 3, Tasks: envOf("1") }));
    const run = await leader.register(service, web({ Count: 3, Tasks: envOf("2") }));
    assert.equal(run.placed.length, 3);
    assert.ok(run.placed.every((one) => one.PreviousAllocation !== undefined && one.JobVersion === 1));
    const stopped = Object.values(run.plans[0]!.NodeUpdate).flat();
    assert.deepEqual(
      [...new Set(stopped.map((one) => one.DesiredDescription))],
      ["alloc is being updated due to job update"],
    );
    assert.deepEqual(
      leader
        .live(web({}))
        .map((one) => one.Name)
        .sort(),
      ["web.g[0]", "web.g[1]", "web.g[2]"],
    );
  });

  it("updates in place where no task changed", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2 }));
    const before = leader.live(web({})).map((one) => one.ID);
    const run = await leader.register(service, web({ Count: 2 }, { Priority: 80 }));
    assert.deepEqual(run.placed, []);
    assert.deepEqual(
      leader.live(web({})).map((one) => [one.ID, one.JobVersion]),
      before.map((id) => [id, 1]),
    );
  });

  it("replaces an unchanged task where its node no longer meets the constraints", async () => {
    const leader = cluster(1);
    await leader.register(service, web({}));
    leader.state.putNode(makeNode({ Meta: { rack: "r2" } }));
    const moved = web({ Constraints: [{ LTarget: "${meta.rack}", Operand: "=", RTarget: "r2" }] });
    const run = await leader.register(service, moved);
    assert.equal(run.placed.length, 1);
    assert.equal(leader.state.node(run.placed[0]!.NodeID)!.Meta!.rack, "r2");
  });

  it("takes away the highest names when it shrinks, and gives the lowest free ones when it grows", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 4 }));
    await leader.register(service, web({ Count: 2 }));
    const names = (): string[] =>
      leader
        .live(web({}))
        .map((one) => one.Name)
        .sort();
    assert.deepEqual(names(), ["web.g[0]", "web.g[1]"]);
    leader.report(leader.live(web({})).find((one) => one.Name === "web.g[0]")!.ID, {
      ClientStatus: "complete",
    });
    await leader.register(service, web({ Count: 3 }));
    assert.deepEqual(names(), ["web.g[0]", "web.g[1]", "web.g[2]"]);
  });

  it("reschedules a failed allocation later, elsewhere, and counts the attempt", async () => {
    const leader = cluster(2);
    await leader.register(service, web({}));
    const [first] = leader.live(web({}));
    leader.report(first!.ID, failedAt(leader.now));
    const run = await leader.run(service, again(web({}), { TriggeredBy: "alloc-failure" }));
    assert.deepEqual(run.placed, []);
    const [followUp] = run.created;
    assert.equal(followUp!.WaitUntil, new Date(leader.now + 30_000).toISOString());
    assert.equal(followUp!.TriggeredBy, "alloc-failure");
    assert.equal(leader.state.allocation(first!.ID)!.FollowupEvalID, followUp!.ID);

    const idle = await leader.run(service, again(web({}), { TriggeredBy: "node-update" }));
    assert.deepEqual([idle.created, idle.placed], [[], []]);

    leader.now += 30_000;
    const due = await leader.run(service, followUp!);
    assert.equal(due.placed.length, 1);
    const { PreviousAllocation, NodeID, RescheduleTracker, Name } = due.placed[0]!;
    assert.equal(PreviousAllocation, first!.ID);
    assert.equal(Name, first!.Name);
    assert.notEqual(NodeID, first!.NodeID);
    assert.deepEqual(RescheduleTracker, {
      Events: [
        { Delay: 30e9, PrevAllocID: first!.ID, PrevNodeID: first!.NodeID, RescheduleTime: leader.now * 1e6 },
      ],
    });
    assert.equal(
      leader.state.allocation(first!.ID)!.DesiredDescription,
      "alloc was rescheduled because it failed",
    );

    leader.report(due.placed[0]!.ID, failedAt(leader.now));
    const second = await leader.run(service, again(web({})));
    assert.equal(second.created[0]!.WaitUntil, new Date(leader.now + 60_000).toISOString());
  });

  it("replaces everything of a purged job that comes back under its name", async () => {
    const leader = cluster(1);
    await leader.register(service, web({ Count: 2, Tasks: envOf("old") }));
    leader.state.stopJob("default", "web", true);
    const run = await leader.register(service, web({ Count: 2, Tasks: envOf("new") }));
    assert.equal(run.placed.length, 2);
    assert.equal(leader.live(web({})).length, 2);
  });

  it("lets the running version be where its replacement finds no room", async () => {
    const leader = cluster(1);
    await leader.register(service, web({ Tasks: envOf("1") }));
    const task = envOf("2")[0]!;
    const run = await leader.register(
      service,
      web({ Tasks: [{ ...task, Resources: { ...task.Resources, CPU: 9000 } }] }),
    );
    assert.deepEqual(run.plans, []);
    assert.equal(leader.live(web({}))[0]!.JobVersion, 0);
    assert.equal(run.updated[0]!.QueuedAllocations!.g, 1);
    assert.equal(run.created[0]!.Status, "blocked");
  });

  it("stops a job with the recorded outcome: complete, nothing queued", async () => {
    const leader = cluster(1);
    await leader.register(service, web({ Count: 2 }));
    leader.state.stopJob("default", "web");
    const run = await leader.run(service, again(web({}), { TriggeredBy: "job-deregister" }));
    assert.equal(run.updated[0]!.QueuedAllocations, undefined);
    const [stopped] = Object.values(run.plans[0]!.NodeUpdate).flat();
    assert.equal(stopped!.DesiredDescription, "alloc not needed due to job update");
  });

  it("reblocks a blocked evaluation that still finds no room, and completes it once it does", async () => {
    const leader = cluster(1);
    const task = makeTask();
    const big = web({ Tasks: [{ ...task, Resources: { ...task.Resources, CPU: 5000 } }] });
    const run = await leader.register(service, big);
    const [blocked] = run.created;
    const still = await leader.run(service, blocked!);
    assert.deepEqual([still.updated, still.created], [[], []]);
    assert.equal(still.reblocked[0]!.ID, blocked!.ID);
    assert.ok(still.reblocked[0]!.SnapshotIndex! > blocked!.SnapshotIndex!);

    const larger = makeNode();
    larger.NodeResources.Cpu.CpuShares = 6000;
    leader.state.putNode(larger);
    const placed = await leader.run(service, blocked!);
    assert.equal(placed.placed.length, 1);
    assert.equal(placed.updated[0]!.Status, "complete");
    assert.equal(placed.updated[0]!.FailedTGAllocs, undefined);
  });

  it("gives up after five plans that were refused, and waits as a blocked evaluation", async () => {
    const leader = new SchedulerHarness({ refuse: () => true });
    leader.state.putNode(makeNode());
    const run = await leader.register(service, web({}));
    assert.equal(run.plans.length, 5);
    assert.equal(run.updated[0]!.Status, "failed");
    assert.equal(run.updated[0]!.StatusDescription, "maximum attempts reached (5)");
    assert.equal(run.created[0]!.TriggeredBy, "max-plan-attempts");
    assert.equal(run.created[0]!.StatusDescription, "created due to placement conflicts");
    assert.equal(run.updated[0]!.BlockedEval, run.created[0]!.ID);
  });
});

describe("an allocation that fits nowhere", () => {
  it("gives the recorded failure and blocked evaluation", async () => {
    const leader = new SchedulerHarness({
      placer: (scope) => new ColumnPlacer({ ...scope, filters: [], scorers: [] }),
    });
    leader.state.putNode(makeNode({ ComputedClass: "v1:18326549945157899491" }));
    const task = makeTask();
    const toobig = web(
      {
        Count: 2,
        Constraints: [{ LTarget: "${attr.kernel.name}", Operand: "=", RTarget: "linux" }],
        Tasks: [{ ...task, Resources: { ...task.Resources, CPU: 500_000, MemoryMB: 32 } }],
      },
      { ID: "toobig" },
    );
    const run = await leader.register(service, toobig);
    const recorded = JSON.parse(
      readFileSync(
        new URL("../../../../test/plugin-sdk/scheduling/blocked-evaluation.json", import.meta.url),
        "utf8",
      ),
    ) as Evaluation;
    const [blocked] = run.created;
    const shape = ({
      ID: _,
      CreateTime: __,
      ModifyTime: ___,
      PreviousEval: ____,
      FailedTGAllocs,
      ...rest
    }: Evaluation) => ({
      ...rest,
      FailedTGAllocs: { g: { ...FailedTGAllocs!.g, AllocationTime: 0 } },
    });
    // The API leaves the state's own fields out of an evaluation that was only tried.
    const { CreateIndex: _, ModifyIndex: __, SnapshotIndex: ___, ...created } = shape(blocked!);
    assert.deepEqual(created, shape(recorded));
    assert.equal(run.updated[0]!.QueuedAllocations!.g, 2);
    assert.equal(run.updated[0]!.Status, "complete");
  });
});
