import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { addressOf, PaperServers, seen } from "./paper-servers.js";

const join = (extra: object) => ({
  server_join: { start_join: [], retry_join: [], retry_max: 0, retry_interval: 20, ...extra },
});

test("a server retries until another one answers, and says why it does", async (t) => {
  const servers = new PaperServers(t);
  const first = await servers.start({ number: 1, retryJoin: [1, 2] });
  await eventually("it says so", () =>
    servers.logged("warn", /10.0.0.2:4647 could not be joined: 10.0.0.2:4647: no connection/),
  );
  await servers.start({ number: 2, retryJoin: [] });
  await eventually("it joined", () => seen(first).join() === "server-1.global alive,server-2.global alive");
});

test("start_join fails the start where nobody answers, and joins where somebody does", async (t) => {
  const servers = new PaperServers(t);
  await assert.rejects(
    servers.start({ number: 1, server: join({ start_join: [addressOf(9)] }) }),
    /none of the servers of start_join could be joined: 10.0.0.9:4647 could not be joined.*; use retry_join where servers start together/,
  );
  await servers.start({ number: 2 });
  const third = await servers.start({
    number: 3,
    server: join({ start_join: [addressOf(9), addressOf(2)] }),
  });
  assert.deepEqual(seen(third), ["server-2.global alive", "server-3.global alive"]);
});

test("after retry_max tries the agent ends", async (t) => {
  const servers = new PaperServers(t);
  const failures: string[] = [];
  await servers.start({
    number: 1,
    server: join({ retry_join: [addressOf(9)], retry_max: 2 }),
    fatal: (error) => void failures.push(error.message),
  });
  await eventually("it ends", () => failures.length > 0);
  assert.match(failures[0]!, /^max join retry exhausted after 2 tries: 10.0.0.9:4647 could not be joined/);
  assert.equal(failures.length, 1);
});

test("plugins are asked who is there, and one that fails keeps no other from being heard", async (t) => {
  const servers = new PaperServers(t);
  await servers.start({ number: 1 });
  const asked = { times: 0 };
  const second = await servers.start({
    number: 2,
    discoveries: [
      { name: "broken", discover: () => Promise.reject(new Error("no catalog")) },
      { name: "late", discover: async () => (asked.times++ === 0 ? [] : [addressOf(1)]) },
    ],
  });
  await eventually("it joined", () => seen(second).length === 2);
  assert.ok(asked.times >= 2);
  assert.ok(servers.logged("warn", /servers could not be discovered .*"broken","error":"no catalog"/));
});

test("a server that was in a cluster finds it again without any configured address", async (t) => {
  const servers = new PaperServers(t);
  const all = await servers.startAll([1, 2, 3]);
  await eventually("a cluster", () => all[2]!.consensus.peers().length === 3);
  const { consensus } = all[2]!;
  await all[2]!.server.stop();
  servers.world.servers.add(consensus);
  const again = await servers.start({ number: 3, consensus, retryJoin: [] });
  await eventually("it knows them", () => seen(again).filter((line) => line.endsWith(" alive")).length === 3);
});
