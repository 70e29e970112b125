import { Ballot } from "./ballot.js";
import { changeConfiguration, encodeConfiguration, isVoter, voters } from "./configuration.js";
import { ConfigurationHistory } from "./configuration-history.js";
import { Durability } from "./durability.js";
import { Fetches } from "./fetches.js";
import { Handover } from "./handover.js";
import { Outbox } from "./outbox.js";
import { type EntrySource, RaftLog } from "./raft-log.js";
import { ForwardedReads, ReadQueue } from "./read-index.js";
import { type LeaderState, Replicator, type ReplicatorOptions } from "./replicator.js";
import { decodeRestore, encodeRestore } from "./restore.js";
import type {
  Configuration,
  ConfigurationChange,
  Contact,
  Effects,
  Entry,
  EntryKind,
  HardState,
  Leadership,
  Message,
  MessageBody,
  ProposalOutcome,
  ReadAnswer,
  Refusal,
  RestoreReference,
  Role,
  SnapshotMeta,
} from "./types.js";

export interface RaftOptions extends ReplicatorOptions {
  /** Ticks without a leader before an election; each server adds a random part of the same length. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Bytes of committed entries in one `Effects`. */
  readonly maxApplyBytes: number;
  /** A number from 0 up to 1; given from outside, so that the core has no randomness of its own. */
  readonly random: () => number;
}

/** What the disk held when the server started. */
export interface RaftState {
  readonly hardState: HardState;
  /** Where the log starts; index 0, term 0 and no servers on one that was never part of a cluster. */
  readonly base: SnapshotMeta;
  /** Gone through once. */
  readonly entries: Iterable<Entry>;
  /** Where entries are read back from, so that not all stay in memory; without it they do. */
  readonly source?: EntrySource;
  /** Newest snapshot, for servers that are behind the log's start. */
  readonly snapshot: SnapshotMeta | null;
  /** Last entry that the state machine has applied and stored. */
  readonly applied: number;
}

const NO_DATA = new Uint8Array(0);

/**
 * Raft as a pure function of its inputs (messages, ticks, proposals, confirmations of the disk): no clock, no input or
 * output, no randomness of its own. After any input, `takeEffects` says what to do, and `Effects` in which order things must
 * become durable. With pre-vote and check-quorum (dissertation, sections 9.6 and 6.2), so that a server that was cut off
 * can't depose a working leader.
 *
 * A server begins with an empty configuration: it votes and takes entries from any leader, and never stands for election.
 * `bootstrap` on one server begins a cluster; the others learn of their membership through the log.
 */
export class RaftCore {
  readonly id: string;
  #term: number;
  #vote: string | null;
  #commit: number;
  #role: Role = "follower";
  #leader: string | null = null;
  readonly #log: RaftLog;
  readonly #configurations: ConfigurationHistory;
  #snapshot: SnapshotMeta | null;

  #electionElapsed = 0;
  #heartbeatElapsed = 0;
  #electionTimeout = 0;
  /** Ticks since a leader was heard from. */
  #leaderContact: number | null = null;
  readonly #ballot = new Ballot();
  readonly #replicator: Replicator;
  readonly #handover = new Handover();
  /** The first entry of a new cluster is not durable yet. */
  #bootstrapping = false;
  #reads = new ReadQueue();
  readonly #forwardedReads: ForwardedReads;

  readonly #fetches = new Fetches();
  #snapshotToInstall: SnapshotMeta | null = null;
  /** Last `restore` entry of the log; 0 when there is none. At most one is not committed. */
  #restoreIndex = 0;

  readonly #outbox: Outbox;
  #answers: ReadAnswer[] = [];
  /** Last committed entry that was given out. */
  #delivered: number;
  readonly #durability: Durability;
  #announced: Leadership;

