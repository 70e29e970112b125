import type { Entry } from "./types.js";

/** The disk's copy of the log, read back synchronously. */
export interface EntrySource {
  /** Durable entries from `from` to `to`, both included, up to `maxBytes` of data but at least one. */
  read(from: number, to: number, maxBytes: number): Entry[];
}

/** Entries kept in memory at least, where a source has the others; the newest ones, which followers ask for. */
const CACHED_ENTRIES = 512;
/** Entries dropped at once. */
const DROP = 128;
/** Bytes of durable entries kept in memory at most. */
const CACHED_BYTES = 16 * 1024 * 1024;

/**
 * The core's view of the log: term and size of every entry after `base` (what a snapshot replaced), the newest entries
 * themselves, and how far they were given to the disk (`handed`) and are known to be on it (`stable`). Older entries are read
 * back from the source; without one all are kept.
 */
export class RaftLog {
  #baseIndex: number;
  #baseTerm: number;
  /** Bytes of data of each entry after the base. */
  #sizes: number[] = [];
  /** Where a term begins that differs from the one before, in log order. */
  #terms: { readonly first: number; readonly term: number }[] = [];
  /** Entries from `#recentFirst` to the last one. */
  #recent: Entry[] = [];
  #recentFirst: number;
  #recentBytes = 0;
  #handed: number;
  #stable: number;
  /** Entries up to here are not needed soon. */
  #released: number;

  constructor(
    base: { readonly index: number; readonly term: number },
    private readonly source: EntrySource | null = null,
  ) {
    this.#baseIndex = base.index;
    this.#baseTerm = base.term;
    this.#recentFirst = base.index + 1;
    this.#handed = this.#stable = this.#released = base.index;
  }

  get baseIndex(): number {
    return this.#baseIndex;
  }
  get lastIndex(): number {
    return this.#baseIndex + this.#sizes.length;
  }
  get lastTerm(): number {
    return this.#terms.at(-1)?.term ?? this.#baseTerm;
  }
  get stable(): number {
    return this.#stable;
  }
  get hasUnhanded(): boolean {
    return this.#handed < this.lastIndex;
  }
  /** Entries in memory. */
  get cached(): number {
    return this.#recent.length;
  }

  /** Takes the next entry of what the disk has. */
  load(entry: Entry): void {
    this.append(entry);
    this.#handed = this.#stable = this.#released = entry.index;
    this.#evict();
  }

