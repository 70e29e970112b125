import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { PaperConsensus } from "./paper-cluster.js";
import { gossips } from "./paper-gossip.js";
import { addressOf, idOf, PaperServers, peersOf } from "./paper-servers.js";

test("a server that joins is added without a vote, gets it when it is stable, and keeps it when it moves", async (t) => {
  const servers = new PaperServers(t);
  const leader = await servers.start({ number: 1, expect: 1 });
  const { operator } = leader.server.endpoints;
  await operator.setAutopilotConfiguration({ ServerStabilizationTime: "10m" });
  const second = await servers.start({ number: 2, expect: 0, retryJoin: [1] });
  await eventually("it is added", () => peersOf(leader).join() === "1,2?");
  assert.equal(second.server.endpoints.status.leader(), addressOf(1));
  await operator.setAutopilotConfiguration({ ServerStabilizationTime: "30ms" });
  await eventually("it has its vote", () => peersOf(leader).join() === "1,2");

  await second.server.stop();
  servers.network.leave(addressOf(2));
  const moved = new PaperConsensus(servers.world, idOf(2), addressOf(12));
  await servers.start({ number: 12, name: "server-2", expect: 0, retryJoin: [1], consensus: moved });
  await eventually("its new address", () => leader.consensus.peers()[1]?.address === addressOf(12));
  assert.equal(peersOf(leader).join(), "1,2");
});

test("a server of another cluster is refused, and both logs say what to do", async (t) => {
  const servers = new PaperServers(t);
  const leader = await servers.start({ number: 1, expect: 1 });
  const other = await servers.start({ number: 2, expect: 1, retryJoin: [1] });
  const cluster = (bench: typeof leader) => bench.server.endpoints.status.stats().nomad?.cluster_id;
  const text = `server-2.global belongs to cluster ${cluster(other)}, and this is cluster ${cluster(leader)}`;
  await eventually("the leader's log", () =>
    servers.logged("error", new RegExp(`a server is refused: ${text}`)),
  );
  await eventually("its own log", () =>
    servers.logged("error", new RegExp(`the cluster does not take this server in: ${text}: to take it in`)),
  );
  assert.deepEqual(peersOf(leader), ["1"]);
  assert.deepEqual(peersOf(other), ["2"]);
});

test("a copy of a server's id is refused while the server is alive", async (t) => {
  const servers = new PaperServers(t);
  const leader = await servers.start({ number: 1, expect: 1 });
  await servers.start({ number: 2, expect: 0, retryJoin: [1] });
  await eventually("it is added", () => peersOf(leader).length === 2);
  await servers.start({ number: 3, idOf: 2, expect: 0, retryJoin: [1] });
  await eventually("the log", () =>
    servers.logged("warn", new RegExp(`server id ${idOf(2)} is in use by server-2`)),
  );
  assert.deepEqual(
    leader.consensus.peers().map(({ address }) => address),
    [addressOf(1), addressOf(2)],
  );
});

test("a gossip plugin's members are taken in the same way, and a copied id is refused by the leader itself", async (t) => {
  const servers = new PaperServers(t);
  const hub = gossips();
  const leader = await servers.start({ number: 1, expect: 1, gossip: hub.join() });
  await servers.start({ number: 2, expect: 0, gossip: hub.join() });
  await eventually("it is added", () => peersOf(leader).join().startsWith("1,2"));
  await servers.start({ number: 3, idOf: 2, expect: 0, gossip: hub.join() });
  await eventually("both logs", () =>
    ["a server is refused: ", "the cluster does not take this server in: "].every((head) =>
      servers.logged(
        "error",
        new RegExp(`${head}server id ${idOf(2)} is in use by the server at ${addressOf(2)}`),
      ),
    ),
  );
  assert.equal(leader.consensus.peers()[1]?.address, addressOf(2));
});

test("a server that was declared left is removed; one that failed is not", async (t) => {
  const servers = new PaperServers(t);
  const all = await servers.startAll([1, 2, 3]);
  const [leader] = all as [(typeof all)[0]];
  await eventually("a leader", () => leader.consensus.isLeader());
  await all[2]!.server.stop();
  servers.network.leave(addressOf(3));
  const { status } = leader.server.endpoints;
  await eventually("it failed", () =>
    status.members().some(({ Name, Status }) => Name === "server-3.global" && Status === "failed"),
  );
  assert.deepEqual(peersOf(leader), ["1", "2", "3"]);
  await status.forceLeave("server-3");
  await eventually("it is removed", () => peersOf(leader).join() === "1,2");
});

test("a leader that lost its leadership changes nothing any more", async (t) => {
  const servers = new PaperServers(t);
  const leader = await servers.start({ number: 1, expect: 1 });
  leader.consensus.stepDown();
  const second = await servers.start({ number: 2, expect: 0, retryJoin: [1] });
  await eventually("they know each other", () => second.server.endpoints.status.members().length === 2);
  await second.server.endpoints.status.join([addressOf(1)]);
  assert.deepEqual(peersOf(leader), ["1"]);
  leader.consensus.lead();
  await eventually("the new leader does", () => peersOf(leader).length === 2);
});
