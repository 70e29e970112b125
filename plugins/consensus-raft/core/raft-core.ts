import {
  changeConfiguration,
  decodeConfiguration,
  encodeConfiguration,
  isVoter,
  voters,
} from "./configuration.js";
import { Progress } from "./progress.js";
import { RaftLog } from "./raft-log.js";
import { ReadQueue } from "./read-index.js";
import type {
  Configuration,
  ConfigurationChange,
  Effects,
  Entry,
  EntryKind,
  HardState,
  Leadership,
  Message,
  MessageBody,
  ProposalOutcome,
  ReadAnswer,
  Role,
  SnapshotMeta,
} from "./types.js";

export interface RaftOptions {
  readonly id: string;
  /** Ticks without a leader before an election; each server adds a random part of the same length. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Bytes of data in one append. */
  readonly maxAppendBytes: number;
  /** Appends under way to one server. */
  readonly maxInflightAppends: number;
  /** Bytes of committed entries in one `Effects`. */
  readonly maxApplyBytes: number;
  /** A number from 0 up to 1; given from outside, so that the core has no randomness of its own. */
  readonly random: () => number;
}

/** What the disk held when the server started. */
export interface RaftState {
  readonly hardState: HardState;
  /** Where the log starts; index 0 with the first configuration in a new cluster. */
  readonly base: SnapshotMeta;
  readonly entries: readonly Entry[];
  /** Newest snapshot, for servers that are behind the log's start. */
  readonly snapshot: SnapshotMeta | null;
  /** Last entry that the state machine has applied and stored. */
  readonly applied: number;
}

const NO_DATA = new Uint8Array(0);

/**
 * Raft as a pure function of its inputs (messages, ticks, proposals, confirmations of the disk): no clock, no input or
 * output, no randomness of its own. After any input, `takeEffects` says what to do. With pre-vote and check-quorum
 * (dissertation, sections 9.6 and 6.2), so that a server that was cut off can't depose a working leader.
 */
export class RaftCore {
  readonly id: string;
  #term: number;
  #vote: string | null;
  #commit: number;
  #role: Role = "follower";
  #leader: string | null = null;
  readonly #log: RaftLog;
  /** Configurations in log order; the last one is in force from the moment it is appended. */
  #configurations: { index: number; configuration: Configuration }[];
  #snapshot: SnapshotMeta | null;

  #electionElapsed = 0;
  #heartbeatElapsed = 0;
  #electionTimeout = 0;
  readonly #votes = new Map<string, boolean>();
  readonly #progress = new Map<string, Progress>();
  #reads = new ReadQueue();
  /** Reads asked before this leader committed an entry of its term, which must wait for it. */
  #earlyReads: { context: number; from: string }[] = [];
  /** Reads that this follower sent on to the leader. */
  readonly #forwardedReads = new Set<number>();

  #messages: Message[] = [];
  #messagesAfterPersist: Message[] = [];
  #answers: ReadAnswer[] = [];
  #snapshotToInstall: SnapshotMeta | null = null;
  /** Last committed entry that was given out. */
  #delivered: number;
  #savedHardState: HardState;
  #handedHardState: HardState;
  #handedLast: { index: number; term: number } | null = null;
  #announced: Leadership;

  constructor(
    private readonly options: RaftOptions,
    state: RaftState,
  ) {
    this.id = options.id;
    this.#term = state.hardState.term;
    this.#vote = state.hardState.vote;
    this.#log = new RaftLog(state.base, state.entries);
    if (state.applied < state.base.index || state.applied > this.#log.lastIndex) {
      throw new Error(
        `raft: the state machine has applied ${state.applied}, outside of the log (${state.base.index} to ${this.#log.lastIndex})`,
      );
    }
    // What the machine applied was committed, even when the commit index on disk is older.
    this.#commit = Math.min(this.#log.lastIndex, Math.max(state.hardState.commit, state.applied));
    this.#delivered = state.applied;
    this.#snapshot = state.snapshot;
    this.#configurations = [{ index: state.base.index, configuration: state.base.configuration }];
    for (const entry of state.entries) this.#noteConfiguration(entry);
    this.#savedHardState = this.#handedHardState = state.hardState;
    this.#announced = this.leadership;
    this.#resetElectionTimer();
  }

