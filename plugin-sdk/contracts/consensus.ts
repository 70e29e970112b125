/** Consensus: the replicated log and who leads it. */
import { createToken } from "../kernel/token.js";

/** One committed entry, in log order. */
export interface LogEntry {
  /** Position in the log, from 1; never reused. */
  readonly index: number;
  readonly term: number;
  /** The command as proposed; empty for entries that consensus made itself (a new leader's no-op). */
  readonly data: Uint8Array;
}

/**
 * What consensus drives: applied exactly in log order, once an index. `apply` is synchronous and takes a batch, so that
 * a state machine can put the batch and its applied index in one transaction of its store.
 */
export interface StateMachine {
  /** Index of the last entry applied and stored; consensus starts delivering right after it. */
  lastApplied(): number;
  /**
   * Applies a batch in order and returns each entry's result. An entry that is refused gives an `Error` as its result;
   * throwing means that the machine can't go on, and stops the server.
   */
  apply(entries: readonly LogEntry[]): readonly unknown[];
  /** Writes a consistent copy at the last applied index to `folder`; gives that index. */
  snapshot(folder: string): Promise<number>;
  /**
   * Replaces everything with the copy in `folder`. With `index`, the machine counts as having applied up to there: the copy
   * was taken in another log, or earlier in this one, and is put in force at that position, which is not before the copy's
   * own.
   */
  restore(folder: string, index?: number): Promise<void>;
  /**
   * Rejects, with what is wrong, where `restore` would: for a copy that is damaged or of another kind. Changes nothing; gives
   * the index at which the copy was taken.
   */
  verify(folder: string): Promise<number>;
}

export interface Proposed {
  /** Index at which the command was committed. */
  readonly index: number;
  /** What the state machine returned for it. */
  readonly result: unknown;
}

export interface Peer {
  readonly id: string;
  /** `host:port` of the server's RPC listener. */
  readonly address: string;
  readonly voter: boolean;
  readonly leader: boolean;
}

/** What the leader knows of one server's log; autopilot judges health by it. */
export interface PeerProgress {
  readonly id: string;
  /** Milliseconds since the leader last heard from it; 0 for the leader itself, null while it never did. */
  readonly lastContact: number | null;
  /** Last entry that the server is known to have. */
  readonly lastIndex: number;
  /** Term of that entry. */
  readonly lastTerm: number;
}

/**
 * Who takes part, where consensus keeps that itself (Raft dissertation, chapter 4: one server at a time). Every change is
 * made on the leader, rejects with `NotLeaderError` elsewhere, and resolves with its index once it is committed. A change
 * while another one is not committed yet waits for it.
 */
export interface Membership {
  /** Whether the log names a cluster that this server belongs to, or belonged to. */
  bootstrapped(): boolean;
  /**
   * Begins a cluster of these servers, all of them voters. To be called on one of them, once; the others learn of it
   * through the log. Rejects on a server that is bootstrapped, and when `servers` does not name this one.
   */
  bootstrap(servers: readonly { readonly id: string; readonly address: string }[]): Promise<void>;
  /** Adds a server without a vote, or gives one that is there another address. */
  addNonvoter(id: string, address: string): Promise<number>;
  /** Gives a server its vote. */
  promote(id: string): Promise<number>;
  /** Takes a server's vote. */
  demote(id: string): Promise<number>;
  /** Removes a server; the leader may remove itself, and steps down once that is committed. */
  remove(id: string): Promise<number>;
}

/** A copy of the state, as it was written. */
export interface SnapshotInfo {
  readonly index: number;
  readonly term: number;
  readonly peers: readonly Pick<Peer, "id" | "address" | "voter">[];
}

export type LeadershipListener = (leader: boolean, term: number) => void;

/** Raised by `propose` on a server that does not lead; the command was not written. */
export class NotLeaderError extends Error {
  override readonly name = "NotLeaderError";
  constructor(readonly leader: Peer | undefined) {
    super(
      leader === undefined ? "No cluster leader" : `not the leader; ${leader.id} at ${leader.address} is`,
    );
  }
}

/**
 * Contract of a consensus plugin. Terms as in the Raft paper (Ongaro and Ousterhout 2014, section 5): at most one leader
 * a term, and an entry that `propose` answered for is in every later leader's log.
 */
export interface Consensus {
  /** This server's identity in the configuration. */
  readonly id: string;
  /** Undefined where an engine outside keeps its own members, and servers take part by being connected to it. */
  readonly membership: Membership | undefined;
  /**
   * Opens the log, delivers what is known to be committed and not yet applied, and takes part in elections. Resolves before
   * anybody need lead.
   */
  start(machine: StateMachine): Promise<void>;
  stop(): Promise<void>;
  /**
   * Appends a command and waits until it is durable on a majority and applied here. The bytes are not copied: leave them
   * alone until the promise settles. Rejects
   * - with the machine's own `Error` when that is the command's result (the command is in the log all the same);
   * - with `NotLeaderError`; nothing was written;
   * - with an error whose `code` is `ERR_CONSENSUS_BUSY` (too much under way), `ERR_COMMAND_TOO_LARGE` or `ERR_DISK_FULL`;
   *   nothing was written, and the same command may be proposed again;
   * - with `code` `ERR_OUTCOME_UNKNOWN` when leadership or the server was lost on the way.
   */
  propose(command: Uint8Array): Promise<Proposed>;
  /** Resolves once everything committed before the call is applied here (Raft dissertation, section 6.4). */
  barrier(): Promise<number>;
  isLeader(): boolean;
  leader(): Peer | undefined;
  term(): number;
  peers(): readonly Peer[];
  /** Empty on a server that does not lead. */
  progress(): readonly PeerProgress[];
  /**
   * Hands leadership to the server `id`, or to the one whose log is longest (dissertation, section 3.10). Resolves when the
   * other leads; rejects, still leading, when it does not within an election timeout, and with `NotLeaderError`.
   */
  transferLeadership(id?: string): Promise<void>;
  /** Writes a copy of the state at its last applied index to `folder`. */
  saveSnapshot(folder: string): Promise<SnapshotInfo>;
  /**
   * Puts the copy in `folder`, of whatever cluster, in the place of the state on every server; on the leader. Everything that
   * was proposed before is settled first. Gives the index at which the copy is in force.
   */
  restoreSnapshot(folder: string): Promise<number>;
  /** Called on every change, and at once with the present state. Returns its removal. */
  onLeadership(listener: LeadershipListener): () => void;
  stats(): Readonly<Record<string, string | number>>;
}
export const Consensus = createToken<Consensus>("Consensus");
