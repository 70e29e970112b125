/** What the Raft core takes in and gives out. Terms as in Ongaro's dissertation (2014), chapters 3, 4, 6 and 9. */

/**
 * `noop` opens a leader's term; `configuration` carries the whole new membership; `restore` names a copy of the state that
 * takes the place of what was applied before (`RestoreReference`).
 */
export type EntryKind = "command" | "noop" | "configuration" | "restore";

export interface Entry {
  readonly index: number;
  readonly term: number;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

export interface Server {
  readonly id: string;
  /** `host:port` of the server's RPC listener. */
  readonly address: string;
  /** A server that does not vote only receives the log. */
  readonly voter: boolean;
}

export interface Configuration {
  /** Names the cluster, made at bootstrap and kept by every change: servers of two clusters must not mix. */
  readonly cluster?: string;
  readonly servers: readonly Server[];
}

/**
 * The data of a `restore` entry: which copy of the state is in force from this entry on. The bytes travel outside of the log,
 * and a server takes the entry into its log only once it has stored them (`RaftCore.restoreStored`), so that an entry that is
 * committed is backed by copies on a majority.
 */
export interface RestoreReference {
  /** Unique; names the stored copy. */
  readonly id: string;
  /** What the shell compares the fetched bytes with. */
  readonly checksum: string;
}

/** What must survive a restart besides the log (figure 2 of the paper); `commit` is kept too, to restart faster. */
export interface HardState {
  readonly term: number;
  readonly vote: string | null;
  readonly commit: number;
}

/** The point up to which the log is replaced by a snapshot, and the membership there. */
export interface SnapshotMeta {
  readonly index: number;
  readonly term: number;
  readonly configuration: Configuration;
}

export type MessageBody =
  | {
      readonly type: "vote-request";
      readonly pre: boolean;
      /** The leader itself asked for this election, so voters do not hold on to it (section 3.10). */
      readonly transfer: boolean;
      readonly lastIndex: number;
      readonly lastTerm: number;
    }
  | { readonly type: "vote-response"; readonly pre: boolean; readonly granted: boolean }
  | {
      readonly type: "append";
      readonly prevIndex: number;
      readonly prevTerm: number;
      readonly entries: readonly Entry[];
      readonly commit: number;
    }
  | { readonly type: "append-accepted"; readonly match: number }
  | {
      readonly type: "append-rejected";
      /** `prevIndex` of the refused append. */
      readonly prevIndex: number;
      /** Term of the entry in the way and the first index of that term; term 0 and last + 1 when the log is too short. */
      readonly conflictTerm: number;
      readonly conflictIndex: number;
    }
  | { readonly type: "heartbeat"; readonly commit: number; readonly round: number }
  | { readonly type: "heartbeat-response"; readonly round: number }
  /** Offers a snapshot; its bytes are fetched outside of these messages. Repeated until it is answered. */
  | { readonly type: "install-snapshot"; readonly snapshot: SnapshotMeta }
  /** The leader hands over: stand for election at once. */
  | { readonly type: "timeout-now" }
  | { readonly type: "read-request"; readonly context: number }
  | { readonly type: "read-response"; readonly context: number; readonly index: number }
  /** Tells a sender with an old term that it is behind. */
  | { readonly type: "stale" };

export type Message = MessageBody & { readonly from: string; readonly to: string; readonly term: number };

export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

export interface Leadership {
  readonly role: Role;
  readonly term: number;
  readonly leader: string | null;
}

/** Answer to a read: everything committed before it was asked is at or below `index`; null when leadership was lost. */
export interface ReadAnswer {
  readonly context: number;
  readonly index: number | null;
}

/** Bytes that this server needs before it can go on; the shell fetches them from `from`, outside of the core's messages. */
export type Fetch =
  | { readonly type: "snapshot"; readonly from: string; readonly snapshot: SnapshotMeta }
  | { readonly type: "restore"; readonly from: string; readonly restore: RestoreReference };

/**
 * What the shell must do. The order of durability, which the algorithm depends on:
 *
 * 1. `messages` promise nothing that must survive a crash; they may leave at once, while the disk still writes.
 * 2. `snapshot` (already whole on this server's disk), `hardState` and `entries` become durable in one transaction:
 *    the snapshot is the log's new start and everything before and after it is dropped; entries replace everything from
 *    the first one's index on. A store that can't write all of it at once writes it in this order: what a crash leaves is
 *    then still true. When the transaction fails, nothing of it may stay behind: call `rollback`.
 * 3. `persisted` is called. Only now this server counts its own vote and its own copy of an entry.
 * 4. `messagesAfterPersist` are sent: votes and acceptances that must be true after a crash.
 *
 * `committed` is durable here already (by an earlier step 2) and may be applied meanwhile, in order. With `snapshot`, the
 * machine is restored from it after step 2 and before anything of later effects is applied. A crash in between is mended at
 * start: a machine that is behind the log's base is restored from the snapshot there; a whole snapshot that the log does not
 * reach (no entry of its index and term) takes the place of the log before the core is made. The next effects are taken only after step 3.
 *
 * `fetch` is started at any time and replaces one that is under way; it ends with `installSnapshot`, `restoreStored` or
 * `fetchFailed`.
 */
export interface Effects {
  readonly messages: readonly Message[];
  readonly messagesAfterPersist: readonly Message[];
  readonly hardState: HardState | null;
  /** Whether `hardState` must be durable before going on (term or vote changed); a new commit index alone can wait. */
  readonly hardStateMustSync: boolean;
  readonly entries: readonly Entry[];
  readonly committed: readonly Entry[];
  readonly snapshot: SnapshotMeta | null;
  readonly fetch: Fetch | null;
  readonly leadership: Leadership | null;
  /** Server that leadership was to go to and did not within an election timeout; proposals are taken again. */
  readonly transferAborted: string | null;
  readonly reads: readonly ReadAnswer[];
}

/** A change by one server at a time (dissertation, section 4.1). `add` also gives and takes a vote, or changes an address. */
export type ConfigurationChange =
  | { readonly type: "add"; readonly server: Server }
  | { readonly type: "remove"; readonly id: string };

/** Why something that was asked of the core was not done; nothing was written. */
export type Refusal =
  | "not-leader"
  | "change-pending"
  | "term-not-committed"
  | "unknown-server"
  | "last-voter"
  /** Leadership is being handed over. */
  | "transferring"
  /** A `restore` entry is not committed yet. */
  | "restoring"
  /** `transferLeadership` to a server without a vote, or to the leader itself. */
  | "not-a-candidate"
  /** `bootstrap` of a server that has a log, a term or a configuration. */
  | "not-empty"
  /** `bootstrap` with a configuration in which this server has no vote. */
  | "not-a-voter";

export type ProposalOutcome =
  | { readonly index: number; readonly term: number }
  | { readonly refused: Refusal };

/** What the leader knows of another server. */
export interface Contact {
  readonly id: string;
  /** Ticks since it was last heard of; null while it never was by this leader. */
  readonly ticks: number | null;
  /** Last entry that is known to be durable there. */
  readonly match: number;
  /** Term of that entry; 0 when it is before the start of the leader's log. */
  readonly matchTerm: number;
}