  constructor(
    private readonly options: RaftOptions,
    state: RaftState,
  ) {
    this.id = options.id;
    this.#term = state.hardState.term;
    this.#vote = state.hardState.vote;
    this.#log = new RaftLog(state.base, state.source);
    this.#configurations = new ConfigurationHistory(state.base);
    for (const entry of state.entries) {
      this.#note(entry);
      this.#log.load(entry);
    }
    if (state.applied < state.base.index || state.applied > this.#log.lastIndex) {
      throw new Error(
        `raft: the state machine has applied ${state.applied}, outside of the log (${state.base.index} to ${this.#log.lastIndex})`,
      );
    }
    // What the machine applied was committed, even when the commit index on disk is older.
    this.#commit = Math.min(this.#log.lastIndex, Math.max(state.hardState.commit, state.applied));
    this.#delivered = state.applied;
    this.#snapshot = state.snapshot;
    this.#outbox = new Outbox(this.id);
    this.#replicator = new Replicator(options, this.#log, this.#outbox);
    this.#forwardedReads = new ForwardedReads(Math.floor(options.random() * 2 ** 52));
    this.#durability = new Durability(state.hardState);
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
    return this.#configurations.current;
  }
  /** Index of the entry that gave the configuration in force; 0 before there is one. */
  get configurationIndex(): number {
    return this.#configurations.currentIndex;
  }
  /** Whether the configuration in force is known to be committed. */
  get configurationCommitted(): boolean {
    return this.#configurations.currentIndex <= this.#commit;
  }
  /** Server that leadership is being handed to. */
  get transferTarget(): string | null {
    return this.#handover.to;
  }
  /** Ticks since this server heard from a leader; 0 on the leader, null while it never did. */
  get leaderContact(): number | null {
    return this.#role === "leader" ? 0 : this.#leaderContact;
  }
  /**
   * Hard state as the disk should have it. Its commit index covers only entries that were durable before, so that it is true
   * even where the entries written with it get lost.
   */
  get hardState(): HardState {
    return { term: this.#term, vote: this.#vote, commit: this.#deliverable() };
  }

  /** Term of an entry of the log, undefined outside of it. */
  entryTerm(index: number): number | undefined {
    return this.#log.term(index);
  }

  /** Index, term and configuration at an applied index: what a snapshot taken there stands for. */
  describe(index: number): SnapshotMeta {
    const term = this.#log.term(index);
    const configuration = this.#configurations.at(index);
    if (term === undefined || configuration === undefined)
      throw new Error(`raft: entry ${index} is not in the log`);
    return { index, term, configuration };
  }

  /** The other servers of the configuration, on the leader; empty elsewhere. */
  contacts(): Contact[] {
    return [...this.#replicator.followers]
      .filter(([, progress]) => progress.leavesIn === null)
      .map(([id, { contact, match }]) => ({
        id,
        ticks: contact,
        match,
        matchTerm: this.#log.term(match) ?? 0,
      }));
  }

  /**
   * Where to compact to after a snapshot at `index`, so that servers slightly behind still find their entries: at most
   * `entries` and `bytes` of data are kept before it, and up to eight times as much for a server that fetches an earlier
   * snapshot at present, so that it can go on from there.
   */
  compactionPoint(index: number, entries: number, bytes: number): number {
    const point = this.#log.compactionPoint(index, entries, bytes);
    const needed = Math.min(index, this.#replicator.followers.neededAfterSnapshot());
    if (needed >= point) return point;
    return Math.max(needed, this.#log.compactionPoint(index, 8 * entries, 8 * bytes));
  }

  // --- inputs -------------------------------------------------------------------------------------------------------

  /** Time passes. A tick has no fixed length; the options count in it. */
  tick(): void {
    this.#electionElapsed++;
    if (this.#leaderContact !== null) this.#leaderContact++;
    for (const context of this.#forwardedReads.tick(this.options.electionTicks))
      this.#answers.push({ context, index: null });
    if (this.#role !== "leader") {
      if (this.#electionElapsed >= this.#electionTimeout) this.campaign();
      return;
    }
    for (const id of this.#replicator.followers.tick(this.configurationCommitted)) {
      // It may have died while it fetched, or been served by appends since.
      const progress = this.#replicator.followers.get(id)!;
      progress.probe(progress.match + 1);
      this.#replicator.append(id, this.#leaderState);
    }
    this.#handover.tick(this.options.electionTicks);
    if (this.#electionElapsed >= this.options.electionTicks) {
      this.#electionElapsed = 0;
      if (!this.#replicator.followers.takeActiveQuorum(voters(this.configuration))) {
        this.#becomeFollower(this.#term, null);
        return;
      }
    }
    if (++this.#heartbeatElapsed >= this.options.heartbeatTicks) {
      this.#heartbeatElapsed = 0;
      this.#replicator.heartbeat(this.#leaderState, this.#reads.round);
      this.#hurryTransfer();
    }
  }

  /** Stands for election now; a sole voter wins as soon as its vote is durable. A server that does not vote stays a follower. */
  campaign(): void {
    if (this.#role === "leader") return;
    this.#resetElectionTimer();
    if (!this.#configurations.mayLead(this.id, this.#commit)) return;
    const all = voters(this.configuration);
    if (all.length === 1 && all[0] === this.id) this.#startElection(false);
    else this.#startPreVote();
  }

  /**
   * Begins a cluster with this configuration, as entry 1 of term 1, and stands for election once that is durable. Refused
   * with `not-empty` on a server that has a log or a configuration or took part in an election, and with `not-a-voter` when
   * the configuration gives this server no vote. To be called on one server of the new cluster; on several only with the same
   * servers in the same order. When the entry could not be written, it may be called again.
   */
  bootstrap(configuration: Configuration): ProposalOutcome {
    // Elections begin with term 2: term 1 without a log is what an attempt left that was not written.
    const untouched = this.#log.lastIndex === 0 && this.#term <= 1 && this.#vote === null;
    if (!untouched || this.configuration.servers.length > 0) return { refused: "not-empty" };
    if (!isVoter(configuration, this.id)) return { refused: "not-a-voter" };
    this.#term = 1;
    const index = this.#appendOwn("configuration", encodeConfiguration(configuration));
    this.#bootstrapping = true;
    return { index, term: 1 };
  }

  /** Appends commands, on the leader; gives the first one's index. */
  propose(commands: readonly Uint8Array[]): ProposalOutcome {
    const refused = this.#refusal();
    if (refused !== null) return { refused };
    const index = this.#log.lastIndex + 1;
    for (const data of commands) this.#appendOwn("command", data);
    this.#replicator.appendSoon();
    return { index, term: this.#term };
  }

  /**
   * Adds, promotes, demotes or removes one server. One change at a time, and only once the leader committed an entry of
   * its own term (the correction of July 2015 to the dissertation's section 4.1).
   */
  proposeConfiguration(change: ConfigurationChange): ProposalOutcome {
    const refused = this.#refusal() ?? this.refusalOfChange();
    if (refused !== null) return { refused };
    const next = changeConfiguration(this.configuration, change);
    if ("refused" in next) return next;
    const index = this.#appendOwn("configuration", encodeConfiguration(next));
    this.#syncFollowers();
    this.#replicator.appendSoon();
    return { index, term: this.#term };
  }

  /**
   * Puts a copy of the state in force from the next entry on. Its bytes must be stored on this server, durably; the others
   * take the entry only when they have them too. Nothing else is taken until it is committed.
   */
  proposeRestore(restore: RestoreReference): ProposalOutcome {
    const refused = this.#refusal();
    if (refused !== null) return { refused };
    this.#fetches.stored(restore.id);
    const index = this.#appendOwn("restore", encodeRestore(restore));
    this.#replicator.appendSoon();
    return { index, term: this.#term };
  }

  /** Why the leader takes nothing at present. */
  #refusal(): Refusal | null {
    if (this.#role !== "leader") return "not-leader";
    if (this.#handover.to !== null) return "transferring";
    return this.#restoreIndex > this.#commit ? "restoring" : null;
  }

  /** Why the membership must not change at present: two majorities that do not meet could come of it. */
  protected refusalOfChange(): Refusal | null {
    if (!this.configurationCommitted) return "change-pending";
    return this.#log.term(this.#commit) === this.#term ? null : "term-not-committed";
  }

  /**
   * Hands leadership to `to`, or to the voter whose log is longest (section 3.10): proposals are refused, the other one's log
   * is brought up to date, and it is told to stand for election. It worked when `Effects.leadership` names it as leader;
   * `Effects.transferAborted` tells that it did not within an election timeout, and this server still leads.
   */
  transferLeadership(to?: string): { readonly to: string } | { readonly refused: Refusal } {
    if (this.#role !== "leader") return { refused: "not-leader" };
    if (this.#handover.to !== null) return { refused: "transferring" };
    const all = voters(this.configuration);
    const target = to ?? this.#replicator.followers.bestSuccessor(all);
    if (
      target === null ||
      (target !== this.id && !this.configuration.servers.some(({ id }) => id === target))
    )
      return { refused: target === null ? "not-a-candidate" : "unknown-server" };
    if (target === this.id || !all.includes(target)) return { refused: "not-a-candidate" };
    this.#handover.begin(target);
    this.#hurryTransfer();
    return { to: target };
  }

  /** Asks for a linearizable read; the answer comes in `Effects.reads` with the same `context`. */
  readIndex(context: number): void {
    if (this.#role === "leader") this.#leaderRead(context, this.id);
    else if (this.#leader === null) this.#answers.push({ context, index: null });
    else this.#send(this.#leader, { type: "read-request", context: this.#forwardedReads.add(context) });
  }

  /**
   * The offered snapshot is whole and durable on this server: puts it in the place of the log. Gives false when the log has
   * reached that far by itself meanwhile, and the snapshot is not needed; otherwise `Effects.snapshot` follows. Any snapshot
   * of this cluster will do, an older one than was offered too: the leader goes on from where it ends.
   */
  installSnapshot(snapshot: SnapshotMeta): boolean {
    this.#fetches.ended();
    if (this.#coveredByLog(snapshot)) return false;
    this.#log.reset(snapshot);
    this.#configurations.reset(snapshot);
    this.#commit = this.#delivered = snapshot.index;
    this.#restoreIndex = 0;
    this.#snapshot = this.#snapshotToInstall = snapshot;
    this.#durability.forgetEntries();
    if (this.#role !== "follower") this.#becomeFollower(this.#term, null);
    if (this.#leader !== null) {
      this.#sendAfterPersist(this.#leader, { type: "append-accepted", match: snapshot.index });
    }
    return true;
  }

  /** A copy of the state that a `restore` entry names, or will name, is whole and durable on this server. */
  restoreStored(id: string): void {
    this.#fetches.stored(id);
  }

  /** What `Effects.fetch` asked for could not be fetched; the leader will offer it again. */
  fetchFailed(): void {
    this.#fetches.ended();
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
      case "timeout-now":
        if (this.#role === "follower" && this.#configurations.mayLead(this.id, this.#commit))
          this.#startElection(true);
        return;
      case "read-request":
        if (this.#role === "leader") this.#leaderRead(message.context, message.from);
        return;
      case "read-response": {
        const context = this.#forwardedReads.take(message.context);
        if (context !== undefined) this.#answers.push({ context, index: message.index });
        return;
      }
      case "stale":
        return;
    }
  }

  /** The hard state, entries and snapshot of the last effects are durable, in one transaction. */
  persisted(): void {
    const last = this.#durability.confirm();
    if (last !== null) this.#log.markStable(last.index, last.term);
    if (this.#bootstrapping && this.#log.stable > 0) {
      this.#bootstrapping = false;
      this.campaign();
    }
    if (this.#role === "leader") this.#maybeCommit();
    // A vote for itself counts once it is durable, like any other: after a crash it could give that term's vote away.
    if (this.#role === "candidate" && this.#durability.savedTerm === this.#term) {
      this.#ballot.record(this.id, true);
      if (this.#ballot.outcome(voters(this.configuration)) === "won") this.#becomeLeader();
    }
  }

  /**
   * The disk refused the last effects and nothing of them was written; their `messagesAfterPersist` must not be sent. Forgets
   * every entry that is not durable here, unless it is committed without this server. A leader whose forgotten entries
   * nobody was sent goes on; otherwise it does what a crash would make it do, and leads no more in this term, so that a
   * server whose disk works can. What is left is given out again with the next effects.
   */
  rollback(): void {
    this.#outbox.dropPromises();
    this.#bootstrapping = false;
    const snapshot = this.#durability.refuse();
    this.#snapshotToInstall ??= snapshot;
    const keep = Math.max(this.#log.stable, this.#commit);
    if (keep < this.#log.lastIndex) this.#truncateFrom(keep + 1);
    this.#log.handBack();
    if (this.#role === "leader" && this.#replicator.sentUpTo > keep) this.#becomeFollower(this.#term, null);
    else if (this.#role === "leader") {
      this.#syncFollowers();
      this.#replicator.followers.truncated(this.#log.lastIndex);
    }
  }

  /** A snapshot at `snapshot.index` is durable; entries up to `compactTo` (at most that index) are no longer needed. */
  compact(snapshot: SnapshotMeta, compactTo: number): void {
    if (compactTo > snapshot.index || snapshot.index > this.#delivered) {
      throw new Error(`raft: snapshot at ${snapshot.index} does not cover a log compacted to ${compactTo}`);
    }
    this.#snapshot = snapshot;
    if (compactTo <= this.#log.baseIndex) return;
    this.#log.compact(compactTo);
    this.#configurations.compact(compactTo);
  }

  // --- effects ------------------------------------------------------------------------------------------------------

  /** Whether `takeEffects` would give anything worth a turn. */
  get hasEffects(): boolean {
    return (
      !this.#outbox.empty ||
      this.#answers.length > 0 ||
      this.#snapshotToInstall !== null ||
      this.#fetches.due ||
      this.#handover.wasAborted ||
      this.#replicator.due ||
      this.#log.hasUnhanded ||
      this.#durability.mustSync(this.hardState) ||
      this.#delivered < this.#deliverable() ||
      this.#leadershipChanged()
    );
  }

  /** Takes what is to be done since the last call. */
  takeEffects(): Effects {
    if (this.#replicator.due) this.#replicator.broadcast(this.#leaderState);
    const { hardState, leadership } = this;
    const snapshot = this.#snapshotToInstall;
    const entries = this.#log.handOver();
    const effects: Effects = {
      ...this.#outbox.take(),
      hardState: this.#durability.changed(hardState) ? hardState : null,
      hardStateMustSync: this.#durability.mustSync(hardState),
      entries,
      committed: this.#deliver(),
      snapshot,
      fetch: this.#fetches.take(),
      leadership: this.#leadershipChanged() ? leadership : null,
      transferAborted: this.#handover.takeAborted(),
      reads: this.#answers,
    };
    this.#durability.hand(hardState, entries.at(-1), snapshot);
    this.#snapshotToInstall = null;
    this.#answers = [];
    this.#announced = leadership;
    return effects;
  }

  #deliver(): Entry[] {
    const to = this.#deliverable();
    if (to <= this.#delivered) return [];
    const committed = this.#log.slice(this.#delivered + 1, to, this.options.maxApplyBytes);
    this.#delivered += committed.length;
    this.#log.release(this.#delivered);
    for (const entry of committed) {
      if (entry.kind === "restore") this.#fetches.applied(decodeRestore(entry.data).id);
    }
    return committed;
  }

  /** Committed and durable here: an entry must not reach the state machine before it is in the log for good. */
  #deliverable(): number {
    return Math.min(this.#commit, this.#log.stable);
  }

  #leadershipChanged(): boolean {
    const { role, term, leader } = this.#announced;
    return role !== this.#role || term !== this.#term || leader !== this.#leader;
  }

  #send(to: string, body: MessageBody): void {
    this.#outbox.send(to, this.#term, body);
  }

  #sendAfterPersist(to: string, body: MessageBody, term = this.#term): void {
    this.#outbox.sendAfterPersist(to, term, body);
  }

  // --- elections ----------------------------------------------------------------------------------------------------

  /** Takes over a newer term where the message calls for it; false when the message is to be ignored. */
  #takeNewerTerm(message: Message): boolean {
    if (message.type === "vote-request") {
      // A leader was heard from within the shortest election timeout: its followers do not depose it (section 4.2.3),
      // unless it asks for that itself.
      const led = this.#leader !== null && this.#electionElapsed < this.options.electionTicks;
      if (led && !message.transfer) return false;
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
    this.#ballot.clear();
    this.#replicator.reset();
    this.#handover.end();
    this.#resetElectionTimer();
  }

  #failReads(): void {
    const own = this.#reads.drain().filter((read) => read.from === this.id);
    for (const { context } of own) this.#answers.push({ context, index: null });
    for (const context of this.#forwardedReads.drain()) this.#answers.push({ context, index: null });
  }

  #resetElectionTimer(): void {
    this.#electionElapsed = 0;
    const { electionTicks, random } = this.options;
    this.#electionTimeout = electionTicks + Math.floor(random() * electionTicks);
  }

  #startPreVote(): void {
    this.#leaveRole("pre-candidate", null);
    this.#ballot.record(this.id, true);
    this.#requestVotes(true, false, this.#term + 1);
  }

  #startElection(transfer: boolean): void {
    this.#leaveRole("candidate", null);
    this.#term++;
    this.#vote = this.id;
    this.#requestVotes(false, transfer, this.#term);
  }

  #requestVotes(pre: boolean, transfer: boolean, term: number): void {
    const { lastIndex, lastTerm } = this.#log;
    for (const id of voters(this.configuration)) {
      if (id === this.id) continue;
      this.#sendAfterPersist(id, { type: "vote-request", pre, transfer, lastIndex, lastTerm }, term);
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
    this.#ballot.record(message.from, message.granted);
    const outcome = this.#ballot.outcome(voters(this.configuration));
    if (outcome === "lost") this.#becomeFollower(this.#term, null);
    else if (outcome === "won" && message.pre) this.#startElection(false);
    else if (outcome === "won") this.#becomeLeader();
  }

  #becomeLeader(): void {
    this.#leaveRole("leader", this.id);
    this.#heartbeatElapsed = 0;
    this.#reads = new ReadQueue();
    this.#syncFollowers();
    // An entry of its own term lets the leader commit what earlier leaders left (section 3.6.2).
    this.#appendOwn("noop", NO_DATA);
    this.#replicator.broadcast(this.#leaderState);
  }

  // --- replication, leader ------------------------------------------------------------------------------------------

  #appendOwn(kind: EntryKind, data: Uint8Array): number {
    const entry: Entry = { index: this.#log.lastIndex + 1, term: this.#term, kind, data };
    this.#append(entry);
    return entry.index;
  }

  #append(entry: Entry): void {
    this.#note(entry);
    this.#log.append(entry);
  }

  /** Takes what an entry of the log says to Raft itself; throws, before anything changes, when it can't be read. */
  #note(entry: Entry): void {
    this.#configurations.note(entry);
    if (entry.kind !== "restore") return;
    this.#restoreIndex = entry.index;
    this.#fetches.stored(decodeRestore(entry.data).id);
  }

  #truncateFrom(index: number): void {
    if (index <= this.#commit) throw new Error(`raft: entry ${index} is committed and can't be replaced`);
    this.#log.truncateFrom(index);
    this.#configurations.truncateFrom(index);
    if (this.#restoreIndex >= index) this.#restoreIndex = 0;
  }

  get #leaderState(): LeaderState {
    return { term: this.#term, commit: this.#commit, snapshot: this.#snapshot };
  }

  #syncFollowers(): void {
    this.#replicator.sync(this.configuration.servers.map((server) => server.id));
  }

  #handleFollowerAnswer(
    message: Message & { type: "append-accepted" | "append-rejected" | "heartbeat-response" },
  ): void {
    const progress = this.#replicator.followers.get(message.from);
    if (this.#role !== "leader" || progress === undefined) return;
    progress.heard();
    if (message.type === "heartbeat-response") {
      progress.unblock();
      if (progress.match < this.#log.lastIndex) this.#replicator.append(message.from, this.#leaderState);
      this.#confirmReads(message.from, message.round);
    } else if (message.type === "append-rejected") {
      this.#replicator.rejected(message, this.#leaderState);
    } else if (message.match <= this.#log.lastIndex) {
      const grew = progress.accepted(message.match, this.#log.baseIndex);
      if (grew) this.#maybeCommit();
      if (this.#role !== "leader") return;
      if (progress.next <= this.#log.lastIndex) this.#replicator.append(message.from, this.#leaderState);
      if (grew) this.#hurryTransfer();
    }
  }

  /** Commits what a majority has. */
  #maybeCommit(): void {
    const index = this.#replicator.followers.matchedByMajority(voters(this.configuration), this.#log.stable);
    if (index <= this.#commit || !this.countsForCommit(index)) return;
    this.#commit = index;
    this.#replicator.appendSoon();
    for (const read of this.#reads.takeEarly()) this.#leaderRead(read.context, read.from);
    if (this.configurationCommitted && !isVoter(this.configuration, this.id)) {
      // It led until its own removal was committed (section 4.2.2); the others need not wait for a timeout.
      this.#replicator.broadcast(this.#leaderState);
      const successor = this.#replicator.followers.bestSuccessor(voters(this.configuration));
      if (successor !== null) this.#send(successor, { type: "timeout-now" });
      this.#becomeFollower(this.#term, null);
    }
  }

  /** Only entries of its own term are committed by counting servers; they commit what is before them (section 3.6.2). */
  protected countsForCommit(index: number): boolean {
    return this.#log.term(index) === this.#term;
  }

  /** Sends the word, and sends it again while it seems lost, once the other one's log is as long as this one. */
  #hurryTransfer(): void {
    const { to } = this.#handover;
    if (to === null || this.#replicator.followers.get(to)?.match !== this.#log.lastIndex) return;
    this.#send(to, { type: "timeout-now" });
  }

  // --- replication, follower ----------------------------------------------------------------------------------------

  #follow(leader: string): void {
    if (this.#role !== "follower" || this.#leader !== leader) this.#becomeFollower(this.#term, leader);
    this.#electionElapsed = 0;
    this.#leaderContact = 0;
  }

  #handleAppend(message: Message & { type: "append" }): void {
    const { prevIndex, prevTerm } = message;
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
    const entries = this.#storable(message);
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

  /** The entries up to the first `restore` whose copy is not here yet; that copy is fetched. */
  #storable({ from, entries }: Message & { type: "append" }): readonly Entry[] {
    for (const [position, entry] of entries.entries()) {
      if (entry.kind !== "restore" || this.#log.term(entry.index) === entry.term) continue;
      if (!this.#fetches.has(decodeRestore(entry.data), from)) return entries.slice(0, position);
    }
    return entries;
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

  /** An offer. The log stays as it is until the bytes are here (`installSnapshot`). */
  #handleInstallSnapshot({ from, snapshot }: Message & { type: "install-snapshot" }): void {
    if (this.#coveredByLog(snapshot)) {
      this.#sendAfterPersist(from, { type: "append-accepted", match: this.#commit });
    } else {
      this.#fetches.snapshotOffered(from, snapshot);
    }
  }

  /** Whether the log reaches the snapshot by itself, which then tells only that it is committed up to there. */
  #coveredByLog(snapshot: SnapshotMeta): boolean {
    if (snapshot.index <= this.#commit) return true;
    if (this.#log.term(snapshot.index) !== snapshot.term) return false;
    this.#commit = snapshot.index;
    return true;
  }

  // --- reads --------------------------------------------------------------------------------------------------------

  #leaderRead(context: number, from: string): void {
    if (this.#log.term(this.#commit) !== this.#term) {
      this.#reads.addEarly(context, from);
      return;
    }
    this.#reads.add(context, from, this.#commit);
    this.#replicator.heartbeat(this.#leaderState, this.#reads.round);
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
