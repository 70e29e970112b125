import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { eventually, quietLogger } from "@drover/plugin-sdk/testing";
import { Leaving } from "../../../../core/server/members/leaving.js";
import { encodeBody } from "../../../../core/server/members/member-record.js";
import { addressOf, idOf, PaperServers, peersOf, seen } from "./paper-servers.js";

async function cluster(t: TestContext, numbers: readonly number[]) {
  const servers = new PaperServers(t);
  const all = await servers.startAll(numbers, { expect: numbers.length });
  await eventually("a cluster", () => all.every(({ server }) => server.endpoints.status.leader() !== ""));
  await eventually("everybody knows everybody", () =>
    all.every((one) => seen(one).length === numbers.length),
  );
  return { servers, all, leader: all[0]! };
}

test("a follower that leaves is out of the cluster when it is done, and the others know that it left", async (t) => {
  const { all, leader } = await cluster(t, [1, 2, 3]);
  await all[2]!.server.leave();
  assert.deepEqual(peersOf(leader), ["1", "2"]);
  assert.ok(seen(leader).includes("server-3.global left"));
  assert.ok(leader.consensus.isLeader());
});

test("a leader that leaves hands leadership on and is removed by the next", async (t) => {
  const { all, leader } = await cluster(t, [1, 2, 3]);
  await leader.server.leave();
  const next = all.slice(1).find(({ consensus }) => consensus.isLeader())!;
  assert.deepEqual(peersOf(next), ["2", "3"]);
  assert.ok(seen(next).includes("server-1.global left"));
});

test("a leader that nobody takes leadership from removes itself", async (t) => {
  const { servers, all, leader } = await cluster(t, [1, 2, 3]);
  leader.consensus.canTransfer = false;
  await leader.server.leave();
  assert.ok(servers.logged("warn", /leadership could not be handed on/));
  assert.equal(leader.consensus.isLeader(), false);
  assert.deepEqual(peersOf(all[1]!), ["2", "3"]);
});

test("the last server of a cluster keeps it, and starts again as what it was", async (t) => {
  const servers = new PaperServers(t);
  const alone = await servers.start({ number: 1, expect: 1 });
  await alone.server.leave();
  assert.deepEqual(peersOf(alone), ["1"]);
});

test("leaving without a leader ends in time, tells the others, and the log says what is left to do", async (t) => {
  const { servers, all, leader } = await cluster(t, [1, 2, 3]);
  leader.consensus.stepDown();
  const lines: string[] = [];
  const told: string[] = [];
  const leaving = new Leaving({
    consensus: all[2]!.consensus,
    network: servers.network.join("10.0.0.200:4647"),
    members: { leave: async () => void told.push("left") },
    name: "server-3.global",
    log: {
      ...quietLogger,
      error: (fields, message) => void lines.push(`${message} ${JSON.stringify(fields)}`),
    },
    deadline: 50,
  });
  await leaving.leave();
  assert.match(
    lines.join(),
    /could not leave its cluster in time; remove it with drover operator raft remove-peer .*there is no leader/,
  );
  assert.deepEqual(told, ["left"]);
  assert.equal(peersOf(leader).length, 3);
});

test("only the leader removes, and it does not by mistake remove itself", async (t) => {
  const { servers, leader } = await cluster(t, [1, 2, 3]);
  const caller = servers.network.join("10.0.0.200:4647");
  const remove = (at: number, number: number) =>
    caller.call(
      addressOf(at),
      "Members.Remove",
      encodeBody({ version: 1, id: idOf(number), name: "somebody" }),
      { deadline: 1_000 },
    );
  await assert.rejects(remove(2, 3), /not the leader; .* at 10.0.0.1:4647 is/);
  await assert.rejects(remove(1, 1), /is the leader's own id/);
  await remove(1, 7);
  assert.deepEqual(peersOf(leader), ["1", "2", "3"]);
});

test("a leader that just stops hands leadership on and stays in the cluster", async (t) => {
  const { all, leader } = await cluster(t, [1, 2, 3]);
  await leader.server.stop();
  const next = all.slice(1).find(({ consensus }) => consensus.isLeader());
  assert.notEqual(next, undefined);
  assert.deepEqual(peersOf(next!), ["1", "2", "3"]);
});
