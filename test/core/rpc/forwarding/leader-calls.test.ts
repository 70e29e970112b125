import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { EndpointError, NotLeaderError, RemoteError, RpcError, type ServerNetwork } from "@drover/plugin-sdk";
import {
  eventually,
  MemoryNetwork,
  quietLogger,
  quietMetrics,
  RecordingMachine,
} from "@drover/plugin-sdk/testing";
import { z } from "zod";
import { Hold, type HoldLimits } from "../../../../core/rpc/forwarding/hold.js";
import { LeaderCalls } from "../../../../core/rpc/forwarding/leader-calls.js";
import { TermBarrier } from "../../../../core/rpc/forwarding/term-barrier.js";
import { type Replica, ReplicaGroup } from "./replica-group.js";

type Work = (text: string) => Promise<unknown>;

interface Caller {
  readonly replica: Replica;
  readonly network: ServerNetwork;
  readonly hold: Hold;
  readonly calls: LeaderCalls;
  /** What this server does when it leads. */
  work: Work;
  call: Work;
  /** How often it did. */
  done: string[];
}

describe("a call that only the leader may do", () => {
  let network: MemoryNetwork;
  let group: ReplicaGroup;

  beforeEach(() => {
    network = new MemoryNetwork();
    group = new ReplicaGroup();
  });

  async function server(address: string, limits: Partial<HoldLimits> = {}): Promise<Caller> {
    const replica = group.join(address);
    await replica.start(new RecordingMachine());
    const hold = new Hold({ timeout: 300, waiting: 100, ...limits });
    const own = network.join(address);
    const calls = new LeaderCalls({
      consensus: replica,
      barrier: new TermBarrier(replica),
      network: own,
      hold,
      log: quietLogger,
      metrics: quietMetrics,
    });
    const made: Caller = {
      replica,
      network: own,
      hold,
      calls,
      work: async (text) => ({ text, by: address }),
      call: undefined as unknown as Work,
      done: [],
    };
    made.call = calls.define("Test.Work", z.tuple([z.string()]), (text) => {
      made.done.push(text);
      return made.work(text);
    });
    return made;
  }

  it("is done on the leader, whichever server it is made on", async () => {
    const [a, b, c] = [await server("a"), await server("b"), await server("c")];
    group.elect(b.replica);
    for (const caller of [a, b, c]) assert.deepEqual(await caller.call("x"), { text: "x", by: "b" });
    assert.deepEqual([a.done.length, b.done.length, c.done.length], [0, 3, 0]);
  });

  it("fails as the leader's work failed, with class, status and text", async () => {
    const [a, b] = [await server("a"), await server("b")];
    group.elect(b.replica);
    b.work = async () => {
      throw new EndpointError(404, "node not found");
    };
    await assert.rejects(a.call("x"), (error: unknown) => {
      assert.ok(error instanceof EndpointError);
      assert.deepEqual([error.status, error.message], [404, "node not found"]);
      return true;
    });
    b.work = async () => {
      throw new RemoteError("enroll_refused", "join token is unknown");
    };
    await assert.rejects(a.call("x"), { name: "RemoteError", code: "enroll_refused" });
    b.work = async () => {
      throw new TypeError("something is not a function");
    };
    await assert.rejects(a.call("x"), { status: 500, message: "something is not a function" });
    assert.equal(b.done.length, 3);
  });

  it("waits for a leader, and is done once there is one", async () => {
    const [a, b] = [await server("a", { timeout: 10_000 }), await server("b")];
    const answer = a.call("x");
    await new Promise((resolve) => setImmediate(resolve));
    group.elect(b.replica);
    assert.deepEqual(await answer, { text: "x", by: "b" });
  });

  it("is refused when no leader is found in time", async () => {
    const [a] = [await server("a"), await server("b")];
    await assert.rejects(a.call("x"), { name: "EndpointError", status: 500, message: "No cluster leader" });
  });

  it("is tried again where the leader can't be reached or is busy: nothing was done there", async () => {
    const [a, b] = [await server("a", { timeout: 10_000 }), await server("b")];
    group.elect(b.replica);
    network.cut("a", "b");
    const first = a.call("x");
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(b.done, []);
    network.mend();
    assert.deepEqual(await first, { text: "x", by: "b" });
    let busy = 2;
    const call = a.network.call.bind(a.network);
    a.network.call = async (...request) => {
      if (busy-- > 0) throw new RpcError("ERR_RPC_BUSY", "queues are full");
      return call(...request);
    };
    assert.deepEqual(await a.call("y"), { text: "y", by: "b" });
    assert.deepEqual(b.done, ["x", "y"]);
  });

  it("goes to the leader that a server names which leads no more", async () => {
    const [a, b, c] = [await server("a", { timeout: 10_000 }), await server("b"), await server("c")];
    group.elect(b.replica);
    // What `a` believes is old for as long as it asks.
    const old = a.replica.leader()!;
    let asked = 0;
    a.replica.leader = () => (asked++ === 0 ? old : c.replica.leader());
    group.elect(c.replica);
    assert.deepEqual(await a.call("x"), { text: "x", by: "c" });
    assert.deepEqual([b.done.length, c.done.length], [0, 1]);
  });

  it("is not tried again when the link breaks on the way: what became of it is not known", async () => {
    const [a, b] = [await server("a", { timeout: 10_000 }), await server("b")];
    group.elect(b.replica);
    b.work = () => new Promise(() => undefined);
    const answer = assert.rejects(a.call("x"), {
      name: "EndpointError",
      status: 500,
      message: /^Test\.Work: the leader was lost before it answered .*may have been carried out/,
    });
    await eventually("the work began", () => b.done.length === 1);
    network.cut("a", "b");
    await answer;
    network.mend();
    assert.deepEqual(b.done, ["x"]);
  });

  it("is not tried again when the leader lost its leadership with the command in its log", async () => {
    const [a, b] = [await server("a", { timeout: 10_000 }), await server("b")];
    group.elect(b.replica);
    b.work = async () => {
      throw Object.assign(new Error("leadership was lost"), { code: "ERR_OUTCOME_UNKNOWN" });
    };
    await assert.rejects(a.call("x"), /may have been carried out/);
    await assert.rejects(b.call("x"), /may have been carried out/);
    assert.deepEqual(b.done, ["x", "x"]);
  });

  it("is tried again when the leader turns out to lead no more before it wrote anything", async () => {
    const [a, b] = [await server("a", { timeout: 10_000 }), await server("b")];
    group.elect(b.replica);
    b.work = async () => {
      group.elect(a.replica);
      throw new NotLeaderError(undefined);
    };
    assert.deepEqual(await b.call("x"), { text: "x", by: "a" });
  });

  it("waits on a new leader until everything acknowledged before is applied there", async () => {
    const [a, b] = [await server("a", { timeout: 10_000 }), await server("b", { timeout: 10_000 })];
    b.replica.hold();
    group.elect(b.replica);
    const answers = [a.call("x"), b.call("y")];
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(b.done, []);
    b.replica.release();
    await Promise.all(answers);
    assert.deepEqual(b.done.sort(), ["x", "y"]);
  });

  it("refuses arguments of another shape", async () => {
    const [a, b] = [await server("a"), await server("b")];
    group.elect(b.replica);
    await assert.rejects(a.call(7 as unknown as string), {
      name: "EndpointError",
      status: 400,
      message: /Test\.Work/,
    });
    const garbage = Uint8Array.of(0x93, 0x01);
    await assert.rejects(
      a.network.call("b", "Test.Work", garbage, { deadline: 1_000 }),
      /not readable as MessagePack/,
    );
    assert.deepEqual(b.done, []);
  });

  it("bounds how many wait for a leader", async () => {
    const a = await server("a", { waiting: 5 });
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => a.call("x")));
    const statuses = outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason.status as number);
    assert.deepEqual(statuses.sort(), [429, 429, 429, 500, 500, 500, 500, 500]);
  });

  it("answers at once when the server stops while it waits", async () => {
    const a = await server("a", { timeout: 600_000 });
    const answer = assert.rejects(a.call("x"), /No cluster leader/);
    await new Promise((resolve) => setImmediate(resolve));
    a.hold.stop();
    await answer;
  });
});
