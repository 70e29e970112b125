import type { Entry } from "./types.js";

/**
 * The core's view of the log: the entries after `base` (what a snapshot replaced) in memory, and how far they were given
 * to the disk (`handed`) and are known to be on it (`stable`).
 */
export class RaftLog {
  #entries: Entry[];
  #baseIndex: number;
  #baseTerm: number;
  #handed: number;
  #stable: number;

  constructor(base: { readonly index: number; readonly term: number }, entries: readonly Entry[]) {
    this.#baseIndex = base.index;
    this.#baseTerm = base.term;
    this.#entries = [...entries];
    entries.forEach((entry, position) => {
      if (entry.index !== base.index + 1 + position) {
        throw new Error(`raft log: expected entry ${base.index + 1 + position}, found ${entry.index}`);
      }
    });
    this.#handed = this.#stable = this.lastIndex;
  }

  get baseIndex(): number {
    return this.#baseIndex;
  }
  get lastIndex(): number {
    return this.#baseIndex + this.#entries.length;
  }
  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#baseTerm;
  }
  get stable(): number {
    return this.#stable;
  }
  get hasUnhanded(): boolean {
    return this.#handed < this.lastIndex;
  }

  /** Term of the entry at `index`; undefined where the log does not reach or was compacted. */
  term(index: number): number | undefined {
    if (index === this.#baseIndex) return this.#baseTerm;
    return this.#entries[index - this.#baseIndex - 1]?.term;
  }

  /** Entries from `from` to `to`, both included, up to `maxBytes` of data but at least one. */
  slice(from: number, to: number, maxBytes = Number.POSITIVE_INFINITY): Entry[] {
    const start = from - this.#baseIndex - 1;
    if (start < 0)
      throw new Error(`raft log: entry ${from} was compacted, the log starts after ${this.#baseIndex}`);
    const end = Math.min(to, this.lastIndex) - this.#baseIndex;
    if (maxBytes === Number.POSITIVE_INFINITY) return this.#entries.slice(start, end);
    const result: Entry[] = [];
    let bytes = 0;
    for (let position = start; position < end; position++) {
      const entry = this.#entries[position]!;
      bytes += entry.data.length;
      if (result.length > 0 && bytes > maxBytes) break;
      result.push(entry);
    }
    return result;
  }

  append(entry: Entry): void {
    if (entry.index !== this.lastIndex + 1) {
      throw new Error(`raft log: entry ${entry.index} does not follow ${this.lastIndex}`);
    }
    this.#entries.push(entry);
  }

  /** Forgets `index` and everything after it. */
  truncateFrom(index: number): void {
    this.#entries.length = index - this.#baseIndex - 1;
    this.#handed = Math.min(this.#handed, index - 1);
    this.#stable = Math.min(this.#stable, index - 1);
  }

  /** The disk has only what is stable, and gets the rest once more. */
  handBack(): void {
    this.#handed = this.#stable;
  }

  /** Entries that the disk was not given yet; from now on they count as given. */
  handOver(): Entry[] {
    const entries = this.slice(this.#handed + 1, this.lastIndex);
    this.#handed = this.lastIndex;
    return entries;
  }

  /** The disk has everything up to this entry, unless a truncation replaced it since it was handed over. */
  markStable(index: number, term: number): void {
    if (index > this.#stable && this.term(index) === term) this.#stable = index;
  }

  /** Where to compact to so that at most `entries` entries and `bytes` of data stay before `index`. */
  compactionPoint(index: number, entries: number, bytes: number): number {
    let point = index;
    let kept = 0;
    while (point > this.#baseIndex && index - point < entries) {
      kept += this.#entries[point - this.#baseIndex - 1]!.data.length;
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
    this.#entries.splice(0, index - this.#baseIndex);
    this.#baseIndex = index;
    this.#baseTerm = term;
  }

  /** Replaces everything by a snapshot. */
  reset(base: { readonly index: number; readonly term: number }): void {
    this.#entries = [];
    this.#baseIndex = this.#handed = this.#stable = base.index;
    this.#baseTerm = base.term;
  }
}
