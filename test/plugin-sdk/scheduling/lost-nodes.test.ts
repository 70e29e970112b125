import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Job } from "@drover/plugin-sdk";
import { makeNode, type SchedulerHarness } from "@drover/plugin-sdk/testing";
import { again, cluster, placements, running, service, stops, web, wish } from "./support.js";

const MINUTE = 60_000;
/** A job that runs on a node which goes down, and a second node for what is replaced. */
async function lose(job: Job, how: "down" | "gone" = "down"): Promise<SchedulerHarness> {
  const leader = cluster(1);
  await leader.register(service, job);
  const [node] = leader.state.nodes();
  if (how === "down") leader.state.putNode({ ...node!, Status: "down" });
  else leader.state.removeNode(node!.ID);
  leader.state.putNode(makeNode());
  return leader;
}
const nodeUpdate = (leader: SchedulerHarness) =>
  leader.run(service, again(web({}), { TriggeredBy: "node-update" }));

describe("allocations of a lost node", () => {
  it("are lost and replaced under their names, whether the node is down or gone", async () => {
    for (const how of ["down", "gone"] as const) {
      const leader = await lose(web({ Count: 2 }), how);
      const before = leader.live(web({}));
      const run = await nodeUpdate(leader);
      assert.deepEqual(
        stops(run).map(({ why }) => why),
        Array(2).fill("alloc is lost since its node is down"),
      );
      assert.deepEqual(
        placements(run)
          .map(([, , previous]) => previous)
          .sort(),
        before.map((one) => one.ID).sort(),
      );
      for (const { ID } of before) {
        const row = leader.state.allocation(ID)!;
        assert.deepEqual([row.ClientStatus, row.AllocStates?.length], ["lost", 1]);
      }
    }
  });

  it("are lost though they were to move or to stop, so that none waits for a report that never comes", async () => {
    const leader = await lose(web({ Count: 2 }));
    const [moving, stopped] = leader.live(web({}));
    leader.report(moving!.ID, wish({ Migrate: true }));
    leader.report(stopped!.ID, { DesiredStatus: "stop" });
    await nodeUpdate(leader);
    assert.equal(leader.state.allocation(moving!.ID)!.ClientStatus, "lost");
    assert.equal(leader.state.allocation(stopped!.ID)!.ClientStatus, "lost");
    assert.equal(running(leader).length, 2);
  });

  it("are closed, and not replaced, where the job wants fewer or is stopped", async () => {
    const leader = await lose(web({ Count: 2 }));
    leader.state.stopJob("default", "web");
    const run = await nodeUpdate(leader);
    assert.deepEqual(run.placed, []);
    assert.ok(leader.state.allocations().every((one) => one.ClientStatus === "lost"));
  });
});

describe("nodes of a job's allocations", () => {
  it("are read once each, and not at all while they are ready", async () => {
    const leader = cluster(3);
    await leader.register(service, web({ Count: 9 }));
    const reads: string[] = [];
    const node = leader.state.node.bind(leader.state);
    leader.state.node = (id) => {
      reads.push(id);
      return node(id);
    };
    assert.deepEqual((await nodeUpdate(leader)).plans, []);
    assert.deepEqual(reads, []);
    const [initializing] = leader.state.nodes();
    leader.state.putNode({ ...initializing!, Status: "initializing" });
    assert.deepEqual((await nodeUpdate(leader)).plans, []);
    assert.deepEqual(reads, [initializing!.ID]);
  });
});

describe("stop_after_client_disconnect", () => {
  const job = web({ Count: 1, StopAfterClientDisconnect: 2 * MINUTE * 1e6 });

  it("replaces a lost allocation once its client will have stopped it", async () => {
    const leader = await lose(job);
    const [lost] = leader.live(job);
    const run = await nodeUpdate(leader);
    assert.deepEqual(run.placed, []);
    const [followUp] = run.created;
    // The two minutes, and the time that the task has to end.
    assert.equal(followUp!.WaitUntil, new Date(leader.now + 2 * MINUTE + 5_000).toISOString());
    assert.equal(followUp!.TriggeredBy, "alloc-failure");
    const row = leader.state.allocation(lost!.ID)!;
    assert.deepEqual(
      [row.ClientStatus, row.DesiredStatus, row.FollowupEvalID],
      ["lost", "stop", followUp!.ID],
    );
    assert.deepEqual(row.AllocStates, [
      { Field: "ClientStatus", Value: "lost", Time: new Date(leader.now).toISOString() },
    ]);

    leader.now += MINUTE;
    const early = await nodeUpdate(leader);
    assert.deepEqual([early.placed, early.created], [[], []], "its place stays empty until then");

    leader.now += 2 * MINUTE;
    assert.deepEqual(placements(await leader.run(service, followUp!)), [["web.g[0]", 0, lost!.ID]]);
    assert.deepEqual((await nodeUpdate(leader)).plans, []);
  });

  it("holds the place of what is lost, and no other", async () => {
    const leader = await lose({ ...job, TaskGroups: [{ ...job.TaskGroups[0]!, Count: 2 }] });
    await nodeUpdate(leader);
    const grown = { ...job, TaskGroups: [{ ...job.TaskGroups[0]!, Count: 3 }] };
    assert.deepEqual(placements(await leader.register(service, grown)), [["web.g[2]", 1, undefined]]);
  });

  it("waits as long as the slowest task may take to end", async () => {
    const [group] = job.TaskGroups;
    const slow = { ...group!, Tasks: [{ ...group!.Tasks[0]!, KillTimeout: 90e9 }] };
    const leader = await lose({ ...job, TaskGroups: [slow] });
    const run = await nodeUpdate(leader);
    assert.equal(run.created[0]!.WaitUntil, new Date(leader.now + 2 * MINUTE + 90_000).toISOString());
  });

  it("is replaced by whatever evaluation comes after that time, once", async () => {
    const leader = await lose(job);
    await nodeUpdate(leader);
    leader.now += 3 * MINUTE;
    assert.equal((await nodeUpdate(leader)).placed.length, 1);
    assert.deepEqual((await nodeUpdate(leader)).plans, []);
  });
});
