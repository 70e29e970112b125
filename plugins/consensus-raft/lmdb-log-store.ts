import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { decodeMeta, encodeMeta, LogDamagedError } from "@drover/plugin-sdk/consensus";
import { type Database, open, type RootDatabase } from "lmdb";
import { encodeConfiguration, parseConfiguration } from "./core/configuration.js";
import type { EntrySource } from "./core/raft-log.js";
import type { Configuration, Entry, HardState, SnapshotMeta } from "./core/types.js";
import { decodeRecord, encodeRecord } from "./entry-record.js";
import { EMPTY_BASE, type LogStore, type LogWrite, type StoredLog } from "./log-store.js";
import { freeBytes, SpaceReservation } from "./space-reservation.js";

/** Compacted entries removed with one write, so that compaction never delays a proposal by much. */
const REMOVALS_A_WRITE = 1024;
/** Room for the tree's inner pages and the list of free pages of one transaction. */
const PAGES_OF_A_WRITE = 256 * 1024;
const PAGE = 4096;

export interface LmdbLogOptions {
  readonly folder: string;
  /** Free space below which writes are refused, bytes. */
  readonly minFreeBytes: number;
  /** Replaces the question to the file system. */
  readonly freeBytes?: (folder: string) => number;
}

/**
 * The log in LMDB. Without `overlappingSync` a commit is: write pages, fdatasync, write the meta page through an O_DSYNC
 * descriptor; lmdb-js resolves after that, so its promise means durable, and a crash shows either the whole write or none.
 */
export class LmdbLogStore implements LogStore, EntrySource {
  readonly location: string;
  readonly folder: string;
  #root: RootDatabase<Buffer, string> | undefined;
  #meta!: Database<Buffer, string>;
  #log!: Database<Buffer, number>;
  #space: SpaceReservation | undefined;
  /** First and last key in the log; the first may be a compacted entry whose removal is still due. */
  #first = 1;
  #last = 0;
  #base = 0;

  constructor(private readonly options: LmdbLogOptions) {
    this.location = this.folder = options.folder;
  }

