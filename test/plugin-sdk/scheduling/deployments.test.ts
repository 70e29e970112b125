import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job } from "@drover/plugin-sdk";
import { makeGroup, makeNode, SchedulerHarness } from "@drover/plugin-sdk/testing";
import {
  again,
  cluster,
  envOf,
  failedAt,
  healthy,
  named,
  placements,
  rolling,
  rollOut,
  running,
  service,
  stops,
  web,
  wish,
} from "./support.js";

const job = (version: string, count = 3, update = rolling()): Job =>
  web({ Count: count, Tasks: envOf(version), Update: update });
const watch = (leader: SchedulerHarness) =>
  leader.run(service, again(web({}), { TriggeredBy: "deployment-watcher" }));

describe("the deployment of a version", () => {
  it("is made with the first one, as recorded, and its allocations belong to it", async () => {
    const leader = cluster(2);
    const update = rolling({ AutoRevert: true, ProgressDeadline: 60e9 });
    const run = await leader.register(service, job("1", 2, update));
    const deployment = run.plans[0]!.Deployment!;
    assert.deepEqual(
      { ...deployment, ID: "" },
      {
        CreateIndex: 0,
        ID: "",
        IsMultiregion: false,
        JobCreateIndex: leader.state.job("default", "web")!.CreateIndex,
        JobID: "web",
        JobModifyIndex: leader.state.job("default", "web")!.ModifyIndex,
        JobSpecModifyIndex: leader.state.job("default", "web")!.JobModifyIndex,
        JobVersion: 0,
        ModifyIndex: 0,
        Namespace: "default",
        Status: "running",
        StatusDescription: "Deployment is running",
        TaskGroups: {
          g: {
            AutoPromote: false,
            AutoRevert: true,
            DesiredCanaries: 0,
            DesiredTotal: 2,
            HealthyAllocs: 0,
            PlacedAllocs: 0,
            PlacedCanaries: null,
            ProgressDeadline: 60e9,
            Promoted: false,
            RequireProgressBy: null,
            UnhealthyAllocs: 0,
          },
        },
      },
    );
    assert.ok(run.placed.every((one) => one.DeploymentID === deployment.ID && one.DeploymentStatus === null));
    assert.equal(run.updated[0]!.DeploymentID, deployment.ID);
    assert.equal(leader.deployment(web({})).TaskGroups.g!.PlacedAllocs, 2);
  });

  it("is made though nothing finds a place", async () => {
    const leader = cluster(0);
    const run = await leader.register(service, job("1"));
    const { g } = leader.deployment(web({})).TaskGroups;
    assert.deepEqual([g!.DesiredTotal, g!.PlacedAllocs, g!.RequireProgressBy], [3, 0, null]);
    assert.equal(run.updated[0]!.DeploymentID, leader.deployment(web({})).ID);
    leader.state.putNode(makeNode());
    const later = await leader.run(service, run.created[0]!);
    assert.equal(later.placed.length, 3);
    assert.ok(later.placed.every((one) => one.DeploymentID === leader.deployment(web({})).ID));
    assert.equal(leader.state.deployments().length, 1);
  });

  it("succeeds once all it wanted is healthy, and not before", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1"));
    const [first] = leader.live(web({}));
    leader.reportHealth([first!.ID]);
    assert.deepEqual((await watch(leader)).plans, []);
    healthy(leader);
    const run = await watch(leader);
    assert.deepEqual(run.plans[0]!.DeploymentUpdates, [
      {
        DeploymentID: leader.deployment(web({})).ID,
        Status: "successful",
        StatusDescription: "Deployment completed successfully",
      },
    ]);
    assert.equal(run.updated[0]!.DeploymentID, leader.deployment(web({})).ID);
    assert.deepEqual((await watch(leader)).plans, []);
  });

  it("is not made for a batch job, nor for a group with max_parallel 0", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1", 3, rolling({ MaxParallel: 0 })));
    assert.deepEqual(leader.state.deployments(), []);
    const run = await leader.register(service, job("2", 3, rolling({ MaxParallel: 0 })));
    assert.equal(run.placed.length, 3);
    assert.deepEqual(leader.state.deployments(), []);
  });

  it("holds every group that rolls, and no other", async () => {
    const leader = cluster(2);
    const groups = [
      makeGroup({ Name: "a", Count: 2, Update: rolling() }),
      makeGroup({ Name: "b", Count: 1 }),
    ];
    await leader.register(service, { ...web({}), TaskGroups: groups });
    assert.deepEqual(Object.keys(leader.deployment(web({})).TaskGroups), ["a"]);
    const b = leader.live(web({})).find((one) => one.TaskGroup === "b");
    assert.equal(b!.DeploymentID, "");
  });

  it("is cancelled by a newer version", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1"));
    const old = leader.deployment(web({}));
    const run = await leader.register(service, job("2"));
    assert.deepEqual(run.plans[0]!.DeploymentUpdates, [
      {
        DeploymentID: old.ID,
        Status: "cancelled",
        StatusDescription: "Cancelled due to newer version of job",
      },
    ]);
    assert.notEqual(leader.deployment(web({})).ID, old.ID);
    assert.equal(run.updated[0]!.DeploymentID, leader.deployment(web({})).ID);
  });

  it("is cancelled when the job is stopped or purged", async () => {
    for (const purge of [false, true]) {
      const leader = cluster(2);
      await leader.register(service, job("1"));
      leader.state.stopJob("default", "web", purge);
      const run = await leader.run(service, again(web({}), { TriggeredBy: "job-deregister" }));
      assert.equal(leader.deployment(web({})).Status, "cancelled");
      assert.equal(leader.deployment(web({})).StatusDescription, "Cancelled because job is stopped");
      assert.equal(run.updated[0]!.DeploymentID, leader.deployment(web({})).ID);
      assert.deepEqual(running(leader), []);
    }
  });

  it("is not made again for replacements within a version that was rolled out", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1"));
    await rollOut(leader);
    const done = leader.deployment(web({}));
    leader.report(leader.live(web({}))[0]!.ID, { ClientStatus: "complete" });
    const run = await leader.run(service, again(web({})));
    assert.equal(run.placed.length, 1);
    assert.equal(run.placed[0]!.DeploymentID, "");
    assert.equal(run.updated[0]!.DeploymentID, done.ID);
    assert.equal(leader.state.deployments().length, 1);
  });

  it("takes over what is updated in place, whose health is to be found out again", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1"));
    await rollOut(leader);
    const run = await leader.register(service, { ...job("1"), Priority: 70 });
    assert.deepEqual(run.placed, []);
    const deployment = leader.deployment(web({}));
    assert.equal(deployment.JobVersion, 1);
    assert.equal(deployment.TaskGroups.g!.DesiredTotal, 3);
    assert.ok(
      leader
        .live(web({}))
        .every((one) => one.DeploymentID === deployment.ID && one.DeploymentStatus === null),
    );
    await rollOut(leader);
  });
});

