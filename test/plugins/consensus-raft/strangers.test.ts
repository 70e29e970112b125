import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { afterEach, beforeEach, describe, it } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { encodeHello, type Hello } from "../../../plugins/consensus-raft/hello.js";
import { MESSAGES_METHOD } from "../../../plugins/consensus-raft/peer-link.js";
import { encode, type Member, proposeMany, TestCluster } from "./support.js";

describe("raft between servers that don't belong together", () => {
  let cluster: TestCluster;
  beforeEach(() => {
    cluster = new TestCluster();
  });
  afterEach(() => cluster.close());

  const hello = (to: Member, changes: Partial<Hello> = {}): Hello => ({
    version: 1,
    cluster: null,
    region: "global",
    id: "stranger",
    address: "10.0.0.99:4647",
    incarnation: "1",
    to: to.consensus.id,
    ...changes,
  });
  const greet = (to: Member, changes: Partial<Hello>) =>
    cluster.network
      .join("10.0.0.99:4647")
      .stream(to.address, MESSAGES_METHOD, encodeHello(hello(to, changes)), { deadline: 1000 });

  it("refuses a greeting of another version, region, cluster or destination, and says why on both sides", async () => {
    const [first] = await cluster.begin(1);
    const cases: [Partial<Hello>, RegExp][] = [
      [{ version: 2 }, /of version 2, and of version 1 here/],
      [{ region: "europe" }, /is of region "europe", and this server of "global"/],
      [{ cluster: "another" }, /belongs to cluster another, and server .* to /],
      [{ to: "somebody" }, /looks for server somebody here/],
      [{ id: first!.consensus.id }, /has the id of this server/],
    ];
    for (const [changes, expected] of cases) {
      await assert.rejects(greet(first!, changes), (error: Error & { code: string }) => {
        assert.equal(error.code, "ERR_RPC_REFUSED");
        assert.match(error.message, expected);
        return true;
      });
      assert.ok(first!.log.has(expected), String(expected));
    }
    const network = cluster.network.join("10.0.0.99:4647");
    for (const nonsense of [new Uint8Array(0), new Uint8Array([0xc1]), encode("text")]) {
      await assert.rejects(network.stream(first!.address, MESSAGES_METHOD, nonsense, { deadline: 1000 }), {
        code: "ERR_RPC_REFUSED",
      });
    }
  });

  it("keeps a server of another cluster out, which keeps its own state", async () => {
    const [first] = await cluster.begin(1);
    await proposeMany(first!, "first", 5);
    const other = new TestCluster();
    try {
      // Both on one network, as when an address list names the wrong servers.
      Object.assign(other, { network: cluster.network });
      const second = await other.start(2);
      await second.consensus.membership.bootstrap([{ id: second.consensus.id, address: second.address }]);
      await other.leader();
      await proposeMany(second, "second", 5);
      const change = first!.consensus.membership.addNonvoter(second.consensus.id, second.address);
      await change;
      await eventually("the refusal in both logs", () =>
        [first!, second].every(({ log }) => log.has(/belongs to cluster .*, and server .* to /)),
      );
      assert.equal(second.consensus.isLeader(), true);
      assert.deepEqual(second.machine.commands, ["second0", "second1", "second2", "second3", "second4"]);
      assert.deepEqual(second.consensus.peers().length, 1);
    } finally {
      await other.close();
    }
  });

  it("refuses a second server under an id that is connected, in both logs, and the cluster goes on", async () => {
    const members = await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    const original = cluster.followers(leader)[0]!;
    const number = members.indexOf(original) + 1;
    // A copy of the data folder under another address, as of a cloned machine.
    await cp(await cluster.folder(number), await cluster.folder(9), { recursive: true });
    const clone = await cluster.start(9);
    cluster.running.delete(9);
    try {
      assert.equal(clone.consensus.id, original.consensus.id);
      const expected = new RegExp(
        `server ${original.consensus.id} at 10.0.0.9:4647 is connected already, from ${original.address}`,
      );
      await eventually("the refusal in both logs", () => leader.log.has(expected) && clone.log.has(expected));
      const commands = await proposeMany(leader, "c", 20);
      for (const member of members) await cluster.applied(member, commands);
      assert.deepEqual(clone.machine.commands, []);
      assert.equal(
        leader.consensus.peers().find(({ id }) => id === original.consensus.id)?.address,
        original.address,
      );
    } finally {
      await clone.consensus.stop();
    }
  });

  it("notes the address of a server that comes back at another one, of a leader too", async () => {
    const members = await cluster.begin(1, 2, 3);
    const leader = await cluster.leader();
    const moved = cluster.followers(leader)[0]!;
    const number = members.indexOf(moved) + 1;
    await cluster.stop(moved);
    const back = await cluster.start(number, { address: "10.0.1.1:4647", machine: moved.machine });
    const addressOf = (id: string) => leader.consensus.peers().find((peer) => peer.id === id)?.address;
    await eventually(
      "the new address in the configuration",
      () => addressOf(back.consensus.id) === back.address,
    );
    const commands = await proposeMany(leader, "c", 20);
    await cluster.applied(back, commands);
    assert.equal(leader.consensus.peers().find(({ id }) => id === back.consensus.id)?.voter, true);
    // A cluster of one, which finds out by itself.
    const alone = new TestCluster();
    try {
      const [only] = await alone.begin(1);
      await alone.stop(only!);
      const again = await alone.start(1, { address: "10.0.1.2:4647" });
      await alone.leader();
      await eventually("its own address", () => again.log.has(/a server has another address.*10\.0\.1\.2/));
      await again.consensus.barrier();
      await alone.stop(again);
      const third = await alone.start(1, { address: "10.0.1.2:4647" });
      await alone.leader();
      assert.equal(third.log.has(/a server has another address/), false);
    } finally {
      await alone.close();
    }
  });

  it("drops a broken message and the stream it came on, and goes on", async () => {
    const [first] = await cluster.begin(1);
    const stream = await greet(first!, {});
    stream.on("error", () => undefined);
    stream.resume();
    stream.write(Buffer.from([3, 0, 0, 0, 0xc1, 0xc1, 0xc1]));
    await eventually("the complaint", () => first!.log.has(/a stream of raft messages broke.*stranger/));
    await eventually("the end of the stream", () => stream.destroyed);
    await proposeMany(first!, "c", 5);
  });
});