  /** Term of the entry at `index`; undefined where the log does not reach or was compacted. */
  term(index: number): number | undefined {
    if (index === this.#baseIndex) return this.#baseTerm;
    if (index < this.#baseIndex || index > this.lastIndex) return undefined;
    return this.#terms.findLast(({ first }) => first <= index)?.term ?? this.#baseTerm;
  }

  /** Entries from `from` to `to`, both included, up to `maxBytes` of data but at least one. */
  slice(from: number, to: number, maxBytes = Number.POSITIVE_INFINITY): Entry[] {
    if (from <= this.#baseIndex)
      throw new Error(`raft log: entry ${from} was compacted, the log starts after ${this.#baseIndex}`);
    const last = this.#lastWithin(from, Math.min(to, this.lastIndex), maxBytes);
    const result: Entry[] = [];
    for (let next = from; next < this.#recentFirst && next <= last; next = from + result.length) {
      const older = this.#source().read(next, Math.min(last, this.#recentFirst - 1), maxBytes);
      if (older.length === 0 || older[0]!.index !== next || older[0]!.term !== this.term(next))
        throw new Error(`raft log: entry ${next} is not on the disk as it was written`);
      for (const entry of older) result.push(entry);
    }
    const start = Math.max(0, from - this.#recentFirst);
    for (let at = start; at <= last - this.#recentFirst; at++) result.push(this.#recent[at]!);
    return result;
  }

  /** Last entry up to `to` so that the data from `from` on is at most `maxBytes`, or that of one entry. */
  #lastWithin(from: number, to: number, maxBytes: number): number {
    let last = from;
    let bytes = this.#size(from);
    while (last < to && bytes + this.#size(last + 1) <= maxBytes) bytes += this.#size(++last);
    return Math.min(last, to);
  }

  #size(index: number): number {
    return this.#sizes[index - this.#baseIndex - 1] ?? 0;
  }

  #source(): EntrySource {
    if (this.source === null) throw new Error("raft log: there is no disk to read an older entry from");
    return this.source;
  }

  append(entry: Entry): void {
    if (entry.index !== this.lastIndex + 1) {
      throw new Error(`raft log: entry ${entry.index} does not follow ${this.lastIndex}`);
    }
    if (entry.term !== this.lastTerm) this.#terms.push({ first: entry.index, term: entry.term });
    this.#sizes.push(entry.data.length);
    this.#recent.push(entry);
    this.#recentBytes += entry.data.length;
  }

  /** Forgets `index` and everything after it. */
  truncateFrom(index: number): void {
    this.#sizes.length = Math.max(0, index - this.#baseIndex - 1);
    while ((this.#terms.at(-1)?.first ?? 0) >= index) this.#terms.pop();
    for (const { data } of this.#recent.splice(Math.max(0, index - this.#recentFirst)))
      this.#recentBytes -= data.length;
    this.#recentFirst = Math.min(this.#recentFirst, index);
    this.#handed = Math.min(this.#handed, index - 1);
    this.#stable = Math.min(this.#stable, index - 1);
    this.#released = Math.min(this.#released, index - 1);
  }

  /** The disk has only what is stable, and gets the rest once more. */
  handBack(): void {
    this.#handed = this.#stable;
  }

  /** Entries that the disk was not given yet; from now on they count as given. */
  handOver(): Entry[] {
    const entries = this.hasUnhanded ? this.slice(this.#handed + 1, this.lastIndex) : [];
    this.#handed = this.lastIndex;
    return entries;
  }

  /** The disk has everything up to this entry, unless a truncation replaced it since it was handed over. */
  markStable(index: number, term: number): void {
    if (index > this.#stable && this.term(index) === term) this.#stable = index;
    this.#evict();
  }

  /** Entries up to `index` were given to the state machine: followers that are behind are all who may need them. */
  release(index: number): void {
    this.#released = Math.max(this.#released, Math.min(index, this.lastIndex));
    this.#evict();
  }

  /** Leaves the newest entries in memory, and those that the disk does not have. */
  #evict(): void {
    if (this.source === null) return;
    const excess = this.#recent.length - CACHED_ENTRIES;
    if (excess < DROP && this.#recentBytes <= CACHED_BYTES) return;
    let drop = 0;
    let bytes = this.#recentBytes;
    while (this.#recentFirst + drop <= this.#stable) {
      const spare = drop < excess && this.#recentFirst + drop <= this.#released;
      if (!spare && bytes <= CACHED_BYTES) break;
      bytes -= this.#recent[drop++]!.data.length;
    }
    this.#recent.splice(0, drop);
    this.#recentFirst += drop;
    this.#recentBytes = bytes;
  }

  /** Where to compact to so that at most `entries` entries and `bytes` of data stay before `index`. */
  compactionPoint(index: number, entries: number, bytes: number): number {
    let point = index;
    let kept = 0;
    while (point > this.#baseIndex && index - point < entries) {
      kept += this.#size(point);
      if (kept > bytes) break;
      point--;
    }
    return point;
  }

  /** Drops entries up to `index`, which a snapshot covers. */
  compact(index: number): void {
    const term = this.term(index);
    if (term === undefined || index > this.#stable) {
      throw new Error(`raft log: can't compact to ${index}; it has ${this.#baseIndex} to ${this.#stable}`);
    }
    this.#sizes.splice(0, index - this.#baseIndex);
    this.#terms = this.#terms.filter(({ first }) => first > index);
    for (const { data } of this.#recent.splice(0, Math.max(0, index + 1 - this.#recentFirst)))
      this.#recentBytes -= data.length;
    this.#recentFirst = Math.max(this.#recentFirst, index + 1);
    this.#baseIndex = index;
    this.#baseTerm = term;
  }

  /** Replaces everything by a snapshot. */
  reset(base: { readonly index: number; readonly term: number }): void {
    this.#sizes = [];
    this.#terms = [];
    this.#recent = [];
    this.#recentBytes = 0;
    this.#recentFirst = base.index + 1;
    this.#baseIndex = this.#handed = this.#stable = this.#released = base.index;
    this.#baseTerm = base.term;
  }
}