  async open(owner: string): Promise<StoredLog> {
    await mkdir(this.location, { recursive: true, mode: 0o700 });
    try {
      this.#root = open<Buffer, string>({
        path: this.location,
        encoding: "binary",
        overlappingSync: false,
        maxDbs: 4,
      });
    } catch (error) {
      throw new LogDamagedError(
        `the raft log in ${this.location} can't be opened: ${(error as Error).message}`,
        {
          cause: error,
        },
      );
    }
    this.#meta = this.#root.openDB<Buffer, string>({ name: "meta", encoding: "binary" });
    this.#log = this.#root.openDB<Buffer, number>({ name: "log", encoding: "binary" });
    const file = join(this.location, "data.mdb");
    await chmod(file, 0o600);
    this.#space = await SpaceReservation.open(
      file,
      this.options.minFreeBytes,
      this.options.freeBytes ?? freeBytes,
    );
    const stored = this.#read();
    this.#base = stored.base.index;
    await this.#claim(owner, stored);
    return stored;
  }

  /** A log says whose it is: a server that goes on with another one's log would break its promises. */
  async #claim(owner: string, { base }: StoredLog): Promise<void> {
    // Logs of one server, from before there was such a record, name it in their first configuration.
    const recorded = this.#readMeta("server", parseOwner) ?? base.configuration.servers[0]?.id;
    if (recorded !== undefined && recorded !== owner) {
      throw new LogDamagedError(
        `the raft log in ${this.location} belongs to server ${recorded}, and this is server ${owner}; restore the node-id that belongs to the log`,
      );
    }
    if (this.#meta.get("server") !== undefined) return;
    await this.#space!.ensure(this.#usedBytes(), PAGES_OF_A_WRITE);
    await committed(
      [this.#meta.put("server", encodeMeta({ id: owner })), this.#meta.put("base", encodeMeta(base))],
      this.location,
    );
  }

  async write(change: LogWrite): Promise<void> {
    if (change.reset === true && change.base === null) throw new Error("a log is reset to a base only");
    const bytes = change.entries.reduce(
      (sum, { data }) => sum + 2 * (data.length + 128) + (data.length > 1500 ? PAGE : 0),
      0,
    );
    await this.#space!.ensure(this.#usedBytes(), bytes + PAGES_OF_A_WRITE);
    // lmdb-js puts everything of one turn of the event loop into one transaction (eventTurnBatching, its default).
    const puts: Promise<boolean>[] = [];
    if (change.hardState !== null) puts.push(this.#meta.put("hard-state", encodeMeta(change.hardState)));
    if (change.base !== null) {
      puts.push(this.#meta.put("base", encodeMeta(change.base)));
      this.#base = Math.max(this.#base, change.base.index);
    }
    if (change.reset === true) {
      for (let index = Math.max(this.#first, this.#base + 1); index <= this.#last; index++)
        puts.push(this.#log.remove(index));
      this.#last = this.#base;
    }
    const next = change.entries[0]?.index;
    if (next !== undefined) {
      for (let index = next + change.entries.length; index <= this.#last; index++)
        puts.push(this.#log.remove(index));
      for (const entry of change.entries) puts.push(this.#log.put(entry.index, encodeRecord(entry)));
      this.#last = next + change.entries.length - 1;
    }
    const until = Math.min(this.#base, this.#first + REMOVALS_A_WRITE - 1);
    for (; this.#first <= until; this.#first++) puts.push(this.#log.remove(this.#first));
    await committed(puts, this.location);
  }

  async reconfigure(configuration: Configuration): Promise<StoredLog> {
    const { base, entries } = this.#read();
    const data = encodeConfiguration(configuration);
    const replaced = [...entries].filter(({ kind }) => kind === "configuration");
    await this.#space!.ensure(this.#usedBytes(), replaced.length * (data.length + PAGE) + PAGES_OF_A_WRITE);
    await committed(
      [
        this.#meta.put("base", encodeMeta({ ...base, configuration })),
        ...replaced.map((entry) => this.#log.put(entry.index, encodeRecord({ ...entry, data }))),
      ],
      this.location,
    );
    this.#root!.resetReadTxn();
    return this.#read();
  }

  async close(): Promise<void> {
    if (this.#root === undefined) return;
    await this.#space?.close();
    this.#space = undefined;
    await this.#root.close();
    this.#root = undefined;
  }

  /** Bytes of the file up to the last page that LMDB has ever used. */
  #usedBytes(): number {
    const { lastPageNumber, pageSize } = this.#root!.getStats() as {
      lastPageNumber: number;
      pageSize: number;
    };
    return (lastPageNumber + 1) * pageSize;
  }

  #read(): StoredLog {
    const base = this.#readMeta("base", parseBase) ?? EMPTY_BASE;
    const hardState = this.#readMeta("hard-state", parseHardState) ?? { term: 0, vote: null, commit: 0 };
    // Compacted entries whose removal is due may be there still, in pieces.
    const first = [...this.#log.getKeys({ limit: 1 })][0] ?? base.index + 1;
    const last = [...this.#log.getKeys({ limit: 1, reverse: true })][0] ?? base.index;
    this.#first = Math.min(first, base.index + 1);
    this.#last = Math.max(last, base.index);
    const entries = { [Symbol.iterator]: () => this.#range(base.index + 1, this.#last) };
    return { hardState, base, last: this.#last, entries, source: this };
  }

  read(from: number, to: number, maxBytes: number): Entry[] {
    // Reads of one turn of the event loop share a view, which may be from before the last write.
    this.#root!.resetReadTxn();
    const entries: Entry[] = [];
    let bytes = 0;
    for (const entry of this.#range(from, to)) {
      bytes += entry.data.length;
      if (entries.length > 0 && bytes > maxBytes) break;
      entries.push(entry);
    }
    return entries;
  }

  /** Entries from `from` to `to`, each checked; throws for one that is missing or damaged. */
  *#range(from: number, to: number): Generator<Entry, void, undefined> {
    let expected = from;
    for (const { key, value } of this.#log.getRange({ start: from, end: to + 1 })) {
      if (key !== expected) throw this.#damaged(`entry ${expected} is missing; entry ${key} follows`);
      expected = key + 1;
      let entry: Entry;
      try {
        entry = decodeRecord(value, key);
      } catch (error) {
        throw this.#damaged(`entry ${key} is damaged: ${(error as Error).message}`, error);
      }
      yield entry;
    }
    if (expected <= to) throw this.#damaged(`entry ${expected} is missing`);
  }

  #readMeta<T>(key: string, parse: (value: unknown) => T): T | undefined {
    const record = this.#meta.get(key);
    if (record === undefined) return undefined;
    try {
      return parse(decodeMeta(record));
    } catch (error) {
      throw this.#damaged(`the record "${key}" is damaged: ${(error as Error).message}`, error);
    }
  }

  #damaged(what: string, cause?: unknown): LogDamagedError {
    const file = join(this.location, "data.mdb");
    return new LogDamagedError(
      `raft log ${file}: ${what}. Restore this server's data folder from a backup, or remove the folder so that it rejoins empty`,
      { cause },
    );
  }
}

/** Waits for every write of a transaction and gives the error of the commit itself, where lmdb-js hides it one deeper. */
async function committed(writes: readonly Promise<boolean>[], location: string): Promise<void> {
  const failed = (await Promise.allSettled(writes)).find((result) => result.status === "rejected");
  if (failed === undefined) return;
  const reason = failed.reason as Error & { commitError?: Promise<never> };
  const [cause] = await Promise.allSettled([reason.commitError ?? Promise.reject(reason)]);
  const error = cause.status === "rejected" ? (cause.reason as Error) : reason;
  throw new Error(`the raft log in ${location} could not be written: ${error.message}`, { cause: error });
}

function parseBase(value: unknown): SnapshotMeta {
  const { index, term, configuration } = value as Partial<SnapshotMeta>;
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(term))
    throw new TypeError("index or term is not a number");
  return { index: index!, term: term!, configuration: parseConfiguration(configuration) };
}

function parseOwner(value: unknown): string {
  const { id } = value as { id?: unknown };
  if (typeof id !== "string") throw new TypeError("it names no server");
  return id;
}

function parseHardState(value: unknown): HardState {
  const { term, vote, commit } = value as Partial<HardState>;
  if (!Number.isSafeInteger(term) || !Number.isSafeInteger(commit))
    throw new TypeError("term or commit is not a number");
  if (vote !== null && typeof vote !== "string") throw new TypeError("vote is neither a server nor null");
  return { term: term!, vote, commit: commit! };
}
