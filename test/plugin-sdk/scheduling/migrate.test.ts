import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job } from "@drover/plugin-sdk";
import { makeNode, type SchedulerHarness } from "@drover/plugin-sdk/testing";
import {
  again,
  batch,
  cluster,
  envOf,
  failedAt,
  placements,
  rolling,
  rollOut,
  running,
  service,
  stops,
  web,
  wish,
} from "./support.js";

const sticky = { Migrate: false, SizeMB: 300, Sticky: true };
/** Keeps new allocations from a node and asks those on it to leave, as a drain does. */
function drain(leader: SchedulerHarness, nodeId: string, job: Job = web({})): void {
  leader.state.putNode({ ...leader.state.node(nodeId)!, SchedulingEligibility: "ineligible" });
  for (const { ID, NodeID } of leader.live(job)) {
    if (NodeID === nodeId) leader.report(ID, wish({ Migrate: true }));
  }
}

describe("allocations that are to move", () => {
  it("are stopped and placed elsewhere under their names, with a link to what they were", async () => {
    const leader = cluster(1);
    await leader.register(service, web({ Count: 2 }));
    const before = leader.live(web({})).sort((a, b) => (a.Name < b.Name ? -1 : 1));
    leader.state.putNode(makeNode());
    drain(leader, before[0]!.NodeID);
    const run = await leader.run(service, again(web({}), { TriggeredBy: "node-drain", AnnotatePlan: true }));
    assert.deepEqual(
      stops(run).map(({ why }) => why),
      Array(2).fill("alloc is being migrated"),
    );
    assert.deepEqual(
      placements(run),
      before.map(({ Name, ID }) => [Name, 0, ID]),
    );
    assert.ok(run.placed.every((one) => one.NodeID !== before[0]!.NodeID));
    assert.ok(run.placed.every((one) => one.RescheduleTracker === undefined));
    const { g } = run.updated[0]!.PlanAnnotations!.DesiredTGUpdates!;
    assert.deepEqual([g!.Migrate, g!.Stop, g!.Place], [2, 0, 0]);
  });

  it("leave though there is no place for them, which waits as a blocked evaluation", async () => {
    const leader = cluster(1);
    await leader.register(service, web({}));
    drain(leader, leader.live(web({}))[0]!.NodeID);
    const run = await leader.run(service, again(web({}), { TriggeredBy: "node-drain" }));
    assert.deepEqual(running(leader), []);
    assert.equal(run.created[0]!.Status, "blocked");
    leader.state.putNode(makeNode());
    assert.equal((await leader.run(service, run.created[0]!)).placed.length, 1);
  });

  it("go first, and for good, when the group shrinks", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ Count: 2 }));
    const moving = leader.live(web({})).find((one) => one.Name === "web.g[0]")!;
    leader.report(moving.ID, wish({ Migrate: true }));
    const run = await leader.register(service, web({ Count: 1 }));
    assert.deepEqual(run.placed, []);
    assert.deepEqual(running(leader), ["1:web.g[1]"]);
  });

  it("belong to the deployment under way, and count in it", async () => {
    const leader = cluster(2);
    const job = web({ Count: 2, Update: rolling() });
    await leader.register(service, job);
    const [moving] = leader.live(job);
    leader.report(moving!.ID, wish({ Migrate: true }));
    const run = await leader.run(service, again(job));
    assert.equal(run.placed[0]!.DeploymentID, leader.deployment(job).ID);
    await rollOut(leader);
  });
});

describe("a sticky disk", () => {
  const placesOf = (leader: SchedulerHarness, job: Job): string[] =>
    leader
      .live(job)
      .sort((a, b) => (a.Name < b.Name ? -1 : 1))
      .map((one) => one.NodeID);

  it("keeps an updated allocation on its node", async () => {
    const leader = cluster(6);
    const job = (version: string) => web({ Count: 4, Tasks: envOf(version), EphemeralDisk: sticky });
    await leader.register(service, job("1"));
    const before = placesOf(leader, job("1"));
    for (let version = 2; version < 5; version++) {
      const run = await leader.register(service, job(`${version}`));
      assert.equal(run.placed.length, 4);
      assert.deepEqual(placesOf(leader, job("1")), before);
    }
  });

  it("does not keep a failed allocation on its node", async () => {
    const leader = cluster(2);
    await leader.register(service, web({ EphemeralDisk: sticky }));
    const [failed] = leader.live(web({}));
    leader.report(failed!.ID, failedAt(leader.now - 60_000));
    const run = await leader.run(service, again(web({})));
    assert.notEqual(run.placed[0]!.NodeID, failed!.NodeID);
  });

  it("goes with its allocation where the node drains", async () => {
    const leader = cluster(2);
    const job = web({ EphemeralDisk: { ...sticky, Migrate: true } });
    await leader.register(service, job);
    const [moving] = leader.live(job);
    drain(leader, moving!.NodeID);
    const run = await leader.run(service, again(job, { TriggeredBy: "node-drain" }));
    assert.notEqual(run.placed[0]!.NodeID, moving!.NodeID);
    assert.equal(run.placed[0]!.PreviousAllocation, moving!.ID);
  });
});

describe("a batch job on a draining node", () => {
  it("is moved too", async () => {
    const leader = cluster(2);
    const etl = web({}, { ID: "etl", Type: "batch" });
    await leader.register(batch, etl);
    const [moving] = leader.live(etl);
    drain(leader, moving!.NodeID, etl);
    const run = await leader.run(batch, again(etl, { TriggeredBy: "node-drain" }));
    assert.deepEqual(placements(run), [["etl.g[0]", 0, moving!.ID]]);
  });
});