describe("a rolling update", () => {
  it("replaces max_parallel, and the next ones as these become healthy", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1", 5, rolling({ MaxParallel: 2 })));
    await rollOut(leader);
    const run = await leader.register(service, job("2", 5, rolling({ MaxParallel: 2 })));
    assert.deepEqual(run.created, []);
    assert.deepEqual(stops(run), [
      { Name: "web.g[0]", JobVersion: 0, why: "alloc is being updated due to job update" },
      { Name: "web.g[1]", JobVersion: 0, why: "alloc is being updated due to job update" },
    ]);
    // Nothing else speeds it up.
    assert.deepEqual((await leader.run(service, again(web({}), { TriggeredBy: "node-update" }))).plans, []);
    leader.reportHealth([named(leader, "web.g[0]").ID]);
    assert.deepEqual(
      (await watch(leader)).placed.map((one) => one.Name),
      ["web.g[2]"],
    );
    healthy(leader);
    assert.deepEqual(
      placements(await watch(leader)).map(([name]) => name),
      ["web.g[3]", "web.g[4]"],
    );
    await rollOut(leader);
    assert.ok(running(leader).every((name) => name.startsWith("1:")));
  });

  it("stops at an unhealthy allocation", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1", 4, rolling({ MaxParallel: 2 })));
    await rollOut(leader);
    await leader.register(service, job("2", 4, rolling({ MaxParallel: 2 })));
    leader.reportHealth([named(leader, "web.g[0]").ID], true);
    leader.reportHealth([named(leader, "web.g[1]").ID], false);
    assert.deepEqual((await watch(leader)).plans, []);
  });

  it("counts what it places besides against max_parallel", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1", 3, rolling({ MaxParallel: 2 })));
    await rollOut(leader);
    const run = await leader.register(service, job("2", 4, rolling({ MaxParallel: 2 })));
    assert.deepEqual(run.placed.map((one) => one.Name).sort(), ["web.g[0]", "web.g[3]"]);
  });

  it("replaces nothing while paused, replaces what is lost, and goes on afterwards", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1", 3));
    await rollOut(leader);
    await leader.register(service, job("2", 3));
    healthy(leader);
    leader.setDeploymentStatus(web({}), "paused");
    assert.deepEqual((await watch(leader)).plans, []);
    const lost = named(leader, "web.g[2]");
    leader.state.putNode({ ...leader.state.node(lost.NodeID)!, Status: "down" });
    const gone = leader.live(web({})).filter((one) => one.NodeID === lost.NodeID).length;
    const replaced = await leader.run(service, again(web({}), { TriggeredBy: "node-update" }));
    assert.equal(replaced.placed.length, gone);
    assert.ok(replaced.placed.every((one) => one.PreviousAllocation !== undefined));
    leader.setDeploymentStatus(web({}), "running");
    await rollOut(leader);
    assert.equal(running(leader).filter((name) => name.startsWith("1:")).length, 3);
  });

  it("holds while its deployment is pending", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1"));
    await rollOut(leader);
    await leader.register(service, job("2"));
    healthy(leader);
    leader.setDeploymentStatus(web({}), "pending");
    assert.deepEqual((await watch(leader)).plans, []);
  });

  it("replaces and places nothing more once failed, until there is another version", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1"));
    await rollOut(leader);
    await leader.register(service, job("2"));
    leader.setDeploymentStatus(web({}), "failed");
    const updated = named(leader, "web.g[0]");
    leader.report(updated.ID, failedAt(leader.now - 3_600_000));
    leader.report(named(leader, "web.g[1]").ID, { ClientStatus: "complete" });
    leader.report(updated.ID, wish({ Reschedule: true }));
    const held = await watch(leader);
    assert.deepEqual([held.plans, held.created], [[], []]);
    const run = await leader.register(service, job("3"));
    assert.equal(leader.deployment(web({})).JobVersion, 2);
    // What failed and what is missing, before any update.
    assert.deepEqual(placements(run), [
      ["web.g[0]", 2, updated.ID],
      ["web.g[1]", 2, undefined],
    ]);
    await rollOut(leader);
    assert.deepEqual(running(leader), ["2:web.g[0]", "2:web.g[1]", "2:web.g[2]"]);
  });

  it("goes back to an earlier version, of which what still runs is kept", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1"));
    await rollOut(leader);
    await leader.register(service, job("2"));
    leader.reportHealth([named(leader, "web.g[0]").ID], false);
    leader.setDeploymentStatus(web({}), "failed");
    const kept = [named(leader, "web.g[1]").ID, named(leader, "web.g[2]").ID];
    const run = await leader.register(service, job("1"));
    assert.deepEqual(
      placements(run).map(([name]) => name),
      ["web.g[0]"],
    );
    assert.ok(kept.every((id) => leader.state.allocation(id)!.JobVersion === 2));
    await rollOut(leader);
    assert.deepEqual(running(leader), ["2:web.g[0]", "2:web.g[1]", "2:web.g[2]"]);
  });

  it("reschedules what failed outside of a failed deployment", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1"));
    await rollOut(leader);
    await leader.register(service, job("2"));
    leader.setDeploymentStatus(web({}), "failed");
    const outside = named(leader, "web.g[2]");
    leader.report(outside.ID, failedAt(leader.now - 60_000));
    const run = await watch(leader);
    assert.deepEqual(placements(run), [["web.g[2]", 1, outside.ID]]);
    assert.equal(run.placed[0]!.DeploymentID, "", "a failed deployment takes nothing more in");
  });

  it("leaves a failed allocation of it alone until it may be rescheduled", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1"));
    const [failed] = leader.live(web({}));
    leader.report(failed!.ID, failedAt(leader.now - 3_600_000));
    const idle = await leader.run(service, again(web({}), { TriggeredBy: "alloc-failure" }));
    assert.deepEqual([idle.plans, idle.created], [[], []]);
    leader.report(failed!.ID, wish({ Reschedule: true }));
    const run = await watch(leader);
    assert.equal(run.placed[0]!.PreviousAllocation, failed!.ID);
    assert.equal(run.placed[0]!.DeploymentID, leader.deployment(web({})).ID);
    assert.equal(run.placed[0]!.RescheduleTracker!.Events.length, 1);
  });

  it("counts what an earlier deployment left on its way", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1"));
    await rollOut(leader);
    await leader.register(service, job("2"));
    const run = await leader.register(service, { ...job("2"), Priority: 70 });
    assert.deepEqual(run.placed, []);
    assert.deepEqual(running(leader), ["0:web.g[1]", "0:web.g[2]", "2:web.g[0]"]);
    await rollOut(leader);
  });

  it("updates in place at once, whatever max_parallel is", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1", 4));
    await rollOut(leader);
    await leader.register(service, { ...job("1", 4), Meta: null, Priority: 60 });
    assert.ok(running(leader).every((name) => name.startsWith("1:")));
  });

  it("lets a partly refused plan go on in the same deployment", async () => {
    let refusals = 0;
    const leader = new SchedulerHarness({ refuse: () => refusals++ === 0 });
    for (let i = 0; i < 3; i++) leader.state.putNode(makeNode());
    const run = await leader.register(service, job("1", 6));
    assert.ok(run.plans.length > 1);
    assert.equal(leader.state.deployments().length, 1);
    const ids = new Set(leader.live(web({})).map((one) => one.DeploymentID));
    assert.deepEqual([...ids], [leader.deployment(web({})).ID]);
    assert.equal(leader.deployment(web({})).TaskGroups.g!.PlacedAllocs, 6);
  });

  it("is progress where its plan is refused for every node", async () => {
    const leader = new SchedulerHarness({ refuse: () => true });
    leader.state.putNode(makeNode());
    const run = await leader.register(service, job("1"));
    assert.deepEqual(
      run.plans.map((plan) => plan.Deployment !== null),
      [true, false, false, false, false, false],
    );
    assert.equal(run.updated[0]!.DeploymentID, leader.deployment(web({})).ID);
  });
});
