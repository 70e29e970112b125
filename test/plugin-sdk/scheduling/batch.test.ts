import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job, TaskGroup } from "@drover/plugin-sdk";
import { makeNode, SchedulerHarness } from "@drover/plugin-sdk/testing";
import { again, batch, cluster, envOf, failedAt, placements, rolling, running, web } from "./support.js";

describe("a batch job", () => {
  const etl = (group: Partial<TaskGroup>): Job => web(group, { ID: "etl", Type: "batch" });
  const once: TaskGroup["ReschedulePolicy"] = {
    Attempts: 1,
    Delay: 5e9,
    DelayFunction: "constant",
    Interval: 86_400e9,
    MaxDelay: 0,
    Unlimited: false,
  };

  it("runs what completed no more, and all of it again in a new version", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({ Count: 2, Tasks: envOf("1") }));
    for (const { ID } of leader.live(etl({}))) leader.report(ID, { ClientStatus: "complete" });
    const idle = await leader.run(batch, again(etl({}), { TriggeredBy: "node-update" }));
    assert.deepEqual(idle.plans, []);
    const next = await leader.register(batch, etl({ Count: 2, Tasks: envOf("2") }));
    assert.equal(next.placed.length, 2);
  });

  it("retries a failed allocation as often as the policy says", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({ ReschedulePolicy: once }));
    leader.report(leader.live(etl({}))[0]!.ID, failedAt(leader.now));
    leader.now += 6000;
    const retried = await leader.run(batch, again(etl({}), { TriggeredBy: "alloc-failure" }));
    assert.equal(retried.placed.length, 1);
    leader.report(retried.placed[0]!.ID, failedAt(leader.now));
    leader.now += 60_000;
    const exhausted = await leader.run(batch, again(etl({}), { TriggeredBy: "alloc-failure" }));
    assert.deepEqual([exhausted.plans, exhausted.created], [[], []]);
  });

  it("keeps what completed on a node that went down", async () => {
    const leader = cluster(1);
    await leader.register(batch, etl({ Count: 2 }));
    const [done] = leader.live(etl({}));
    leader.report(done!.ID, { ClientStatus: "complete" });
    const down = leader.state.nodes()[0]!;
    leader.state.putNode({ ...down, Status: "down" });
    leader.state.putNode(makeNode());
    const run = await leader.run(batch, again(etl({}), { TriggeredBy: "node-update" }));
    assert.equal(run.placed.length, 1);
  });

  it("finishes a migrated allocation once: neither copy counts twice", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({}));
    const [moving] = leader.live(etl({}));
    leader.report(moving!.ID, {
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    });
    await leader.run(batch, again(etl({})));
    leader.report(moving!.ID, { ClientStatus: "complete" });
    const run = await leader.run(batch, again(etl({})));
    assert.deepEqual(run.plans, []);
    assert.equal(leader.live(etl({})).length, 1);
  });

  it("lets what runs go on in a new version that replaces nothing, and runs again what has ended", async () => {
    const leader = cluster(1);
    await leader.register(batch, etl({ Count: 2 }));
    const [done, going] = leader.live(etl({}));
    leader.report(done!.ID, { ClientStatus: "complete" });
    const run = await leader.register(batch, { ...etl({ Count: 2 }), Priority: 70 });
    assert.equal(run.placed.length, 1);
    assert.equal(leader.state.allocation(done!.ID)!.JobVersion, 0, "what has ended is left as it ended");
    assert.equal(leader.state.allocation(going!.ID)!.JobVersion, 1);
    leader.report(going!.ID, { ClientStatus: "complete" });
    leader.report(run.placed[0]!.ID, { ClientStatus: "complete" });
    assert.deepEqual((await leader.run(batch, again(etl({})))).plans, []);
  });

  it("keeps what completed where its node is gone from the state", async () => {
    const leader = cluster(1);
    await leader.register(batch, etl({}));
    leader.report(leader.live(etl({}))[0]!.ID, { ClientStatus: "complete" });
    leader.state.removeNode(leader.state.nodes()[0]!.ID);
    leader.state.putNode(makeNode());
    assert.deepEqual((await leader.run(batch, again(etl({})))).plans, []);
  });

  it("retries after the policy's delay by a follow-up evaluation", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({ ReschedulePolicy: once }));
    const [failed] = leader.live(etl({}));
    leader.report(failed!.ID, failedAt(leader.now));
    const run = await leader.run(batch, again(etl({}), { TriggeredBy: "alloc-failure" }));
    assert.equal(run.created[0]!.WaitUntil, new Date(leader.now + 5_000).toISOString());
    assert.equal(run.created[0]!.Type, "batch");
    leader.now += 5_000;
    assert.deepEqual(placements(await leader.run(batch, run.created[0]!)), [["etl.g[0]", 0, failed!.ID]]);
  });

  it("replaces all that runs at once, without a deployment", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({ Count: 4, Tasks: envOf("1"), Update: rolling({ Canary: 1 }) }));
    const run = await leader.register(
      batch,
      etl({ Count: 4, Tasks: envOf("2"), Update: rolling({ Canary: 1 }) }),
    );
    assert.equal(run.placed.length, 4);
    assert.ok(run.placed.every((one) => one.DeploymentID === "" && one.DeploymentStatus === null));
    assert.deepEqual(leader.state.deployments(), []);
    assert.equal(run.updated[0]!.DeploymentID, undefined);
  });

  it("is done when all completed, however many evaluations look", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({ Count: 3 }));
    for (const { ID } of leader.live(etl({}))) leader.report(ID, { ClientStatus: "complete" });
    for (const trigger of ["node-update", "alloc-stop", "job-register"] as const) {
      const run = await leader.run(batch, again(etl({}), { TriggeredBy: trigger }));
      assert.deepEqual([run.plans, run.created], [[], []]);
      assert.equal(run.updated[0]!.QueuedAllocations!.g, 0);
    }
  });

  it("runs again what was pushed aside or stopped before its end", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({}));
    leader.report(leader.live(etl({}))[0]!.ID, { DesiredStatus: "evict", ClientStatus: "complete" });
    assert.equal((await leader.run(batch, again(etl({})))).placed.length, 1);
    assert.deepEqual(running(leader, etl({})), ["0:etl.g[0]"]);
  });

  it("counts ended runs of an older version as ignored in its annotations", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({ Count: 2, Tasks: envOf("1") }));
    for (const { ID } of leader.live(etl({}))) leader.report(ID, { ClientStatus: "complete" });
    const next = leader.state.putJob(etl({ Count: 2, Tasks: envOf("2") }));
    const run = await leader.run(batch, again(next, { AnnotatePlan: true }));
    const { g } = run.updated[0]!.PlanAnnotations!.DesiredTGUpdates!;
    assert.deepEqual([g!.Place, g!.Ignore], [2, 2]);
  });

  it("gives up after two plans that were refused", async () => {
    const leader = new SchedulerHarness({ refuse: () => true });
    leader.state.putNode(makeNode());
    const run = await leader.register(batch, etl({}));
    assert.equal(run.plans.length, 2);
    assert.equal(run.updated[0]!.StatusDescription, "maximum attempts reached (2)");
  });

  it("counts what completed when it has too many, and stops what runs", async () => {
    const leader = cluster(2);
    await leader.register(batch, etl({ Count: 3 }));
    const byName = (name: string) => leader.live(etl({})).find((one) => one.Name === name)!;
    const job = leader.state.job("default", "etl")!;
    leader.report(byName("etl.g[2]").ID, { ClientStatus: "complete", JobVersion: 1 });
    for (const name of ["etl.g[0]", "etl.g[1]"]) leader.report(byName(name).ID, { JobVersion: 1 });
    leader.state.putJob({ ...job, TaskGroups: etl({ Count: 2 }).TaskGroups });
    await leader.run(batch, again(etl({})));
    assert.deepEqual(running(leader, etl({})), ["1:etl.g[0]"]);
  });
});