  get term(): number {
    return this.#term;
  }
  get role(): Role {
    return this.#role;
  }
  get leader(): string | null {
    return this.#leader;
  }
  get leadership(): Leadership {
    return { role: this.#role, term: this.#term, leader: this.#leader };
  }
  get commit(): number {
    return this.#commit;
  }
  get baseIndex(): number {
    return this.#log.baseIndex;
  }
  get lastIndex(): number {
    return this.#log.lastIndex;
  }
  get stableIndex(): number {
    return this.#log.stable;
  }
  /** The newest configuration of the log, committed or not: the one in force. */
  get configuration(): Configuration {
    return this.#configurations.at(-1)!.configuration;
  }
  /** Hard state as the disk should have it. */
  get hardState(): HardState {
    return { term: this.#term, vote: this.#vote, commit: this.#commit };
  }

  /** Term of an entry of the log, undefined outside of it. */
  entryTerm(index: number): number | undefined {
    return this.#log.term(index);
  }

  /** Index, term and configuration at an applied index: what a snapshot taken there stands for. */
  describe(index: number): SnapshotMeta {
    const term = this.#log.term(index);
    const known = this.#configurations.findLast((entry) => entry.index <= index);
    if (term === undefined || known === undefined) throw new Error(`raft: entry ${index} is not in the log`);
    return { index, term, configuration: known.configuration };
  }

  /** Where to compact to after a snapshot at `index`, so that servers slightly behind still find their entries. */
  compactionPoint(index: number, entries: number, bytes: number): number {
    return this.#log.compactionPoint(index, entries, bytes);
  }

  // --- inputs -------------------------------------------------------------------------------------------------------

  /** Time passes. A tick has no fixed length; the options count in it. */
  tick(): void {
    this.#electionElapsed++;
    if (this.#role !== "leader") {
      if (this.#electionElapsed >= this.#electionTimeout) this.campaign();
      return;
    }
    for (const [id, progress] of this.#progress) {
      if (progress.state !== "snapshot" || --progress.snapshotTicks > 0) continue;
      progress.probe(progress.match + 1);
      this.#sendAppend(id);
    }
    if (this.#electionElapsed >= this.options.electionTicks) {
      this.#electionElapsed = 0;
      if (!this.#hasActiveQuorum()) {
        this.#becomeFollower(this.#term, null);
        return;
      }
    }
    if (++this.#heartbeatElapsed >= this.options.heartbeatTicks) {
      this.#heartbeatElapsed = 0;
      this.#broadcastHeartbeat();
    }
  }

  /** Stands for election now; a sole voter wins as soon as its vote is durable. A server that does not vote stays a follower. */
  campaign(): void {
    if (this.#role === "leader") return;
    this.#resetElectionTimer();
    if (!this.#mayLead()) return;
    const all = voters(this.configuration);
    if (all.length === 1 && all[0] === this.id) this.#startElection();
    else this.#startPreVote();
  }

  /**
   * A voter may; so may one that lost its vote by a change that is not known to be committed, because the others may
   * need its longer log to go on (section 4.2.2).
   */
  #mayLead(): boolean {
    if (isVoter(this.configuration, this.id)) return true;
    const before = this.#configurations.at(-2);
    return (
      before !== undefined &&
      this.#configurations.at(-1)!.index > this.#commit &&
      isVoter(before.configuration, this.id)
    );
  }

  /** Appends commands, on the leader; gives the first one's index. */
  propose(commands: readonly Uint8Array[]): ProposalOutcome {
    if (this.#role !== "leader") return { refused: "not-leader" };
    const index = this.#log.lastIndex + 1;
    for (const data of commands) this.#appendOwn("command", data);
    this.#broadcastAppend();
    return { index, term: this.#term };
  }

  /**
   * Adds, promotes, demotes or removes one server. One change at a time, and only once the leader committed an entry of
   * its own term (the correction of July 2015 to the dissertation's section 4.1).
   */
  proposeConfiguration(change: ConfigurationChange): ProposalOutcome {
    if (this.#role !== "leader") return { refused: "not-leader" };
    if (this.#configurations.at(-1)!.index > this.#commit) return { refused: "change-pending" };
    if (this.#log.term(this.#commit) !== this.#term) return { refused: "term-not-committed" };
    const next = changeConfiguration(this.configuration, change);
    if ("refused" in next) return next;
    const index = this.#appendOwn("configuration", encodeConfiguration(next));
    this.#syncProgress();
    this.#broadcastAppend();
    return { index, term: this.#term };
  }

  /** Asks for a linearizable read; the answer comes in `Effects.reads` with the same `context`. */
  readIndex(context: number): void {
    if (this.#role === "leader") {
      this.#leaderRead(context, this.id);
    } else if (this.#leader !== null) {
      this.#forwardedReads.add(context);
      this.#send(this.#leader, { type: "read-request", context });
    } else {
      this.#answers.push({ context, index: null });
    }
  }

  /** Takes a message from another server. */
  step(message: Message): void {
    if (message.term > this.#term && !this.#takeNewerTerm(message)) return;
    if (message.term < this.#term) {
      // The sender learns of the newer term, or it could go on for ever: an old leader, a server that was cut off.
      if (
        message.type === "append" ||
        message.type === "heartbeat" ||
        message.type === "install-snapshot" ||
        (message.type === "vote-request" && message.pre)
      ) {
        this.#sendAfterPersist(message.from, { type: "stale" });
      }
      return;
    }
    switch (message.type) {
      case "vote-request":
        this.#handleVoteRequest(message);
        return;
      case "vote-response":
        this.#handleVoteResponse(message);
        return;
      case "append":
      case "heartbeat":
      case "install-snapshot":
        this.#follow(message.from);
        if (message.type === "append") this.#handleAppend(message);
        else if (message.type === "heartbeat") this.#handleHeartbeat(message);
        else this.#handleInstallSnapshot(message);
        return;
      case "append-accepted":
      case "append-rejected":
      case "heartbeat-response":
        this.#handleFollowerAnswer(message);
        return;
      case "read-request":
        if (this.#role === "leader") this.#leaderRead(message.context, message.from);
        return;
      case "read-response":
        if (this.#forwardedReads.delete(message.context)) {
          this.#answers.push({ context: message.context, index: message.index });
        }
        return;
      case "stale":
        return;
    }
  }

  /** The hard state, entries and snapshot of the last effects are durable. */
  persisted(): void {
    this.#savedHardState = this.#handedHardState;
    if (this.#handedLast !== null) this.#log.markStable(this.#handedLast.index, this.#handedLast.term);
    this.#handedLast = null;
    if (this.#role === "leader") this.#maybeCommit();
    // A vote for itself counts once it is durable, like any other: after a crash it could give that term's vote away.
    if (this.#role === "candidate" && this.#savedHardState.term === this.#term) {
      this.#votes.set(this.id, true);
      if (this.#countVotes() === "won") this.#becomeLeader();
    }
  }

  /**
   * The disk refused the last effects and nothing of them was written: forgets every entry that is not durable. Only for
   * a sole server, where no other can have seen them.
   */
  rollback(): void {
    if (this.configuration.servers.some((server) => server.id !== this.id)) {
      throw new Error("raft: entries that were sent to other servers can't be taken back");
    }
    this.#truncateFrom(this.#log.stable + 1);
    this.#handedHardState = this.#savedHardState;
    this.#handedLast = null;
  }

  /** A snapshot at `snapshot.index` is durable; entries up to `compactTo` (at most that index) are no longer needed. */
  compact(snapshot: SnapshotMeta, compactTo: number): void {
    if (compactTo > snapshot.index || snapshot.index > this.#delivered) {
      throw new Error(`raft: snapshot at ${snapshot.index} does not cover a log compacted to ${compactTo}`);
    }
    this.#snapshot = snapshot;
    if (compactTo <= this.#log.baseIndex) return;
    const base = this.describe(compactTo);
    this.#log.compact(compactTo);
    this.#configurations = [
      { index: compactTo, configuration: base.configuration },
      ...this.#configurations.filter((entry) => entry.index > compactTo),
    ];
  }

  // --- effects ------------------------------------------------------------------------------------------------------

  /** Whether `takeEffects` would give anything worth a turn. */
  get hasEffects(): boolean {
    return (
      this.#messages.length > 0 ||
      this.#messagesAfterPersist.length > 0 ||
      this.#answers.length > 0 ||
      this.#snapshotToInstall !== null ||
      this.#log.hasUnhanded ||
      this.#hardStateMustSync() ||
      this.#delivered < this.#deliverable() ||
      this.#leadershipChanged()
    );
  }

  /** Takes what is to be done since the last call. */
  takeEffects(): Effects {
    const hardState = this.hardState;
    const mustSync = this.#hardStateMustSync();
    const changed = mustSync || hardState.commit !== this.#handedHardState.commit;
    const entries = this.#log.handOver();
    const last = entries.at(-1);
    if (last !== undefined) this.#handedLast = { index: last.index, term: last.term };
    const to = this.#deliverable();
    const committed =
      to > this.#delivered ? this.#log.slice(this.#delivered + 1, to, this.options.maxApplyBytes) : [];
    this.#delivered += committed.length;
    const effects: Effects = {
      messages: this.#messages,
      messagesAfterPersist: this.#messagesAfterPersist,
      hardState: changed ? hardState : null,
      hardStateMustSync: mustSync,
      entries,
      committed,
      snapshot: this.#snapshotToInstall,
      leadership: this.#leadershipChanged() ? this.leadership : null,
      reads: this.#answers,
    };
    this.#messages = [];
    this.#messagesAfterPersist = [];
    this.#answers = [];
    this.#snapshotToInstall = null;
    this.#handedHardState = hardState;
    this.#announced = this.leadership;
    return effects;
  }

  /** Committed and durable here: an entry must not reach the state machine before it is in the log for good. */
  #deliverable(): number {
    return Math.min(this.#commit, this.#log.stable);
  }

  #hardStateMustSync(): boolean {
    return this.#handedHardState.term !== this.#term || this.#handedHardState.vote !== this.#vote;
  }

  #leadershipChanged(): boolean {
    const { role, term, leader } = this.#announced;
    return role !== this.#role || term !== this.#term || leader !== this.#leader;
  }

  /** For what promises no durability here: it may leave before this server's disk is done. */
  #send(to: string, body: MessageBody): void {
    this.#messages.push({ ...body, from: this.id, to, term: this.#term });
  }

  #sendAfterPersist(to: string, body: MessageBody, term = this.#term): void {
    this.#messagesAfterPersist.push({ ...body, from: this.id, to, term });
  }

  // --- elections ----------------------------------------------------------------------------------------------------

  /** Takes over a newer term where the message calls for it; false when the message is to be ignored. */
  #takeNewerTerm(message: Message): boolean {
    if (message.type === "vote-request") {
      // A leader was heard from within the shortest election timeout: its followers do not depose it (section 4.2.3).
      if (this.#leader !== null && this.#electionElapsed < this.options.electionTicks) return false;
      if (message.pre) {
        this.#handleVoteRequest(message);
        return false;
      }
    }
    if (message.type === "vote-response" && message.pre && message.granted) {
      if (message.term === this.#term + 1) this.#handleVoteResponse(message);
      return false;
    }
    const fromLeader =
      message.type === "append" || message.type === "heartbeat" || message.type === "install-snapshot";
    this.#becomeFollower(message.term, fromLeader ? message.from : null);
    return true;
  }

  #becomeFollower(term: number, leader: string | null): void {
    if (term > this.#term) {
      this.#term = term;
      this.#vote = null;
    }
    this.#leaveRole("follower", leader);
  }

  #leaveRole(role: Role, leader: string | null): void {
    if (this.#role === "leader" || this.#leader !== leader) this.#failReads();
    this.#role = role;
    this.#leader = leader;
    this.#votes.clear();
    this.#progress.clear();
    this.#resetElectionTimer();
  }

  #failReads(): void {
    const lost = [...this.#reads.drain(), ...this.#earlyReads].filter((read) => read.from === this.id);
    for (const { context } of lost) this.#answers.push({ context, index: null });
    for (const context of this.#forwardedReads) this.#answers.push({ context, index: null });
    this.#earlyReads = [];
    this.#forwardedReads.clear();
  }

  #resetElectionTimer(): void {
    this.#electionElapsed = 0;
    const { electionTicks, random } = this.options;
    this.#electionTimeout = electionTicks + Math.floor(random() * electionTicks);
  }

  #startPreVote(): void {
    this.#leaveRole("pre-candidate", null);
    this.#votes.set(this.id, true);
    this.#requestVotes(true, this.#term + 1);
  }

  #startElection(): void {
    this.#leaveRole("candidate", null);
    this.#term++;
    this.#vote = this.id;
    this.#requestVotes(false, this.#term);
  }

  #requestVotes(pre: boolean, term: number): void {
    const body = {
      type: "vote-request",
      pre,
      lastIndex: this.#log.lastIndex,
      lastTerm: this.#log.lastTerm,
    } as const;
    for (const id of voters(this.configuration)) {
      if (id === this.id) continue;
      this.#sendAfterPersist(id, body, term);
    }
  }

  #handleVoteRequest(message: Message & { type: "vote-request" }): void {
    const free =
      this.#vote === message.from ||
      (this.#vote === null && this.#leader === null) ||
      (message.pre && message.term > this.#term);
    const upToDate =
      message.lastTerm > this.#log.lastTerm ||
      (message.lastTerm === this.#log.lastTerm && message.lastIndex >= this.#log.lastIndex);
    const granted = free && upToDate;
    if (granted && !message.pre) {
      this.#vote = message.from;
      this.#electionElapsed = 0;
    }
    const term = message.pre && granted ? message.term : this.#term;
    this.#sendAfterPersist(message.from, { type: "vote-response", pre: message.pre, granted }, term);
  }

  #handleVoteResponse(message: Message & { type: "vote-response" }): void {
    if (this.#role !== (message.pre ? "pre-candidate" : "candidate")) return;
    this.#votes.set(message.from, message.granted);
    const outcome = this.#countVotes();
    if (outcome === "lost") this.#becomeFollower(this.#term, null);
    else if (outcome === "won" && message.pre) this.#startElection();
    else if (outcome === "won") this.#becomeLeader();
  }

  #countVotes(): "won" | "lost" | "open" {
    const all = voters(this.configuration);
    const quorum = Math.floor(all.length / 2) + 1;
    const granted = all.filter((id) => this.#votes.get(id) === true).length;
    const refused = all.filter((id) => this.#votes.get(id) === false).length;
    if (granted >= quorum) return "won";
    return refused > all.length - quorum ? "lost" : "open";
  }

  #becomeLeader(): void {
    this.#leaveRole("leader", this.id);
    this.#heartbeatElapsed = 0;
    this.#reads = new ReadQueue();
    this.#syncProgress();
    // An entry of its own term lets the leader commit what earlier leaders left (section 3.6.2).
    this.#appendOwn("noop", NO_DATA);
    this.#broadcastAppend();
  }

  #hasActiveQuorum(): boolean {
    const all = voters(this.configuration);
    const active = all.filter((id) => id === this.id || this.#progress.get(id)?.active === true).length;
    for (const progress of this.#progress.values()) progress.active = false;
    return active >= Math.floor(all.length / 2) + 1;
  }

  // --- replication, leader ------------------------------------------------------------------------------------------

  #appendOwn(kind: EntryKind, data: Uint8Array): number {
    const entry: Entry = { index: this.#log.lastIndex + 1, term: this.#term, kind, data };
    this.#append(entry);
    return entry.index;
  }

  #append(entry: Entry): void {
    this.#log.append(entry);
    this.#noteConfiguration(entry);
  }

  #noteConfiguration(entry: Entry): void {
    if (entry.kind !== "configuration") return;
    this.#configurations.push({ index: entry.index, configuration: decodeConfiguration(entry.data) });
  }

  #truncateFrom(index: number): void {
    if (index <= this.#commit) throw new Error(`raft: entry ${index} is committed and can't be replaced`);
    this.#log.truncateFrom(index);
    this.#configurations = this.#configurations.filter((entry) => entry.index < index);
  }

  /** Follows the configuration: one progress for every other server. */
  #syncProgress(): void {
    const others = this.configuration.servers.map((server) => server.id).filter((id) => id !== this.id);
    for (const id of this.#progress.keys()) if (!others.includes(id)) this.#progress.delete(id);
    for (const id of others) {
      if (this.#progress.has(id)) continue;
      const progress = new Progress(this.#log.lastIndex, this.options.maxInflightAppends);
      // A server that was just added counts as heard from, until the next check.
      progress.active = true;
      this.#progress.set(id, progress);
    }
  }

  #broadcastAppend(): void {
    for (const id of this.#progress.keys()) this.#sendAppend(id);
  }

  #broadcastHeartbeat(): void {
    for (const [id, progress] of this.#progress) {
      const commit = Math.min(progress.match, this.#commit);
      this.#send(id, { type: "heartbeat", commit, round: this.#reads.round });
    }
  }

  #sendAppend(id: string): void {
    const progress = this.#progress.get(id);
    if (progress === undefined || progress.paused) return;
    const prevIndex = progress.next - 1;
    const prevTerm = this.#log.term(prevIndex);
    if (prevTerm === undefined) {
      if (this.#snapshot === null)
        throw new Error(`raft: no snapshot for ${id}, which needs entry ${progress.next}`);
      progress.installing(this.#snapshot.index, this.options.electionTicks * 10);
      this.#send(id, { type: "install-snapshot", snapshot: this.#snapshot });
      return;
    }
    const entries = this.#log.slice(progress.next, this.#log.lastIndex, this.options.maxAppendBytes);
    this.#send(id, { type: "append", prevIndex, prevTerm, entries, commit: this.#commit });
    progress.sent(prevIndex + entries.length);
  }

  #handleFollowerAnswer(
    message: Message & { type: "append-accepted" | "append-rejected" | "heartbeat-response" },
  ): void {
    const progress = this.#progress.get(message.from);
    if (this.#role !== "leader" || progress === undefined) return;
    progress.active = true;
    if (message.type === "heartbeat-response") {
      progress.unblock();
      if (progress.match < this.#log.lastIndex) this.#sendAppend(message.from);
      this.#confirmReads(message.from, message.round);
    } else if (message.type === "append-rejected") {
      this.#handleRejection(message, progress);
    } else {
      const grew = progress.accepted(message.match);
      if (grew && this.#maybeCommit()) return;
      if (progress.next <= this.#log.lastIndex) this.#sendAppend(message.from);
    }
  }

  #handleRejection(message: Message & { type: "append-rejected" }, progress: Progress): void {
    if (progress.state === "snapshot") return;
    const expected = progress.state === "probe" ? message.prevIndex === progress.next - 1 : true;
    if (!expected || message.prevIndex <= progress.match) return;
    // Straight to the last entry that can match instead of one step back at a time (section 3.5).
    let next = Math.min(message.conflictIndex, message.prevIndex);
    if (message.conflictTerm > 0) {
      let index = Math.min(message.prevIndex - 1, this.#log.lastIndex);
      while ((this.#log.term(index) ?? 0) > message.conflictTerm) index--;
      if (this.#log.term(index) === message.conflictTerm) next = index + 1;
    }
    progress.probe(next);
    this.#sendAppend(message.from);
  }

  /** Commits what a majority has; only entries of the own term count (section 3.6.2). Gives whether it went on. */
  #maybeCommit(): boolean {
    const matches = voters(this.configuration)
      .map((id) => (id === this.id ? this.#log.stable : (this.#progress.get(id)?.match ?? 0)))
      .sort((a, b) => b - a);
    const index = matches[Math.floor(matches.length / 2)]!;
    if (index <= this.#commit || this.#log.term(index) !== this.#term) return false;
    this.#commit = index;
    const early = this.#earlyReads;
    this.#earlyReads = [];
    for (const read of early) this.#leaderRead(read.context, read.from);
    this.#broadcastAppend();
    const configured = this.#configurations.at(-1)!;
    if (configured.index <= index && !isVoter(configured.configuration, this.id)) {
      // It led until its own removal was committed (section 4.2.2).
      this.#becomeFollower(this.#term, null);
    }
    return true;
  }

  // --- replication, follower ----------------------------------------------------------------------------------------

  #follow(leader: string): void {
    if (this.#role !== "follower" || this.#leader !== leader) this.#becomeFollower(this.#term, leader);
    this.#electionElapsed = 0;
  }

  #handleAppend(message: Message & { type: "append" }): void {
    const { prevIndex, prevTerm, entries } = message;
    if (prevIndex < this.#log.baseIndex || prevIndex < this.#commit) {
      // What is committed here is the same there; the leader's view of this log is merely old.
      this.#sendAfterPersist(message.from, { type: "append-accepted", match: this.#commit });
      return;
    }
    const term = this.#log.term(prevIndex);
    if (term !== prevTerm) {
      this.#reject(message.from, prevIndex, term);
      return;
    }
    const firstNew = entries.findIndex((entry) => this.#log.term(entry.index) !== entry.term);
    if (firstNew >= 0) {
      const first = entries[firstNew]!;
      if (first.index <= this.#log.lastIndex) this.#truncateFrom(first.index);
      for (const entry of entries.slice(firstNew)) this.#append(entry);
    }
    const match = prevIndex + entries.length;
    this.#commit = Math.max(this.#commit, Math.min(message.commit, match));
    this.#sendAfterPersist(message.from, { type: "append-accepted", match });
  }

  #reject(leader: string, prevIndex: number, term: number | undefined): void {
    let conflictIndex = this.#log.lastIndex + 1;
    if (term !== undefined) {
      conflictIndex = prevIndex;
      while (conflictIndex - 1 > this.#commit && this.#log.term(conflictIndex - 1) === term) conflictIndex--;
    }
    this.#sendAfterPersist(leader, {
      type: "append-rejected",
      prevIndex,
      conflictTerm: term ?? 0,
      conflictIndex,
    });
  }

  #handleHeartbeat(message: Message & { type: "heartbeat" }): void {
    // The leader sends at most what this server confirmed as durable, so the entries are the leader's own.
    this.#commit = Math.max(this.#commit, Math.min(message.commit, this.#log.lastIndex));
    this.#sendAfterPersist(message.from, { type: "heartbeat-response", round: message.round });
  }

  #handleInstallSnapshot(message: Message & { type: "install-snapshot" }): void {
    const { snapshot } = message;
    if (snapshot.index > this.#commit) {
      if (this.#log.term(snapshot.index) === snapshot.term) {
        // The log already reaches that far: nothing to install, only to know that it is committed.
        this.#commit = snapshot.index;
      } else {
        this.#log.reset(snapshot);
        this.#configurations = [{ index: snapshot.index, configuration: snapshot.configuration }];
        this.#commit = this.#delivered = snapshot.index;
        this.#snapshot = this.#snapshotToInstall = snapshot;
        this.#handedLast = null;
      }
    }
    this.#sendAfterPersist(message.from, { type: "append-accepted", match: this.#commit });
  }

  // --- reads --------------------------------------------------------------------------------------------------------

  #leaderRead(context: number, from: string): void {
    if (this.#log.term(this.#commit) !== this.#term) {
      this.#earlyReads.push({ context, from });
      return;
    }
    this.#reads.add(context, from, this.#commit);
    this.#broadcastHeartbeat();
    this.#confirmReads(this.id, this.#reads.round);
  }

  #confirmReads(server: string, round: number): void {
    if (!this.#reads.waiting) return;
    for (const read of this.#reads.answered(server, round, this.id, voters(this.configuration))) {
      if (read.from === this.id) this.#answers.push({ context: read.context, index: read.index });
      else this.#send(read.from, { type: "read-response", context: read.context, index: read.index });
    }
  }
}
