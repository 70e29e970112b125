import { crc32 } from "node:zlib";
import { decodeMeta, encodeMeta } from "@drover/plugin-sdk/consensus";
import type { Entry, HardState, SnapshotMeta } from "../../plugins/consensus-raft/core/types.js";
import { decodeRecord, encodeRecord } from "../../plugins/consensus-raft/entry-record.js";
import type { MachineState } from "./machine.js";
import type { Random } from "./random.js";

/** What the disk holds of the log. */
export interface StoredLog {
  readonly hardState: HardState;
  readonly base: SnapshotMeta;
  readonly entries: readonly Entry[];
}

export interface SnapshotFile {
  readonly meta: SnapshotMeta;
  readonly state: MachineState;
}

/** One write of the log. */
export interface DiskWrite {
  readonly hardState: HardState | null;
  /** A snapshot that takes the place of the whole log. */
  readonly snapshot: SnapshotMeta | null;
  /** New start of the log after a compaction. */
  readonly base: SnapshotMeta | null;
  readonly entries: readonly Entry[];
}

/** What a disk does wrong on purpose. */
export interface DiskBugs {
  /** Says that a write is durable while it is not. */
  readonly skipFsync: boolean;
  /** Keeps the term and loses the vote. */
  readonly forgetVote: boolean;
  /** Reads torn records back as if they were whole. */
  readonly ignoreChecksum: boolean;
}

interface Journaled {
  readonly kind: "hardState" | "snapshot" | "base" | "entry";
  readonly index: number;
  readonly bytes: Buffer;
}

/**
 * A server's disk: a journal of records with the checksums of the real log. What was not synced may be lost in a crash from
 * any record on, and the first one lost may be torn.
 */
export class Disk {
  #hardState: HardState = { term: 0, vote: null, commit: 0 };
  #base: SnapshotMeta;
  #entries: Entry[] = [];
  /** Written and not durable yet. */
  #unsynced: Journaled[] = [];
  /** How much of that is older than the last write. */
  #before = 0;
  /** Finished snapshots, newest last; the newest two are kept. */
  #snapshots: SnapshotFile[] = [];
  /** Copies that `restore` entries name. */
  readonly copies = new Map<string, MachineState>();

  /** `stored` is told of every entry that becomes durable, and the term before it. */
  constructor(
    base: SnapshotMeta,
    private readonly bugs: DiskBugs,
    private readonly stored: (prevTerm: number, entry: Entry) => void,
  ) {
    this.#base = base;
  }

  get log(): StoredLog {
    return { hardState: this.#hardState, base: this.#base, entries: this.#entries };
  }
  get newestSnapshot(): SnapshotFile | undefined {
    return this.#snapshots.at(-1);
  }

  snapshotAt(meta: SnapshotMeta): SnapshotFile | undefined {
    return this.#snapshots.find((file) => file.meta.index === meta.index && file.meta.term === meta.term);
  }

  storeSnapshot(file: SnapshotFile): void {
    this.#snapshots = [...this.#snapshots, file].sort((a, b) => a.meta.index - b.meta.index).slice(-2);
  }

  /** At start, before the log is used: durable at once. */
  install(snapshot: SnapshotMeta): void {
    this.#base = snapshot;
    this.#entries = [];
  }

  write({ hardState, snapshot, base, entries }: DiskWrite): void {
    this.#before = this.#unsynced.length;
    // In the order of `Effects`: a commit index, and entries of a term, only once the disk has what they stand on.
    if (snapshot !== null) this.#unsynced.push({ kind: "snapshot", index: 0, bytes: encodeMeta(snapshot) });
    if (hardState !== null) {
      const kept = this.bugs.forgetVote ? { ...hardState, vote: null } : hardState;
      this.#unsynced.push({ kind: "hardState", index: 0, bytes: encodeMeta(kept) });
    }
    if (base !== null) this.#unsynced.push({ kind: "base", index: 0, bytes: encodeMeta(base) });
    for (const entry of entries)
      this.#unsynced.push({ kind: "entry", index: entry.index, bytes: encodeRecord(entry) });
  }

  /** The last write failed as a whole, for want of space. */
  abandon(): void {
    this.#unsynced.length = this.#before;
  }

  /** fsync. */
  sync(random: Random): void {
    if (this.bugs.skipFsync && !random.chance(0.02)) return;
    this.#replay(this.#unsynced);
  }

  /** A crash: of what was not synced, some records are there, and the next one may be half there. Gives whether it was. */
  crash(random: Random): boolean {
    const kept = random.integer(this.#unsynced.length + 1);
    const records = this.#unsynced.slice(0, kept);
    const torn = this.#unsynced[kept];
    const tear = torn !== undefined && random.chance(0.5);
    if (tear) records.push({ ...torn, bytes: this.#tear(torn, random) });
    this.#replay(records);
    return tear;
  }

  #tear({ kind, bytes }: Journaled, random: Random): Buffer {
    const torn = Buffer.from(bytes);
    if (random.chance(0.5)) torn.fill(0, 1 + random.integer(torn.length - 1));
    else torn[random.integer(torn.length)]! ^= 1 << random.integer(8);
    if (this.bugs.ignoreChecksum && kind === "entry") torn.writeUInt32LE(crc32(torn.subarray(4)), 0);
    return torn;
  }

  #replay(records: readonly Journaled[]): void {
    this.#unsynced = [];
    for (const record of records) {
      const content = read(record);
      // What the checksum finds ends the journal; nothing after it was promised to anybody.
      if (content === undefined) return;
      this.#take(record, content);
    }
  }

  #take({ kind, index }: Journaled, content: unknown): void {
    if (kind === "hardState") {
      this.#hardState = content as HardState;
    } else if (kind === "snapshot") {
      this.#base = content as SnapshotMeta;
      this.#entries = [];
    } else if (kind === "base") {
      const base = content as SnapshotMeta;
      this.#entries = this.#entries.filter((entry) => entry.index > base.index);
      this.#base = base;
    } else {
      const entry = content as Entry;
      const position = index - this.#base.index - 1;
      if (position < 0 || position > this.#entries.length) throw new Error(`entry ${index} leaves a gap`);
      this.#entries.length = position;
      this.stored(this.#entries.at(-1)?.term ?? this.#base.term, entry);
      this.#entries.push(entry);
    }
  }
}

/** A record's content; undefined when it is not whole. */
function read({ kind, index, bytes }: Journaled): unknown {
  try {
    return kind === "entry" ? decodeRecord(bytes, index) : decodeMeta(bytes);
  } catch {
    return undefined;
  }
}
