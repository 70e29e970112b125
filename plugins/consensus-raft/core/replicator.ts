import { Followers } from "./followers.js";
import type { Outbox } from "./outbox.js";
import type { FlowLimits } from "./progress.js";
import type { RaftLog } from "./raft-log.js";
import type { Message, SnapshotMeta } from "./types.js";

export interface ReplicatorOptions extends FlowLimits {
  readonly id: string;
  readonly electionTicks: number;
  /** Bytes of data in one append. */
  readonly maxAppendBytes: number;
}

/** What a leader tells its followers besides entries. */
export interface LeaderState {
  readonly term: number;
  readonly commit: number;
  /** For followers that need entries from before the log's start. */
  readonly snapshot: SnapshotMeta | null;
}

/** The leader's side of replication: what to send to whom. */
export class Replicator {
  readonly followers: Followers;
  /** Appends go out with the next effects, so that what is proposed in one turn travels together. */
  #due = false;
  /** Last entry that any other server was sent in this leadership. */
  #sentUpTo = 0;

  constructor(
    private readonly options: ReplicatorOptions,
    private readonly log: RaftLog,
    private readonly outbox: Outbox,
  ) {
    this.followers = new Followers(options.id, options);
  }

  get due(): boolean {
    return this.#due;
  }
  get sentUpTo(): number {
    return this.#sentUpTo;
  }

  /** A leadership begins or ends. */
  reset(): void {
    this.followers.clear();
    this.#due = false;
    this.#sentUpTo = 0;
  }

  appendSoon(): void {
    this.#due = true;
  }

  /** Follows the configuration. */
  sync(servers: readonly string[]): void {
    this.followers.sync(servers, this.log.lastIndex, this.options.electionTicks);
  }

  /** Sends every follower what it lacks: entries, or only a newer commit index. */
  broadcast(leader: LeaderState): void {
    this.#due = false;
    for (const [id, progress] of this.followers) {
      if (progress.next <= this.log.lastIndex || progress.sentCommit < leader.commit) this.append(id, leader);
    }
  }

  heartbeat({ term, commit }: LeaderState, round: number): void {
    for (const [id, progress] of this.followers) {
      // At most what is known to be the same there.
      this.outbox.send(id, term, { type: "heartbeat", commit: Math.min(progress.match, commit), round });
    }
  }

  /** Sends one append, or offers the snapshot, unless enough is under way. */
  append(id: string, { term, commit, snapshot }: LeaderState): void {
    const progress = this.followers.get(id);
    if (progress === undefined || progress.paused) return;
    const prevIndex = progress.next - 1;
    const prevTerm = this.log.term(prevIndex);
    if (prevTerm === undefined) {
      if (snapshot === null)
        throw new Error(`raft: no snapshot for ${id}, which needs entry ${progress.next}`);
      progress.installing(snapshot.index, this.options.electionTicks);
      this.outbox.send(id, term, { type: "install-snapshot", snapshot });
      return;
    }
    const entries = this.log.slice(progress.next, this.log.lastIndex, this.options.maxAppendBytes);
    const bytes = entries.reduce((sum, entry) => sum + entry.data.length, 0);
    this.outbox.send(id, term, { type: "append", prevIndex, prevTerm, entries, commit });
    progress.sent(prevIndex + entries.length, bytes, commit);
    this.#sentUpTo = Math.max(this.#sentUpTo, prevIndex + entries.length);
  }

  /** A follower's log differs: tries again further back. */
  rejected(message: Message & { type: "append-rejected" }, leader: LeaderState): void {
    const progress = this.followers.get(message.from);
    if (progress === undefined || progress.state === "snapshot") return;
    const expected = progress.state === "probe" ? message.prevIndex === progress.next - 1 : true;
    if (!expected || message.prevIndex <= progress.match) return;
    // Straight to the last entry that can match instead of one step back at a time (section 3.5).
    let next = Math.min(message.conflictIndex, message.prevIndex);
    if (message.conflictTerm > 0) {
      let index = Math.min(message.prevIndex - 1, this.log.lastIndex);
      while ((this.log.term(index) ?? 0) > message.conflictTerm) index--;
      if (this.log.term(index) === message.conflictTerm) next = index + 1;
    }
    progress.probe(next);
    this.append(message.from, leader);
  }
}
