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
  /** Replaces everything with the copy in `folder`. */
  restore(folder: string): Promise<void>;
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
  /** Opens the log, delivers what is committed and not yet applied, and takes part in elections. */
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
  /** Called on every change, and at once with the present state. Returns its removal. */
  onLeadership(listener: LeadershipListener): () => void;
  stats(): Readonly<Record<string, string | number>>;
}
export const Consensus = createToken<Consensus>("Consensus");
