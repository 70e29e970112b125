import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { RecordingMachine } from "@drover/plugin-sdk/testing";
import { Consistency } from "../../../../core/rpc/forwarding/consistency.js";
import { Hold } from "../../../../core/rpc/forwarding/hold.js";
import { TermBarrier } from "../../../../core/rpc/forwarding/term-barrier.js";
import { type Replica, ReplicaGroup } from "./replica-group.js";

const command = Buffer.from("x");

async function server(group: ReplicaGroup, timeout: number) {
  const replica: Replica = group.join(`address-${group.replicas.length}`);
  await replica.start(new RecordingMachine());
  return {
    replica,
    reads: new Consistency(replica, new TermBarrier(replica), new Hold({ timeout, waiting: 10 })),
  };
}

const settled = async (promise: Promise<void>): Promise<boolean> => {
  let isSettled = false;
  void promise.then(() => {
    isSettled = true;
  });
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  return isSettled;
};

describe("reads that are not stale", () => {
  it("see on a follower everything that was acknowledged before them", async () => {
    const group = new ReplicaGroup();
    const [a, b] = [await server(group, 60_000), await server(group, 60_000)];
    group.elect(a.replica);
    b.replica.hold();
    const { index } = await a.replica.propose(command);
    const reading = b.reads.catchUp(false);
    assert.equal(await settled(reading), false);
    b.replica.release();
    await reading;
    assert.ok(b.replica.applied >= index);
  });

  it("are made at once on a leader, but not before it knows what earlier leaders acknowledged", async () => {
    const group = new ReplicaGroup();
    const [a, b] = [await server(group, 60_000), await server(group, 60_000)];
    group.elect(a.replica);
    await a.replica.propose(command);
    b.replica.hold();
    group.elect(b.replica);
    const first = b.reads.catchUp(false);
    assert.equal(await settled(first), false);
    b.replica.release();
    await first;
  });

  it("have the leader confirm its leadership where that is asked for", async () => {
    const group = new ReplicaGroup();
    const { replica, reads } = await server(group, 60_000);
    let barriers = 0;
    const barrier = replica.barrier.bind(replica);
    replica.barrier = () => {
      barriers++;
      return barrier();
    };
    group.elect(replica);
    const gate = new TermBarrier(replica);
    await gate.pass();
    const confirmed = new Consistency(replica, gate, new Hold());
    barriers = 0;
    await confirmed.catchUp(false);
    assert.equal(barriers, 0);
    await confirmed.catchUp(true);
    assert.equal(barriers, 1);
    assert.equal(reads.lastContact(), 0);
  });

  it("are refused when there is no leader for too long, also when one is lost in the middle", async () => {
    const group = new ReplicaGroup();
    const [a, b] = [await server(group, 50), await server(group, 50)];
    const refusal = { name: "EndpointError", status: 500, message: "No cluster leader" };
    await assert.rejects(b.reads.catchUp(false), refusal);
    group.elect(a.replica);
    b.replica.hold();
    await assert.rejects(b.reads.catchUp(true), refusal);
  });

  it("say how long ago the leader was heard of", async () => {
    const group = new ReplicaGroup();
    const [a, b] = [await server(group, 50), await server(group, 50)];
    assert.equal(b.reads.lastContact(), null);
    group.elect(a.replica);
    assert.deepEqual([a.reads.lastContact(), b.reads.lastContact()], [0, 7]);
  });
});
