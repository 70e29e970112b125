import type { RaftCore } from "../../plugins/consensus-raft/core/raft-core.js";
import type { Entry, Message } from "../../plugins/consensus-raft/core/types.js";
import type { StoredLog } from "./disk.js";

/** A property of the algorithm was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
  constructor(
    readonly property: string,
    detail: string,
  ) {
    super(`${property}: ${detail}`);
  }
}

const decoder = new TextDecoder();

/** The safety properties of Raft (figure 3 of the paper) and a few that follow, kept up as a history goes on. */
export class Invariants {
  readonly #leaders = new Map<number, string>();
  /** `index:term` to a description of the entry and of the term before it. */
  readonly #entries = new Map<string, string>();
  /** Committed entries by index: term of the entry, and the term in which it was first seen to be committed. */
  readonly #committed = new Map<number, { readonly term: number; readonly in: number }>();
  #maxCommit = 0;
  /** State of the machine after an index. */
  readonly #digests = new Map<number, string>();
  /** `server:term` to whom it voted for. */
  readonly #votes = new Map<string, string>();
  /** Term and commit index of each server's present life. */
  readonly #reached = new WeakMap<RaftCore, { readonly term: number; readonly commit: number }>();

  get elections(): number {
    return this.#leaders.size;
  }
  get maxCommit(): number {
    return this.#maxCommit;
  }

  /** After anything happened on a server. */
  check(core: RaftCore): void {
    const { id, term, commit, lastIndex } = core;
    const before = this.#reached.get(core) ?? { term: 0, commit: 0 };
    if (term < before.term)
      throw new Violation("monotonic term", `${id} went back from term ${before.term} to ${term}`);
    if (commit < before.commit || commit > lastIndex) {
      throw new Violation(
        "commit",
        `${id} committed ${before.commit}, then ${commit}, and its log ends at ${lastIndex}`,
      );
    }
    if (commit > before.commit) this.#checkCommitted(core, before.commit);
    if (commit !== before.commit || term !== before.term) this.#reached.set(core, { term, commit });
    if (core.role === "leader") this.#checkLeader(core);
  }

  /** State machine safety, before anything is applied: what one server committed, no other committed differently. */
  #checkCommitted(core: RaftCore, reached: number): void {
    for (let index = Math.max(reached, core.baseIndex) + 1; index <= core.commit; index++) {
      const term = core.entryTerm(index)!;
      const known = this.#committed.get(index);
      if (known === undefined) this.#committed.set(index, { term, in: core.term });
      else if (known.term !== term) {
        throw new Violation(
          "state machine safety",
          `${core.id} committed entry ${index} of term ${term}; it was committed with term ${known.term}`,
        );
      }
    }
    this.#maxCommit = Math.max(this.#maxCommit, core.commit);
  }

  #checkLeader(core: RaftCore): void {
    const known = this.#leaders.get(core.term);
    if (known !== undefined) {
      if (known !== core.id)
        throw new Violation("election safety", `${known} and ${core.id} both lead in term ${core.term}`);
      return;
    }
    this.#leaders.set(core.term, core.id);
    for (const [index, committed] of this.#committed) {
      if (committed.in >= core.term || index <= core.baseIndex) continue;
      if (core.entryTerm(index) !== committed.term) {
        throw new Violation(
          "leader completeness",
          `${core.id} leads in term ${core.term} without entry ${index}, committed in term ${committed.in}`,
        );
      }
    }
  }

  /**
   * Log matching, by induction: the same index and term mean the same entry after the same predecessor. To be asked for what
   * reached a disk or the network; what a crash took before that never was.
   */
  checkEntries(prevTerm: number | undefined, entries: readonly Entry[]): void {
    let before = prevTerm;
    for (const entry of entries) {
      const description = `${before} < ${entry.kind} ${decoder.decode(entry.data)}`;
      const key = `${entry.index}:${entry.term}`;
      const known = this.#entries.get(key);
      if (known === undefined) this.#entries.set(key, description);
      else if (known !== description)
        throw new Violation("log matching", `entry ${key} is both "${known}" and "${description}"`);
      before = entry.term;
    }
  }

  checkStored({ base, entries }: StoredLog): void {
    this.checkEntries(base.term, entries);
  }

  /** What leaves a server: appends that match all logs, and one vote a term. */
  checkSent(message: Message): void {
    if (message.type === "append") this.checkEntries(message.prevTerm, message.entries);
    if (message.type !== "vote-response" || message.pre || !message.granted) return;
    const key = `${message.from}:${message.term}`;
    const known = this.#votes.get(key);
    if (known !== undefined && known !== message.to)
      throw new Violation("one vote a term", `${message.from} voted for ${known} and ${message.to}`);
    this.#votes.set(key, message.to);
  }

  /** State machine safety: after an index, every machine is in the same state. */
  checkMachine(id: string, index: number, digest: string): void {
    const known = this.#digests.get(index);
    if (known === undefined) this.#digests.set(index, digest);
    else if (known !== digest)
      throw new Violation("state machine safety", `${id} is in another state after entry ${index}`);
  }

  /**
   * With pre-vote and others to ask, a server that gets no message has no reason to leave its term: one that was cut off
   * comes back in the term in which it went, and deposes nobody.
   */
  checkUndisturbed(core: RaftCore, termSinceMessage: number): void {
    if (core.term > termSinceMessage) {
      throw new Violation(
        "no disruption",
        `nobody spoke to ${core.id} since term ${termSinceMessage}, and it raised its term to ${core.term}`,
      );
    }
  }
}
