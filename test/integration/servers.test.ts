/** Three servers in processes of their own: they find each other, lose one, get it back, and one leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "./process.js";
import { loopbackPlaces, Servers } from "./servers.js";

test("three servers find each other, survive the death of one, and let their leader leave", async (t) => {
  const servers = new Servers(await loopbackPlaces(3));
  t.after(() => servers.remove());
  for (const server of servers.all) servers.start(server);
  const first = await servers.leader();
  await servers.until("one cluster", async () => {
    const ids = await Promise.all(servers.all.map((server) => servers.clusterId(server)));
    return new Set(ids).size === 1 && ids[0] !== undefined && ids[0] !== "";
  });

  const victim = servers.all.find((server) => server !== first)!;
  await victim.lives.at(-1)!.kill("SIGKILL");
  await servers.until("it is missed", async () => (await servers.status(first, victim)) === "failed");
  assert.equal((await servers.get<string[]>(first, "status/peers"))?.length, 3);
  servers.start(victim);
  await servers.until("it is back", async () => (await servers.status(first, victim)) === "alive");

  const leader = await servers.leader();
  const { code } = await leader.lives.at(-1)!.kill("SIGINT");
  assert.equal(code, 0, leader.lives.at(-1)!.output);
  const others = servers.all.filter((server) => server !== leader);
  const next = await servers.leader(others);
  await servers.until("two are left", async () => {
    const peers = (await servers.get<string[]>(next, "status/peers")) ?? [];
    return peers.length === 2 && !peers.includes(leader.rpc);
  });
  assert.equal(await servers.status(next, leader), "left");
  const members = await run(["server", "members", `-address=${next.address}`]);
  assert.match(members.output, new RegExp(`${next.name}\\.global +127\\.0\\.0\\.1 +\\d+ +alive +true`));
  assert.match(members.output, new RegExp(`${leader.name}\\.global +127\\.0\\.0\\.1 +\\d+ +left +false`));
});
