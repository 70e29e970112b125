import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { z } from "zod";
import { decodeBody, encodeBody } from "../../../../core/server/members/member-record.js";
import { addressOf, idOf, PaperServers, peersOf, seen } from "./paper-servers.js";

test("three servers that expect three begin one cluster, led and with one identifier", async (t) => {
  const servers = new PaperServers(t);
  const all = await servers.startAll([1, 2, 3]);
  await eventually("a leader everywhere", () =>
    all.every(({ server }) => server.endpoints.status.leader() === addressOf(1)),
  );
  for (const one of all) assert.deepEqual(peersOf(one), ["1", "2", "3"]);
  await eventually("an identifier everywhere", () =>
    all.every(({ server }) => server.endpoints.status.stats().nomad?.cluster_id !== ""),
  );
  const ids = new Set(all.map(({ server }) => server.endpoints.status.stats().nomad?.cluster_id));
  assert.equal(ids.size, 1);
  assert.deepEqual(seen(all[2]!), [
    "server-1.global alive",
    "server-2.global alive",
    "server-3.global alive",
  ]);
});

test("a server that starts does not wait for the others, and no cluster is begun by too few", async (t) => {
  const servers = new PaperServers(t);
  const [first, second] = await servers.startAll([1, 2]);
  await eventually("they know each other", () => seen(first!).length === 2 && seen(second!).length === 2);
  await eventually("it says what it waits for", () => servers.logged("info", /2 of 3 servers are there/));
  assert.equal(first!.server.endpoints.status.leader(), "");
  assert.equal(first!.server.endpoints.status.health().ok, false);
  const third = await servers.start({ number: 3, retryJoin: [2] });
  await eventually("a leader", () => third.server.endpoints.status.leader() !== "");
});

test("of more servers than expected the lowest ids begin, and the others are taken in and get their votes", async (t) => {
  const servers = new PaperServers(t);
  const all = await servers.startAll([1, 2, 3, 4, 5]);
  await eventually("a cluster", () => all[0]!.consensus.peers().length > 0);
  await all[0]!.server.endpoints.operator.setAutopilotConfiguration({ ServerStabilizationTime: "30ms" });
  await eventually("five votes", () => {
    const leader = all.find(({ consensus }) => consensus.isLeader());
    return leader !== undefined && peersOf(leader).join() === "1,2,3,4,5";
  });
});

test("servers that expect different numbers begin nothing, and both logs name both", async (t) => {
  const servers = new PaperServers(t);
  await servers.start({ number: 1, expect: 2, retryJoin: [2] });
  await servers.start({ number: 2, expect: 3, retryJoin: [1] });
  const named = (a: string, b: string) =>
    servers.logged("error", new RegExp(`bootstrap_expect of ${a}.global is \\d, that of ${b}.global is \\d`));
  await eventually("both say so", () => named("server-1", "server-2") && named("server-2", "server-1"));
  for (const server of servers.world.servers) assert.equal(server.membership.bootstrapped(), false);
});

test("a server that already belongs to a cluster keeps the others from beginning another", async (t) => {
  const servers = new PaperServers(t);
  const founder = await servers.start({ number: 9, expect: 1 });
  const all = await servers.startAll([1, 2, 3], { retryJoin: [1, 2, 3, 9] });
  await eventually("they are taken into the cluster that is there", () => peersOf(founder).length === 4);
  for (const one of all) assert.equal(one.server.endpoints.status.leader(), addressOf(9));
});

test("an even number is warned of, and a server that expects one begins at once", async (t) => {
  const servers = new PaperServers(t);
  await servers.start({ number: 1, expect: 2 });
  assert.ok(servers.logged("warn", /should ideally be set to an odd number/));
  const alone = await servers.start({ number: 2, expect: 1 });
  assert.equal(alone.server.endpoints.status.leader(), addressOf(2));
});

test("a server that gave its word to one asker gives it to no other until the question is taken back", async (t) => {
  const servers = new PaperServers(t);
  await servers.start({ number: 5, retryJoin: [] });
  const caller = servers.network.join("10.0.0.200:4647");
  const ask = async (number: number, extra: object = {}) => {
    const question = {
      version: 1,
      id: idOf(number),
      name: `server-${number}.global`,
      expect: 3,
      ids: [idOf(5)],
      withdrawn: false,
      ...extra,
    };
    const answer = await caller.call(addressOf(5), "Members.Bootstrap", encodeBody(question), {
      deadline: 1_000,
    });
    return decodeBody(z.object({ why: z.string() }), answer, "Members.Bootstrap").why;
  };
  assert.equal(await ask(1), "");
  assert.match(await ask(2), /has promised itself to 00000000-0000-4000-8000-000000000001/);
  assert.equal(await ask(1), "");
  await ask(1, { withdrawn: true });
  assert.equal(await ask(2), "");
  assert.match(await ask(2, { ids: [idOf(2), idOf(5)] }), /does not know the same servers/);
  assert.match(await ask(2, { expect: 5 }), /no cluster is begun until all servers expect the same number/);
});
