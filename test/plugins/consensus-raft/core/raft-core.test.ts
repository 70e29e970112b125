import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encodeConfiguration } from "../../../../plugins/consensus-raft/core/configuration.js";
import { RaftCore, type RaftState } from "../../../../plugins/consensus-raft/core/raft-core.js";
import { encodeRestore } from "../../../../plugins/consensus-raft/core/restore.js";
import type { Effects, Entry, Message, MessageBody } from "../../../../plugins/consensus-raft/core/types.js";

const servers = (...ids: string[]) => ({
  servers: ids.map((id) => ({ id, address: `${id}:4647`, voter: true })),
});
const encodeText = (text: string): Uint8Array => new TextEncoder().encode(text);
const command = (index: number, term: number): Entry => ({
  index,
  term,
  kind: "command",
  data: new Uint8Array([index]),
});

/** Core `a` of the cluster a, b, c (unless said otherwise) with the given terms as its log. */
function core(terms: readonly number[], state: Partial<RaftState> = {}, random = () => 0): RaftCore {
  return new RaftCore(
    {
      id: "a",
      electionTicks: 10,
      heartbeatTicks: 1,
      maxAppendBytes: 1000,
      maxInflightAppends: 10,
      maxInflightBytes: 1000,
      maxApplyBytes: 1000,
      random,
    },
    {
      hardState: { term: terms.at(-1) ?? 0, vote: null, commit: 0 },
      base: { index: 0, term: 0, configuration: servers("a", "b", "c") },
      entries: terms.map((term, position) => command(position + 1, term)),
      snapshot: null,
      applied: 0,
      ...state,
    },
  );
}

/** Does what the shell would: persists, and gives everything that was sent. */
function flush(raft: RaftCore): { sent: Message[]; effects: Effects[] } {
  const sent: Message[] = [];
  const effects: Effects[] = [];
  while (raft.hasEffects) {
    const taken = raft.takeEffects();
    effects.push(taken);
    sent.push(...taken.messages);
    raft.persisted();
    sent.push(...taken.messagesAfterPersist);
  }
  return { sent, effects };
}

const from = (id: string, term: number, body: MessageBody): Message => ({ ...body, from: id, to: "a", term });

/** Makes `a` the leader of `term`, by votes of `b`. */
function elect(raft: RaftCore): number {
  raft.campaign();
  flush(raft);
  raft.step(from("b", raft.term + 1, { type: "vote-response", pre: true, granted: true }));
  flush(raft);
  raft.step(from("b", raft.term, { type: "vote-response", pre: false, granted: true }));
  assert.equal(raft.role, "leader");
  return raft.term;
}

