import { Ballot } from "./ballot.js";
import { changeConfiguration, encodeConfiguration, isVoter, voters } from "./configuration.js";
import { ConfigurationHistory } from "./configuration-history.js";
import { Followers } from "./followers.js";
import type { FlowLimits, Progress } from "./progress.js";
import { type EntrySource, RaftLog } from "./raft-log.js";
import { ForwardedReads, ReadQueue } from "./read-index.js";
import { decodeRestore, encodeRestore } from "./restore.js";
import type {
  Configuration,
  ConfigurationChange,
  Contact,
  Effects,
  Entry,
  EntryKind,
  Fetch,
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

export interface RaftOptions extends FlowLimits {
  readonly id: string;
  /** Ticks without a leader before an election; each server adds a random part of the same length. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Bytes of data in one append. */
  readonly maxAppendBytes: number;
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

/** A handover of leadership under way, on the leader. */
interface Transfer {
  readonly to: string;
  ticks: number;
}

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
  readonly #followers: Followers;
  /** Appends go out with the next effects, so that what is proposed in one turn travels together. */
  #appendsDue = false;
  /** Last entry that any other server was sent in this leadership. */
  #sentUpTo = 0;
  /** The first entry of a new cluster is not durable yet. */
  #bootstrapping = false;
  #transfer: Transfer | null = null;
  #transferAborted: string | null = null;
  #reads = new ReadQueue();
  readonly #forwardedReads: ForwardedReads;

  /** What the shell fetches at present, and the same while it was not told yet. */
  #fetching: Fetch | null = null;
  #fetchToStart: Fetch | null = null;
  #snapshotToInstall: SnapshotMeta | null = null;
  #handedSnapshot: SnapshotMeta | null = null;
  /** Last `restore` entry of the log; 0 when there is none. At most one is not committed. */
  #restoreIndex = 0;
  /** Copies that are stored here, of `restore` entries that are not applied yet. */
  readonly #stored = new Set<string>();

  #messages: Message[] = [];
  #messagesAfterPersist: Message[] = [];
  #answers: ReadAnswer[] = [];
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
    this.#followers = new Followers(this.id, options);
    this.#forwardedReads = new ForwardedReads(Math.floor(options.random() * 2 ** 52));
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
    return this.#configurations.current;
  }
  /** Whether the configuration in force is known to be committed. */
  get configurationCommitted(): boolean {
    return this.#configurations.currentIndex <= this.#commit;
  }
  /** Server that leadership is being handed to. */
  get transferTarget(): string | null {
    return this.#transfer?.to ?? null;
  }
  /** Ticks since this server heard from a leader; 0 on the leader, null while it never did. */
  get leaderContact(): number | null {
    return this.#role === "leader" ? 0 : this.#leaderContact;
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
    const configuration = this.#configurations.at(index);
    if (term === undefined || configuration === undefined)
      throw new Error(`raft: entry ${index} is not in the log`);
    return { index, term, configuration };
  }

  /** The other servers of the configuration, on the leader; empty elsewhere. */
  contacts(): Contact[] {
    return [...this.#followers]
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
    const needed = Math.min(index, this.#followers.neededAfterSnapshot());
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
    for (const id of this.#followers.tick(this.configurationCommitted)) {
      // It may have died while it fetched, or been served by appends since.
      const progress = this.#followers.get(id)!;
      progress.probe(progress.match + 1);
      this.#sendAppend(id);
    }
    if (this.#transfer !== null && ++this.#transfer.ticks >= this.options.electionTicks) {
      this.#transferAborted = this.#transfer.to;
      this.#transfer = null;
    }
    if (this.#electionElapsed >= this.options.electionTicks) {
      this.#electionElapsed = 0;
      if (!this.#followers.takeActiveQuorum(voters(this.configuration))) {
        this.#becomeFollower(this.#term, null);
        return;
      }
    }
    if (++this.#heartbeatElapsed >= this.options.heartbeatTicks) {
      this.#heartbeatElapsed = 0;
      this.#broadcastHeartbeat();
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
    this.#appendsDue = true;
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
    this.#appendsDue = true;
    return { index, term: this.#term };
  }

  /**
   * Puts a copy of the state in force from the next entry on. Its bytes must be stored on this server, durably; the others
   * take the entry only when they have them too. Nothing else is taken until it is committed.
   */
  proposeRestore(restore: RestoreReference): ProposalOutcome {
    const refused = this.#refusal();
    if (refused !== null) return { refused };
    this.#stored.add(restore.id);
    const index = this.#appendOwn("restore", encodeRestore(restore));
    this.#appendsDue = true;
    return { index, term: this.#term };
  }

  /** Why the leader takes nothing at present. */
  #refusal(): Refusal | null {
    if (this.#role !== "leader") return "not-leader";
    if (this.#transfer !== null) return "transferring";
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
    if (this.#transfer !== null) return { refused: "transferring" };
    const all = voters(this.configuration);
    const target = to ?? this.#followers.bestSuccessor(all);
    if (
      target === null ||
      (target !== this.id && !this.configuration.servers.some(({ id }) => id === target))
    )
      return { refused: target === null ? "not-a-candidate" : "unknown-server" };
    if (target === this.id || !all.includes(target)) return { refused: "not-a-candidate" };
    this.#transfer = { to: target, ticks: 0 };
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
    this.#fetching = this.#fetchToStart = null;
    if (this.#coveredByLog(snapshot)) return false;
    this.#log.reset(snapshot);
    this.#configurations.reset(snapshot);
    this.#commit = this.#delivered = snapshot.index;
    this.#restoreIndex = 0;
    this.#snapshot = this.#snapshotToInstall = snapshot;
    this.#handedLast = null;
    if (this.#role !== "follower") this.#becomeFollower(this.#term, null);
    if (this.#leader !== null) {
      this.#sendAfterPersist(this.#leader, { type: "append-accepted", match: snapshot.index });
    }
    return true;
  }

  /** A copy of the state that a `restore` entry names, or will name, is whole and durable on this server. */
  restoreStored(id: string): void {
    this.#stored.add(id);
    if (this.#fetching?.type === "restore" && this.#fetching.restore.id === id)
      this.#fetching = this.#fetchToStart = null;
  }

  /** What `Effects.fetch` asked for could not be fetched; the leader will offer it again. */
  fetchFailed(): void {
    this.#fetching = this.#fetchToStart = null;
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
    this.#savedHardState = this.#handedHardState;
    this.#handedSnapshot = null;
    if (this.#handedLast !== null) this.#log.markStable(this.#handedLast.index, this.#handedLast.term);
    this.#handedLast = null;
    if (this.#bootstrapping && this.#log.stable > 0) {
      this.#bootstrapping = false;
      this.campaign();
    }
    if (this.#role === "leader") this.#maybeCommit();
    // A vote for itself counts once it is durable, like any other: after a crash it could give that term's vote away.
    if (this.#role === "candidate" && this.#savedHardState.term === this.#term) {
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
    this.#messagesAfterPersist = [];
    this.#bootstrapping = false;
    this.#handedHardState = this.#savedHardState;
    this.#snapshotToInstall ??= this.#handedSnapshot;
    this.#handedSnapshot = null;
    this.#handedLast = null;
    const keep = Math.max(this.#log.stable, this.#commit);
    if (keep < this.#log.lastIndex) this.#truncateFrom(keep + 1);
    this.#log.handBack();
    if (this.#role === "leader" && this.#sentUpTo > keep) this.#becomeFollower(this.#term, null);
    else if (this.#role === "leader") {
      this.#syncFollowers();
      this.#followers.truncated(this.#log.lastIndex);
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
      this.#messages.length > 0 ||
      this.#messagesAfterPersist.length > 0 ||
      this.#answers.length > 0 ||
      this.#snapshotToInstall !== null ||
      this.#fetchToStart !== null ||
      this.#transferAborted !== null ||
      this.#appendsDue ||
      this.#log.hasUnhanded ||
      this.#hardStateMustSync() ||
      this.#delivered < this.#deliverable() ||
      this.#leadershipChanged()
    );
  }

  /** Takes what is to be done since the last call. */
  takeEffects(): Effects {
    if (this.#appendsDue) this.#broadcastAppend();
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
    this.#log.release(this.#delivered);
    for (const entry of committed) {
      if (entry.kind === "restore") this.#stored.delete(decodeRestore(entry.data).id);
    }
    const effects: Effects = {
      messages: this.#messages,
      messagesAfterPersist: this.#messagesAfterPersist,
      hardState: changed ? hardState : null,
      hardStateMustSync: mustSync,
      entries,
      committed,
      snapshot: this.#snapshotToInstall,
      fetch: this.#fetchToStart,
      leadership: this.#leadershipChanged() ? this.leadership : null,
      transferAborted: this.#transferAborted,
      reads: this.#answers,
    };
    this.#messages = [];
    this.#messagesAfterPersist = [];
    this.#answers = [];
    this.#handedSnapshot = this.#snapshotToInstall;
    this.#snapshotToInstall = null;
    this.#fetchToStart = null;
    this.#transferAborted = null;
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
    this.#followers.clear();
    this.#appendsDue = false;
    this.#transfer = null;
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
    this.#sentUpTo = 0;
    this.#syncFollowers();
    // An entry of its own term lets the leader commit what earlier leaders left (section 3.6.2).
    this.#appendOwn("noop", NO_DATA);
    this.#broadcastAppend();
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
    this.#stored.add(decodeRestore(entry.data).id);
  }

  #truncateFrom(index: number): void {
    if (index <= this.#commit) throw new Error(`raft: entry ${index} is committed and can't be replaced`);
    this.#log.truncateFrom(index);
    this.#configurations.truncateFrom(index);
    if (this.#restoreIndex >= index) this.#restoreIndex = 0;
  }

  #syncFollowers(): void {
    const servers = this.configuration.servers.map((server) => server.id);
    this.#followers.sync(servers, this.#log.lastIndex, this.options.electionTicks);
  }

  /** Sends every follower what it lacks: entries, or only a newer commit index. */
  #broadcastAppend(): void {
    this.#appendsDue = false;
    for (const [id, progress] of this.#followers) {
      if (progress.next <= this.#log.lastIndex || progress.sentCommit < this.#commit) this.#sendAppend(id);
    }
  }

  #broadcastHeartbeat(): void {
    for (const [id, progress] of this.#followers) {
      const commit = Math.min(progress.match, this.#commit);
      this.#send(id, { type: "heartbeat", commit, round: this.#reads.round });
    }
  }

  #sendAppend(id: string): void {
    const progress = this.#followers.get(id);
    if (progress === undefined || progress.paused) return;
    const prevIndex = progress.next - 1;
    const prevTerm = this.#log.term(prevIndex);
    if (prevTerm === undefined) {
      if (this.#snapshot === null)
        throw new Error(`raft: no snapshot for ${id}, which needs entry ${progress.next}`);
      progress.installing(this.#snapshot.index, this.options.electionTicks);
      this.#send(id, { type: "install-snapshot", snapshot: this.#snapshot });
      return;
    }
    const entries = this.#log.slice(progress.next, this.#log.lastIndex, this.options.maxAppendBytes);
    const bytes = entries.reduce((sum, entry) => sum + entry.data.length, 0);
    this.#send(id, { type: "append", prevIndex, prevTerm, entries, commit: this.#commit });
    progress.sent(prevIndex + entries.length, bytes, this.#commit);
    this.#sentUpTo = Math.max(this.#sentUpTo, prevIndex + entries.length);
  }

  #handleFollowerAnswer(
    message: Message & { type: "append-accepted" | "append-rejected" | "heartbeat-response" },
  ): void {
    const progress = this.#followers.get(message.from);
    if (this.#role !== "leader" || progress === undefined) return;
    progress.heard();
    if (message.type === "heartbeat-response") {
      progress.unblock();
      if (progress.match < this.#log.lastIndex) this.#sendAppend(message.from);
      this.#confirmReads(message.from, message.round);
    } else if (message.type === "append-rejected") {
      this.#handleRejection(message, progress);
    } else if (message.match <= this.#log.lastIndex) {
      const grew = progress.accepted(message.match, this.#log.baseIndex);
      if (grew) this.#maybeCommit();
      if (this.#role !== "leader") return;
      if (progress.next <= this.#log.lastIndex) this.#sendAppend(message.from);
      if (grew) this.#hurryTransfer();
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

  /** Commits what a majority has. */
  #maybeCommit(): void {
    const index = this.#followers.matchedByMajority(voters(this.configuration), this.#log.stable);
    if (index <= this.#commit || !this.countsForCommit(index)) return;
    this.#commit = index;
    this.#appendsDue = true;
    for (const read of this.#reads.takeEarly()) this.#leaderRead(read.context, read.from);
    if (this.configurationCommitted && !isVoter(this.configuration, this.id)) {
      // It led until its own removal was committed (section 4.2.2); the others need not wait for a timeout.
      this.#broadcastAppend();
      const successor = this.#followers.bestSuccessor(voters(this.configuration));
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
    if (this.#transfer === null) return;
    const progress = this.#followers.get(this.#transfer.to);
    if (progress?.match === this.#log.lastIndex) this.#send(this.#transfer.to, { type: "timeout-now" });
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
      const restore = decodeRestore(entry.data);
      if (this.#stored.has(restore.id)) continue;
      const fetching = this.#fetching;
      if (fetching?.type !== "restore" || fetching.restore.id !== restore.id || fetching.from !== from)
        this.#fetching = this.#fetchToStart = { type: "restore", from, restore };
      return entries.slice(0, position);
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
    } else if (this.#fetching?.type !== "snapshot" || this.#fetching.from !== from) {
      this.#fetching = this.#fetchToStart = { type: "snapshot", from, snapshot };
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
