/** What the Raft core takes in and gives out. Terms as in Ongaro's dissertation (2014), chapters 3, 4, 6 and 9. */

/** `noop` opens a leader's term; `configuration` carries the whole new membership. */
export type EntryKind = "command" | "noop" | "configuration";

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
  | { readonly type: "install-snapshot"; readonly snapshot: SnapshotMeta }
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

/**
 * What the shell must do, in this order: send `messages` (at any time); install `snapshot`; make `hardState` and `entries`
 * durable in one transaction (entries replace everything from the first one's index on); call `persisted`; send
 * `messagesAfterPersist`. `committed` may be applied at once. The next effects are taken only after `persisted`.
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
  readonly leadership: Leadership | null;
  readonly reads: readonly ReadAnswer[];
}

/** A change by one server at a time (dissertation, section 4.1). */
export type ConfigurationChange =
  | { readonly type: "add"; readonly server: Server }
  | { readonly type: "remove"; readonly id: string };

/** Why a proposal was not taken. */
export type Refusal =
  | "not-leader"
  | "change-pending"
  | "term-not-committed"
  | "unknown-server"
  | "last-voter";

export type ProposalOutcome =
  | { readonly index: number; readonly term: number }
  | { readonly refused: Refusal };