describe("RaftCore", () => {
  it("does not commit an entry of an earlier term by counting servers (figure 8 of the paper)", () => {
    const raft = core([1, 2]);
    const term = elect(raft);
    flush(raft);
    raft.step(from("b", term, { type: "append-accepted", match: 2 }));
    assert.equal(raft.commit, 0);
    raft.step(from("b", term, { type: "append-accepted", match: 3 }));
    assert.equal(raft.commit, 3);
  });

  it("answers a vote request only after the vote is durable, and votes once a term", () => {
    const raft = core([1]);
    raft.step(from("b", 2, { type: "vote-request", pre: false, transfer: false, lastIndex: 1, lastTerm: 1 }));
    const effects = raft.takeEffects();
    assert.deepEqual(effects.messages, []);
    assert.deepEqual(effects.hardState, { term: 2, vote: "b", commit: 0 });
    assert.equal(effects.hardStateMustSync, true);
    assert.equal(effects.messagesAfterPersist.length, 1);
    raft.persisted();
    raft.step(from("c", 2, { type: "vote-request", pre: false, transfer: false, lastIndex: 9, lastTerm: 1 }));
    const [answer] = flush(raft).sent;
    assert.ok(answer?.type === "vote-response" && !answer.granted && answer.to === "c");
  });

  it("refuses its vote to a server with an older log", () => {
    const raft = core([1, 2]);
    raft.step(from("b", 3, { type: "vote-request", pre: false, transfer: false, lastIndex: 5, lastTerm: 1 }));
    const [answer] = flush(raft).sent;
    assert.ok(answer?.type === "vote-response" && !answer.granted);
  });

  it("counts its own vote and its own log only once they are durable", () => {
    const raft = core([], { base: { index: 0, term: 0, configuration: servers("a") } });
    raft.campaign();
    assert.equal(raft.role, "candidate");
    raft.takeEffects();
    raft.persisted();
    assert.equal(raft.role, "leader");
    raft.takeEffects();
    assert.equal(raft.commit, 0);
    raft.persisted();
    assert.equal(raft.commit, 1);
  });

  it("does not raise its term while it is cut off, and does not listen to others while it has a leader", () => {
    const raft = core([1]);
    for (let tick = 0; tick < 100; tick++) raft.tick();
    assert.equal(raft.term, 1);
    flush(raft);
    raft.step(from("b", 1, { type: "heartbeat", commit: 0, round: 0 }));
    flush(raft);
    raft.step(from("c", 7, { type: "vote-request", pre: false, transfer: false, lastIndex: 9, lastTerm: 6 }));
    assert.equal(raft.term, 1);
    assert.deepEqual(flush(raft).sent, []);
  });

  it("steps down when a majority has not been heard from for an election timeout", () => {
    const raft = core([]);
    elect(raft);
    flush(raft);
    for (let tick = 0; tick < 21; tick++) raft.tick();
    assert.equal(raft.role, "follower");
    assert.equal(raft.leader, null);
  });

  it("answers a read only after a majority confirmed its leadership since", () => {
    const raft = core([]);
    const term = elect(raft);
    flush(raft);
    raft.step(from("b", term, { type: "append-accepted", match: 1 }));
    flush(raft);
    raft.readIndex(5);
    const asked = flush(raft);
    const round = asked.sent.find((message) => message.type === "heartbeat")?.round;
    assert.equal(asked.effects.flatMap(({ reads }) => reads).length, 0);
    raft.step(from("b", term, { type: "heartbeat-response", round: round! - 1 }));
    assert.equal(flush(raft).effects.flatMap(({ reads }) => reads).length, 0);
    raft.step(from("b", term, { type: "heartbeat-response", round: round! }));
    assert.deepEqual(
      flush(raft).effects.flatMap(({ reads }) => reads),
      [{ context: 5, index: 1 }],
    );
  });

  it("does not take the answer to a read of its earlier life, and gives up one that is not answered", () => {
    const ask = (random: number) => {
      const raft = core([1], {}, () => random);
      raft.step(from("b", 1, { type: "heartbeat", commit: 0, round: 0 }));
      raft.readIndex(5);
      const asked = flush(raft).sent.find((message) => message.type === "read-request");
      assert.ok(asked?.type === "read-request");
      return { raft, number: asked.context };
    };
    const before = ask(0.25);
    const { raft, number } = ask(0.75);
    raft.step(from("b", 1, { type: "read-response", context: before.number, index: 0 }));
    assert.deepEqual(
      flush(raft).effects.flatMap(({ reads }) => reads),
      [],
    );
    raft.step(from("b", 1, { type: "read-response", context: number, index: 1 }));
    assert.deepEqual(
      flush(raft).effects.flatMap(({ reads }) => reads),
      [{ context: 5, index: 1 }],
    );
    for (let tick = 0; tick < 10; tick++) before.raft.tick();
    assert.deepEqual(
      flush(before.raft).effects.flatMap(({ reads }) => reads),
      [{ context: 5, index: null }],
    );
  });

  it("fails its reads when it loses leadership", () => {
    const raft = core([]);
    const term = elect(raft);
    raft.readIndex(5);
    raft.step(from("b", term + 1, { type: "append", prevIndex: 0, prevTerm: 0, entries: [], commit: 0 }));
    assert.deepEqual(
      flush(raft).effects.flatMap(({ reads }) => reads),
      [{ context: 5, index: null }],
    );
  });

  it("names the first entry of the term in the way, and jumps back over it as leader", () => {
    const follower = core([1, 2, 2, 2]);
    follower.step(from("b", 3, { type: "append", prevIndex: 4, prevTerm: 3, entries: [], commit: 0 }));
    const [rejected] = flush(follower).sent;
    assert.ok(rejected?.type === "append-rejected");
    assert.deepEqual([rejected.conflictTerm, rejected.conflictIndex], [2, 2]);

    const leader = core([1, 3, 3, 3]);
    const term = elect(leader);
    flush(leader);
    leader.step(
      from("b", term, { type: "append-rejected", prevIndex: 4, conflictTerm: 2, conflictIndex: 2 }),
    );
    const [again] = flush(leader).sent;
    assert.ok(again?.type === "append");
    assert.deepEqual([again.prevIndex, again.prevTerm], [1, 1]);
  });

  it("goes back to the earlier configuration when the entry that changed it is replaced", () => {
    const raft = core([1]);
    const changed: Entry = {
      index: 2,
      term: 1,
      kind: "configuration",
      data: encodeConfiguration(servers("a", "b")),
    };
    raft.step(from("b", 1, { type: "append", prevIndex: 1, prevTerm: 1, entries: [changed], commit: 0 }));
    assert.equal(raft.configuration.servers.length, 2);
    raft.step(
      from("c", 2, { type: "append", prevIndex: 1, prevTerm: 1, entries: [command(2, 2)], commit: 0 }),
    );
    assert.equal(raft.configuration.servers.length, 3);
  });

  it("changes one server at a time, and not before it has committed in its term", () => {
    const raft = core([1]);
    const term = elect(raft);
    flush(raft);
    const add = { type: "add", server: { id: "d", address: "d:4647", voter: false } } as const;
    assert.deepEqual(raft.proposeConfiguration(add), { refused: "term-not-committed" });
    raft.step(from("b", term, { type: "append-accepted", match: 2 }));
    assert.deepEqual(raft.proposeConfiguration(add), { index: 3, term });
    assert.deepEqual(raft.proposeConfiguration({ type: "remove", id: "b" }), { refused: "change-pending" });
    assert.deepEqual(raft.propose([new Uint8Array(1)]), { index: 4, term });
  });

  it("gives the disk a commit index only for entries that it had before", () => {
    const raft = core([1]);
    const entries = [command(2, 1)];
    raft.step(from("b", 1, { type: "append", prevIndex: 1, prevTerm: 1, entries, commit: 2 }));
    assert.equal(raft.takeEffects().hardState?.commit, 1);
    raft.persisted();
    assert.equal(raft.takeEffects().hardState?.commit, 2);
  });

  it("never takes a committed entry back", () => {
    const raft = core([1, 1], { hardState: { term: 1, vote: null, commit: 2 } });
    raft.step(
      from("b", 2, { type: "append", prevIndex: 0, prevTerm: 0, entries: [command(1, 2)], commit: 0 }),
    );
    assert.equal(raft.entryTerm(1), 1);
  });

  it("sends a snapshot to a server that needs compacted entries, and appends after it", () => {
    const snapshot = { index: 5, term: 1, configuration: servers("a", "b", "c") };
    const raft = core([], {
      hardState: { term: 1, vote: null, commit: 5 },
      base: snapshot,
      snapshot,
      applied: 5,
    });
    const term = elect(raft);
    flush(raft);
    raft.step(from("b", term, { type: "append-rejected", prevIndex: 5, conflictTerm: 0, conflictIndex: 1 }));
    const [install] = flush(raft).sent;
    assert.ok(install?.type === "install-snapshot" && install.snapshot.index === 5);
    raft.step(from("b", term, { type: "append-accepted", match: 5 }));
    const append = flush(raft).sent.find((message) => message.to === "b");
    assert.ok(append?.type === "append" && append.prevIndex === 5 && append.entries.length === 1);
  });

  describe("transfer of leadership", () => {
    /** Leader `a` of a, b, c with everything committed. */
    function leading(): { raft: RaftCore; term: number } {
      const raft = core([1]);
      const term = elect(raft);
      flush(raft);
      for (const id of ["b", "c"]) raft.step(from(id, term, { type: "append-accepted", match: 2 }));
      flush(raft);
      return { raft, term };
    }

    it("tells the target to stand once its log is whole, and takes no proposals meanwhile", () => {
      const { raft, term } = leading();
      raft.propose([new Uint8Array(1)]);
      flush(raft);
      assert.deepEqual(raft.transferLeadership("b"), { to: "b" });
      assert.deepEqual(raft.propose([new Uint8Array(1)]), { refused: "transferring" });
      assert.deepEqual(raft.transferLeadership("c"), { refused: "transferring" });
      assert.deepEqual(
        flush(raft).sent.filter(({ type }) => type === "timeout-now"),
        [],
      );
      raft.step(from("b", term, { type: "append-accepted", match: 3 }));
      const word = flush(raft).sent.find(({ type }) => type === "timeout-now");
      assert.equal(word?.to, "b");
    });

    it("gives up after an election timeout, says so, and takes proposals again", () => {
      const { raft, term } = leading();
      raft.transferLeadership("b");
      flush(raft);
      const aborted: (string | null)[] = [];
      for (let tick = 0; tick < 10; tick++) {
        raft.tick();
        raft.step(from("c", term, { type: "heartbeat-response", round: 0 }));
        aborted.push(...flush(raft).effects.map(({ transferAborted }) => transferAborted));
      }
      assert.deepEqual(
        aborted.filter((id) => id !== null),
        ["b"],
      );
      assert.equal(raft.transferTarget, null);
      assert.ok("index" in raft.propose([new Uint8Array(1)]));
    });

    it("chooses the voter with the longest log, and refuses servers that can't lead", () => {
      const { raft, term } = leading();
      assert.deepEqual(raft.transferLeadership("x"), { refused: "unknown-server" });
      assert.deepEqual(raft.transferLeadership("a"), { refused: "not-a-candidate" });
      raft.propose([new Uint8Array(1)]);
      flush(raft);
      raft.step(from("c", term, { type: "append-accepted", match: 3 }));
      raft.step(from("b", term, { type: "heartbeat-response", round: 0 }));
      assert.deepEqual(raft.transferLeadership(), { to: "c" });
      assert.deepEqual(core([1]).transferLeadership("b"), { refused: "not-leader" });
    });

    it("stands at once when told to, and is voted for although the leader was just heard from", () => {
      const raft = core([1]);
      raft.step(from("b", 1, { type: "heartbeat", commit: 0, round: 0 }));
      raft.step(from("b", 1, { type: "timeout-now" }));
      assert.equal(raft.role, "candidate");
      const requests = flush(raft).sent.filter((message) => message.type === "vote-request");
      assert.deepEqual(
        requests.map(({ to, term, pre, transfer }) => ({ to, term, pre, transfer })),
        ["b", "c"].map((to) => ({ to, term: 2, pre: false, transfer: true })),
      );

      const voter = core([1]);
      voter.step(from("b", 1, { type: "heartbeat", commit: 0, round: 0 }));
      flush(voter);
      const request = { type: "vote-request", pre: false, lastIndex: 1, lastTerm: 1 } as const;
      voter.step(from("c", 2, { ...request, transfer: false }));
      assert.deepEqual(flush(voter).sent, []);
      voter.step(from("c", 2, { ...request, transfer: true }));
      const [answer] = flush(voter).sent;
      assert.ok(answer?.type === "vote-response" && answer.granted);
    });
  });

  describe("membership", () => {
    const nobody = { base: { index: 0, term: 0, configuration: { servers: [] } } };

    it("begins a cluster on one empty server, durably before anybody is asked for a vote", () => {
      const raft = core([], nobody);
      assert.deepEqual(raft.bootstrap(servers("b", "c")), { refused: "not-a-voter" });
      assert.deepEqual(raft.bootstrap(servers("a", "b", "c")), { index: 1, term: 1 });
      const effects = raft.takeEffects();
      assert.equal(effects.entries[0]?.kind, "configuration");
      assert.deepEqual([...effects.messages, ...effects.messagesAfterPersist], []);
      raft.rollback();
      assert.deepEqual(raft.bootstrap(servers("a", "b", "c")), { index: 1, term: 1 });
      assert.deepEqual(
        flush(raft).sent.map(({ type, to }) => ({ type, to })),
        ["b", "c"].map((to) => ({ type: "vote-request", to })),
      );
      assert.deepEqual(raft.bootstrap(servers("a")), { refused: "not-empty" });
      assert.deepEqual(core([1]).bootstrap(servers("a")), { refused: "not-empty" });
    });

    it("never stands for election without a configuration, votes all the same, and learns of the cluster by its log", () => {
      const raft = core([], nobody);
      for (let tick = 0; tick < 100; tick++) raft.tick();
      assert.equal(raft.role, "follower");
      assert.deepEqual(flush(raft).sent, []);
      raft.step(
        from("b", 2, { type: "vote-request", pre: false, transfer: false, lastIndex: 1, lastTerm: 1 }),
      );
      const [answer] = flush(raft).sent;
      assert.ok(answer?.type === "vote-response" && answer.granted);
      const first: Entry = {
        index: 1,
        term: 1,
        kind: "configuration",
        data: encodeConfiguration(servers("a", "b", "c")),
      };
      raft.step(from("b", 2, { type: "append", prevIndex: 0, prevTerm: 0, entries: [first], commit: 0 }));
      assert.deepEqual(raft.configuration, servers("a", "b", "c"));
      assert.equal(raft.leaderContact, 0);
    });

    it("refuses an append whose configuration can't be read, and keeps log and configuration in step", () => {
      const raft = core([1]);
      const broken: Entry = { index: 2, term: 1, kind: "configuration", data: encodeText("{}") };
      assert.throws(
        () =>
          raft.step(
            from("b", 1, { type: "append", prevIndex: 1, prevTerm: 1, entries: [broken], commit: 0 }),
          ),
        TypeError,
      );
      assert.equal(raft.lastIndex, 1);
      assert.deepEqual(raft.configuration, servers("a", "b", "c"));
    });

    it("goes on sending to a removed server until that can have learnt of it, and hands over when it removes itself", () => {
      const raft = core([1]);
      const term = elect(raft);
      flush(raft);
      for (const id of ["b", "c"]) raft.step(from(id, term, { type: "append-accepted", match: 2 }));
      flush(raft);
      raft.proposeConfiguration({ type: "remove", id: "c" });
      assert.ok(flush(raft).sent.some(({ to, type }) => to === "c" && type === "append"));
      assert.deepEqual(
        raft.contacts().map(({ id }) => id),
        ["b"],
      );
      raft.step(from("b", term, { type: "append-accepted", match: 3 }));
      raft.step(from("c", term, { type: "append-accepted", match: 3 }));
      flush(raft);
      let toRemoved = 0;
      for (let tick = 0; tick < 30; tick++) {
        raft.tick();
        raft.step(from("b", term, { type: "heartbeat-response", round: 0 }));
        toRemoved += flush(raft).sent.filter(({ to }) => to === "c").length;
      }
      assert.ok(toRemoved > 0 && toRemoved <= 10, String(toRemoved));
      raft.proposeConfiguration({ type: "remove", id: "a" });
      flush(raft);
      raft.step(from("b", term, { type: "append-accepted", match: 4 }));
      assert.equal(raft.role, "follower");
      assert.ok(flush(raft).sent.some(({ to, type }) => to === "b" && type === "timeout-now"));
    });

    it("stops asking for votes once it knows of its removal", () => {
      const raft = core([1]);
      const removal: Entry = {
        index: 2,
        term: 1,
        kind: "configuration",
        data: encodeConfiguration(servers("b", "c")),
      };
      raft.step(from("b", 1, { type: "append", prevIndex: 1, prevTerm: 1, entries: [removal], commit: 2 }));
      flush(raft);
      for (let tick = 0; tick < 100; tick++) raft.tick();
      assert.equal(raft.role, "follower");
      assert.deepEqual(flush(raft).sent, []);
    });
  });

  it("tells how long ago each server was heard from and what it has", () => {
    const raft = core([1]);
    const term = elect(raft);
    flush(raft);
    raft.tick();
    raft.step(from("b", term, { type: "append-accepted", match: 2 }));
    raft.tick();
    assert.deepEqual(raft.contacts(), [
      { id: "b", ticks: 1, match: 2, matchTerm: 2 },
      { id: "c", ticks: null, match: 0, matchTerm: 0 },
    ]);
  });

  it("keeps the bytes under way to one server within bounds", () => {
    const raft = core([1]);
    const term = elect(raft);
    flush(raft);
    raft.step(from("b", term, { type: "append-accepted", match: 2 }));
    flush(raft);
    let sent = 0;
    for (let count = 0; count < 10; count++) {
      raft.propose([new Uint8Array(400)]);
      sent += flush(raft).sent.filter(({ to, type }) => to === "b" && type === "append").length;
    }
    assert.equal(sent, 3);
    raft.step(from("b", term, { type: "append-accepted", match: 3 }));
    const [more] = flush(raft).sent.filter(({ to }) => to === "b");
    assert.ok(more?.type === "append" && more.prevIndex === 5);
  });

  describe("snapshots from the leader", () => {
    const snapshot = { index: 5, term: 1, configuration: servers("a", "b", "c", "d") };
    const offer = { type: "install-snapshot", snapshot } as const;

    it("keeps its log until the bytes are here, asks for them once, and again after a failure or from a new leader", () => {
      const raft = core([1, 1]);
      raft.step(from("b", 2, offer));
      raft.step(from("b", 2, offer));
      const fetches = flush(raft).effects.flatMap(({ fetch }) => fetch ?? []);
      assert.deepEqual(fetches, [{ type: "snapshot", from: "b", snapshot }]);
      assert.equal(raft.lastIndex, 2);
      raft.fetchFailed();
      raft.step(from("b", 2, offer));
      assert.equal(flush(raft).effects.filter(({ fetch }) => fetch !== null).length, 1);
      raft.step(from("c", 3, offer));
      assert.equal(flush(raft).effects.find(({ fetch }) => fetch !== null)?.fetch?.from, "c");
      assert.equal(raft.installSnapshot(snapshot), true);
      const { effects, sent } = flush(raft);
      assert.deepEqual(effects[0]?.snapshot, snapshot);
      assert.deepEqual(effects[0]?.committed, []);
      assert.deepEqual(
        sent.map(({ type, to }) => ({ type, to })),
        [{ type: "append-accepted", to: "c" }],
      );
      assert.deepEqual([raft.baseIndex, raft.lastIndex, raft.commit], [5, 5, 5]);
      assert.deepEqual(raft.configuration, snapshot.configuration);
    });

    it("does not install what its log reached meanwhile", () => {
      const raft = core([1, 1]);
      raft.step(from("b", 1, offer));
      flush(raft);
      const entries = [3, 4, 5, 6].map((index) => command(index, 1));
      raft.step(from("b", 1, { type: "append", prevIndex: 2, prevTerm: 1, entries, commit: 4 }));
      flush(raft);
      assert.equal(raft.installSnapshot(snapshot), false);
      assert.deepEqual([raft.baseIndex, raft.lastIndex, raft.commit], [0, 6, 5]);
    });

    it("offers again to a server that died while it fetched, and goes on from an older snapshot that it took", () => {
      const snapshot = { index: 5, term: 1, configuration: servers("a", "b", "c") };
      const raft = core([1], {
        hardState: { term: 1, vote: null, commit: 6 },
        base: snapshot,
        entries: [command(6, 1)],
        snapshot: { ...snapshot, index: 6 },
        applied: 6,
      });
      const term = elect(raft);
      flush(raft);
      raft.step(
        from("b", term, { type: "append-rejected", prevIndex: 6, conflictTerm: 0, conflictIndex: 1 }),
      );
      flush(raft);
      let offers = 0;
      for (let tick = 0; tick < 20; tick++) {
        raft.tick();
        raft.step(from("c", term, { type: "heartbeat-response", round: 0 }));
        offers += flush(raft).sent.filter(({ to, type }) => to === "b" && type === "install-snapshot").length;
      }
      assert.equal(offers, 2);
      raft.step(from("b", term, { type: "append-accepted", match: 5 }));
      const append = flush(raft).sent.find(({ to }) => to === "b");
      assert.ok(append?.type === "append" && append.prevIndex === 5);
    });

    it("keeps more of the log for a server that fetches a snapshot than for others", () => {
      const snapshot = { index: 5, term: 1, configuration: servers("a", "b", "c") };
      const raft = core(Array(30).fill(1), {
        hardState: { term: 1, vote: null, commit: 30 },
        base: { ...snapshot, index: 1 },
        entries: Array.from({ length: 30 }, (_, position) => command(position + 2, 1)),
        snapshot: { ...snapshot, index: 10 },
        applied: 30,
      });
      const term = elect(raft);
      flush(raft);
      assert.equal(raft.compactionPoint(30, 3, 1000), 27);
      raft.step(
        from("b", term, { type: "append-rejected", prevIndex: 31, conflictTerm: 0, conflictIndex: 1 }),
      );
      assert.equal(raft.compactionPoint(30, 3, 1000), 10);
      assert.equal(raft.compactionPoint(30, 1, 1000), 22);
    });
  });

  describe("a full disk", () => {
    it("takes back what a sole server could not write, and lets it lead on", () => {
      const raft = core([], { base: { index: 0, term: 0, configuration: servers("a") } });
      raft.campaign();
      flush(raft);
      raft.propose([new Uint8Array(1)]);
      raft.takeEffects();
      raft.rollback();
      assert.deepEqual([raft.role, raft.lastIndex], ["leader", 1]);
    });

    it("lets one of several step down, forget what is only its own, and keep what is committed", () => {
      const raft = core([1]);
      const term = elect(raft);
      raft.takeEffects();
      raft.propose([new Uint8Array(1)]);
      for (const id of ["b", "c"]) raft.step(from(id, term, { type: "append-accepted", match: 2 }));
      assert.deepEqual([raft.commit, raft.lastIndex], [2, 3]);
      raft.rollback();
      assert.deepEqual([raft.role, raft.lastIndex], ["follower", 2]);
      assert.deepEqual(
        raft.takeEffects().entries.map(({ index }) => index),
        [2],
      );
    });
  });

  describe("restore entries", () => {
    const restore = { id: "copy", checksum: "c" };
    const entry: Entry = { index: 2, term: 1, kind: "restore", data: encodeRestore(restore) };

    it("are taken only once the copy is stored, and asked for once", () => {
      const raft = core([1]);
      const append = {
        type: "append",
        prevIndex: 1,
        prevTerm: 1,
        entries: [entry, command(3, 1)],
        commit: 3,
      } as const;
      raft.step(from("b", 1, append));
      raft.step(from("b", 1, append));
      const { effects, sent } = flush(raft);
      assert.deepEqual(
        effects.flatMap(({ fetch }) => fetch ?? []),
        [{ type: "restore", from: "b", restore }],
      );
      assert.deepEqual(
        sent.flatMap((message) => (message.type === "append-accepted" ? message.match : [])),
        [1, 1],
      );
      raft.restoreStored("copy");
      raft.step(from("b", 1, append));
      flush(raft);
      assert.deepEqual([raft.lastIndex, raft.commit], [3, 3]);
    });

    it("keep everything else out until they are committed", () => {
      const raft = core([1]);
      const term = elect(raft);
      flush(raft);
      assert.deepEqual(raft.proposeRestore(restore), { index: 3, term });
      assert.deepEqual(raft.propose([new Uint8Array(1)]), { refused: "restoring" });
      flush(raft);
      raft.step(from("b", term, { type: "append-accepted", match: 3 }));
      assert.equal(raft.commit, 3);
      assert.ok("index" in raft.propose([new Uint8Array(1)]));
    });
  });
});
