import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job } from "@drover/plugin-sdk";
import type { SchedulerHarness } from "@drover/plugin-sdk/testing";
import {
  again,
  cluster,
  envOf,
  failedAt,
  healthy,
  named,
  rolling,
  rollOut,
  running,
  service,
  stops,
  web,
  wish,
} from "./support.js";

const job = (version: string, { count = 2, canary = 1, ...rest } = {}): Job =>
  web({ Count: count, Tasks: envOf(version), Update: rolling({ Canary: canary, ...rest }) });
const watch = (leader: SchedulerHarness) =>
  leader.run(service, again(web({}), { TriggeredBy: "deployment-watcher" }));
/** A version that runs, and a second one on trial. */
async function onTrial(options: { count?: number; canary?: number } = {}): Promise<SchedulerHarness> {
  const leader = cluster(3);
  await leader.register(service, job("1", options));
  await rollOut(leader);
  await leader.register(service, job("2", options));
  return leader;
}

describe("canaries", () => {
  it("leave the earlier version going: what ended of it by itself is placed again", async () => {
    const leader = await onTrial();
    const ended = named(leader, "web.g[1]", 0);
    leader.state.putAllocation({ ...ended, ClientStatus: "complete" });
    const run = await watch(leader);
    assert.deepEqual(
      run.placed.map(({ Name, JobVersion, PreviousAllocation }) => [Name, JobVersion, PreviousAllocation]),
      [["web.g[1]", 0, ended.ID]],
    );
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]", "1:web.g[0]"]);
    assert.equal((await watch(leader)).placed.length, 0, "once");
  });

  it("are placed though nothing of the earlier version is left", async () => {
    const leader = cluster(3);
    await leader.register(service, job("1"));
    await rollOut(leader);
    const nodes = leader.state.nodes();
    for (const node of nodes) leader.state.putNode({ ...node, SchedulingEligibility: "ineligible" });
    const run = await leader.register(service, job("2"));
    assert.equal(run.placed.length, 0, "no room for the canary");
    for (const name of ["web.g[0]", "web.g[1]"])
      leader.state.putAllocation({ ...named(leader, name, 0), ClientStatus: "complete" });
    for (const node of nodes) leader.state.putNode(node);
    await watch(leader);
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]", "1:web.g[0]"]);
  });

  it("are not asked for in the first version", async () => {
    const leader = cluster(2);
    const run = await leader.register(service, job("1"));
    assert.equal(run.plans[0]!.Deployment!.TaskGroups.g!.DesiredCanaries, 0);
    assert.equal(run.plans[0]!.Deployment!.StatusDescription, "Deployment is running");
    assert.ok(run.placed.every((one) => one.DeploymentStatus === null));
  });

  it("come beside what runs, named like what they will replace, as recorded", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1"));
    await rollOut(leader);
    const next = leader.state.putJob(job("2"));
    const run = await leader.run(service, again(next, { AnnotatePlan: true }));
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]", "1:web.g[0]"]);
    const [canary] = run.placed;
    assert.deepEqual(canary!.DeploymentStatus, {
      Canary: true,
      Healthy: null,
      ModifyIndex: 0,
      Timestamp: "0001-01-01T00:00:00Z",
    });
    assert.equal(canary!.PreviousAllocation, undefined);
    const deployment = leader.deployment(web({}));
    assert.equal(deployment.StatusDescription, "Deployment is running but requires manual promotion");
    assert.deepEqual(deployment.TaskGroups.g, {
      ...deployment.TaskGroups.g!,
      DesiredCanaries: 1,
      DesiredTotal: 2,
      PlacedAllocs: 1,
      PlacedCanaries: [canary!.ID],
      Promoted: false,
    });
    assert.deepEqual(run.updated[0]!.PlanAnnotations!.DesiredTGUpdates, {
      g: {
        Canary: 1,
        DestructiveUpdate: 0,
        Ignore: 2,
        InPlaceUpdate: 0,
        Migrate: 0,
        Place: 0,
        Preemptions: 0,
        Stop: 0,
      },
    });
  });

  it("say that they promote themselves where all groups do", async () => {
    const leader = cluster(2);
    const auto = (version: string): Job =>
      web({ Count: 2, Tasks: envOf(version), Update: rolling({ Canary: 1, AutoPromote: true }) });
    await leader.register(service, auto("1"));
    await rollOut(leader);
    await leader.register(service, auto("2"));
    const { StatusDescription, TaskGroups } = leader.deployment(web({}));
    assert.equal(StatusDescription, "Deployment is running pending automatic promotion");
    assert.equal(TaskGroups.g!.AutoPromote, true);
  });

  it("hold the update though they are healthy, until they are promoted", async () => {
    const leader = await onTrial();
    healthy(leader);
    const run = await watch(leader);
    assert.deepEqual([run.plans, run.created], [[], []]);
    assert.equal(leader.deployment(web({})).Status, "running");
  });

  it("replace the namesake when promoted, and the rest follows by max_parallel, as recorded", async () => {
    const leader = await onTrial();
    healthy(leader);
    leader.promote(web({}));
    const run = await watch(leader);
    assert.deepEqual(stops(run), [
      { Name: "web.g[0]", JobVersion: 0, why: "alloc not needed due to job update" },
      { Name: "web.g[1]", JobVersion: 0, why: "alloc is being updated due to job update" },
    ]);
    assert.deepEqual(running(leader), ["1:web.g[0]", "1:web.g[1]"]);
    await rollOut(leader);
    const { g } = leader.deployment(web({})).TaskGroups;
    assert.deepEqual([g!.HealthyAllocs, g!.PlacedAllocs, g!.DesiredTotal], [2, 2, 2]);
  });

  it("may be as many as the group and more: blue and green", async () => {
    for (const canary of [3, 5]) {
      const leader = await onTrial({ count: 3, canary });
      assert.equal(running(leader).filter((name) => name.startsWith("1:")).length, canary);
      healthy(leader);
      leader.promote(web({}));
      await watch(leader);
      assert.deepEqual(running(leader), ["1:web.g[0]", "1:web.g[1]", "1:web.g[2]"]);
      assert.equal(leader.deployment(web({})).Status, "successful");
    }
  });

  it("go with their deployment when a newer version comes", async () => {
    const leader = await onTrial();
    const canary = named(leader, "web.g[0]", 1);
    await leader.register(service, job("3"));
    assert.equal(
      leader.state.allocation(canary.ID)!.DesiredDescription,
      "alloc not needed due to job update",
    );
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]", "2:web.g[0]"]);
  });

  it("go when their deployment fails, and what ran goes on", async () => {
    const leader = await onTrial();
    leader.setDeploymentStatus(web({}), "failed");
    await watch(leader);
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]"]);
    assert.deepEqual((await watch(leader)).plans, []);
  });

  it("are not placed while the deployment is paused, and are afterwards", async () => {
    const leader = await onTrial({ canary: 2 });
    leader.report(named(leader, "web.g[0]", 1).ID, { DesiredStatus: "stop", ClientStatus: "complete" });
    leader.setDeploymentStatus(web({}), "paused");
    assert.deepEqual((await watch(leader)).plans, []);
    leader.setDeploymentStatus(web({}), "running");
    const run = await watch(leader);
    assert.deepEqual(
      run.placed.map((one) => [one.Name, one.DeploymentStatus!.Canary]),
      [["web.g[0]", true]],
    );
  });

  it("that fail stay as they are, and are tried again where the deployment allows it", async () => {
    const leader = await onTrial();
    const canary = named(leader, "web.g[0]", 1);
    leader.report(canary.ID, failedAt(leader.now - 3_600_000));
    leader.reportHealth([canary.ID], false);
    assert.deepEqual((await watch(leader)).plans, []);
    leader.report(canary.ID, wish({ Reschedule: true }));
    const run = await watch(leader);
    assert.deepEqual(
      run.placed.map((one) => [
        one.Name,
        one.JobVersion,
        one.DeploymentStatus!.Canary,
        one.PreviousAllocation,
      ]),
      [["web.g[0]", 1, true, canary.ID]],
    );
    assert.deepEqual((await watch(leader)).plans, []);
  });

  it("are replaced as canaries when their node is lost or they are to move", async () => {
    const leader = await onTrial();
    const canary = named(leader, "web.g[0]", 1);
    leader.report(canary.ID, wish({ Migrate: true }));
    const moved = await leader.run(service, again(web({}), { TriggeredBy: "alloc-stop" }));
    assert.deepEqual(
      moved.placed.map((one) => [one.PreviousAllocation, one.JobVersion, one.DeploymentStatus?.Canary]),
      [[canary.ID, 1, true]],
    );
    const { NodeID } = moved.placed[0]!;
    leader.state.putNode({ ...leader.state.node(NodeID)!, Status: "down" });
    const lost = await leader.run(service, again(web({}), { TriggeredBy: "node-update" }));
    const canaries = lost.placed.filter((one) => one.JobVersion === 1);
    assert.deepEqual(
      canaries.map((one) => [one.PreviousAllocation, one.DeploymentStatus?.Canary]),
      [[moved.placed[0]!.ID, true]],
    );
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]", "1:web.g[0]"]);
  });

  it("leave the running version to be replaced by itself while they are tried", async () => {
    const leader = await onTrial();
    const old = named(leader, "web.g[1]", 0);
    leader.report(old.ID, wish({ Migrate: true }));
    const run = await leader.run(service, again(web({}), { TriggeredBy: "node-drain" }));
    assert.deepEqual(
      run.placed.map((one) => [
        one.PreviousAllocation,
        one.JobVersion,
        one.DeploymentID,
        one.DeploymentStatus,
      ]),
      [[old.ID, 0, "", null]],
    );
    healthy(leader);
    leader.promote(web({}));
    await rollOut(leader);
    assert.deepEqual(running(leader), ["1:web.g[0]", "1:web.g[1]"]);
  });

  it("let what is lost beside them come back in its own version", async () => {
    const leader = await onTrial();
    const canary = named(leader, "web.g[0]", 1);
    const old = leader.live(web({})).find((one) => one.JobVersion === 0 && one.NodeID !== canary.NodeID);
    const node = old ?? named(leader, "web.g[1]", 0);
    leader.state.putNode({ ...leader.state.node(node.NodeID)!, Status: "down" });
    await leader.run(service, again(web({}), { TriggeredBy: "node-update" }));
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]", "1:web.g[0]"]);
  });

  it("are tried anew with the count that a newer version brings", async () => {
    const leader = await onTrial();
    const run = await leader.register(service, job("2", { count: 4 }));
    assert.deepEqual(running(leader), ["0:web.g[0]", "0:web.g[1]", "2:web.g[0]"]);
    assert.equal(run.plans[0]!.Deployment!.TaskGroups.g!.DesiredTotal, 4);
    healthy(leader);
    leader.promote(web({}));
    await rollOut(leader);
    assert.deepEqual(running(leader), ["2:web.g[0]", "2:web.g[1]", "2:web.g[2]", "2:web.g[3]"]);

    await leader.register(service, job("5", { count: 2 }));
    assert.deepEqual(running(leader), ["2:web.g[0]", "2:web.g[1]", "3:web.g[0]"]);
  });

  it("are not asked for where nothing has to be replaced", async () => {
    const leader = cluster(2);
    await leader.register(service, job("1"));
    await rollOut(leader);
    await leader.register(service, { ...job("1"), Priority: 70 });
    assert.equal(leader.deployment(web({})).TaskGroups.g!.DesiredCanaries, 0);
    assert.deepEqual(running(leader), ["1:web.g[0]", "1:web.g[1]"]);
  });
});
