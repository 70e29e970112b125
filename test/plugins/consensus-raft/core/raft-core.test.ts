import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encodeConfiguration } from "../../../../plugins/consensus-raft/core/configuration.js";
import { RaftCore, type RaftState } from "../../../../plugins/consensus-raft/core/raft-core.js";
import type { Effects, Entry, Message, MessageBody } from "../../../../plugins/consensus-raft/core/types.js";

const servers = (...ids: string[]) => ({
  servers: ids.map((id) => ({ id, address: `${id}:4647`, voter: true })),
});
const command = (index: number, term: number): Entry => ({
  index,
  term,
  kind: "command",
  data: new Uint8Array([index]),
});

/** Core `a` of the cluster a, b, c (unless said otherwise) with the given terms as its log. */
function core(terms: readonly number[], state: Partial<RaftState> = {}): RaftCore {
  return new RaftCore(
    {
      id: "a",
      electionTicks: 10,
      heartbeatTicks: 1,
      maxAppendBytes: 1000,
      maxInflightAppends: 10,
      maxApplyBytes: 1000,
      random: () => 0,
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
    raft.step(from("b", 2, { type: "vote-request", pre: false, lastIndex: 1, lastTerm: 1 }));
    const effects = raft.takeEffects();
    assert.deepEqual(effects.messages, []);
    assert.deepEqual(effects.hardState, { term: 2, vote: "b", commit: 0 });
    assert.equal(effects.hardStateMustSync, true);
    assert.equal(effects.messagesAfterPersist.length, 1);
    raft.persisted();
    raft.step(from("c", 2, { type: "vote-request", pre: false, lastIndex: 9, lastTerm: 1 }));
    const [answer] = flush(raft).sent;
    assert.ok(answer?.type === "vote-response" && !answer.granted && answer.to === "c");
  });

  it("refuses its vote to a server with an older log", () => {
    const raft = core([1, 2]);
    raft.step(from("b", 3, { type: "vote-request", pre: false, lastIndex: 5, lastTerm: 1 }));
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
    raft.step(from("c", 7, { type: "vote-request", pre: false, lastIndex: 9, lastTerm: 6 }));
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

  it("never takes a committed entry back", () => {
    const raft = core([1, 1], { hardState: { term: 1, vote: null, commit: 2 } });
    raft.step(
      from("b", 2, { type: "append", prevIndex: 0, prevTerm: 0, entries: [command(1, 2)], commit: 0 }),
    );
    assert.equal(raft.entryTerm(1), 1);
    assert.throws(() => raft.rollback(), /can't be taken back/);
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
});
