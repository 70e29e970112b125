import type { EntrySource } from "./core/raft-log.js";
import type { Configuration, Entry, HardState, SnapshotMeta } from "./core/types.js";

/** What a log holds when it is opened. */
export interface StoredLog {
  readonly hardState: HardState;
  /** Where the log starts: everything up to `base.index` is in a snapshot. */
  readonly base: SnapshotMeta;
  /** Last entry; `base.index` when there is none. */
  readonly last: number;
  /** Read and checked while they are gone through: that throws `LogDamagedError`. */
  readonly entries: Iterable<Entry>;
  /** Reads durable entries back; undefined for a store that has no copy of its own. */
  readonly source: EntrySource | undefined;
}

/** One atomic change of the log. */
export interface LogWrite {
  readonly hardState: HardState | null;
  /** Replace everything from the first one's index on. */
  readonly entries: readonly Entry[];
  /** New start of the log; entries up to it are dropped. */
  readonly base: SnapshotMeta | null;
  /** Whether entries after `base` are dropped too: a snapshot takes the place of the whole log. */
  readonly reset?: boolean;
}

/** Where a server keeps its log. Writes come one at a time: the next one after the last one's promise. */
export interface LogStore {
  /** Folder or name, for errors. */
  readonly location: string;
  /** Folder that an operator finds the log in, and `peers.json` may be put in. */
  readonly folder?: string;
  /**
   * Reads everything back; a new log is empty, belongs to server `owner` and names no cluster. Rejects with `LogDamagedError`
   * for anything unreadable and for a log of another server.
   */
  open(owner: string): Promise<StoredLog>;
  /**
   * Resolves once the change is durable. Rejects with `DiskFullError` when nothing was written for want of space; after
   * any other error the store must not be used again.
   */
  write(change: LogWrite): Promise<void>;
  /**
   * Puts `configuration` in the place of every one in the log, durably, and reads everything back. For an operator who recovers
   * a cluster: the entries keep their index and term, so servers whose logs agree still do.
   */
  reconfigure(configuration: Configuration): Promise<StoredLog>;
  close(): Promise<void>;
}

/** Where an empty log starts. */
export const EMPTY_BASE: SnapshotMeta = { index: 0, term: 0, configuration: { servers: [] } };
