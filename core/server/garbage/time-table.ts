/** How fine the table is, milliseconds. */
const STEP = 1_000;
/** Beyond this many entries the older half is thinned out: of what is long ago the exact time matters less. */
const MAX_ENTRIES = 4_096;

interface Entry {
  /** Everything up to this index was written by then. */
  readonly index: number;
  /** Milliseconds of the process's monotonic clock; negative for before it started. */
  readonly at: number;
}

/**
 * When the log had reached which index. Jobs and deployments carry no time of their last change, so ages are measured in
 * indexes. Times are monotonic: a wall clock that is set makes nothing older.
 */
export class TimeTable {
  /** In order of time and of index. */
  #entries: Entry[] = [];

  constructor(private readonly clock: () => number = () => performance.now()) {}

  get size(): number {
    return this.#entries.length;
  }

  /** The log has reached `index` now. */
  witness(index: number): void {
    const at = this.clock();
    const last = this.#entries.at(-1);
    if (last !== undefined && (at - last.at < STEP || index <= last.index)) return;
    this.#entries.push({ index, at });
    if (this.#entries.length > MAX_ENTRIES) this.#thinOut();
  }

  /** Adds what is known of earlier times: that the log had reached `index` `age` milliseconds ago. */
  seed(known: Iterable<{ readonly index: number; readonly age: number }>): void {
    const now = this.clock();
    const all = [...known].map(({ index, age }) => ({ index, at: now - Math.max(0, age) }));
    const sorted = [...this.#entries, ...all].sort((a, b) => a.at - b.at || a.index - b.index);
    this.#entries = [];
    let newest: Entry | undefined;
    for (const entry of sorted) {
      if (newest !== undefined && entry.index <= newest.index) continue;
      // Of one step the first stands: a later index of the same step is known to be reached only by then.
      if (newest !== undefined && entry.at - newest.at < STEP) continue;
      this.#entries.push(entry);
      newest = entry;
    }
    while (this.#entries.length > MAX_ENTRIES) this.#thinOut();
  }

  /** The highest index known to be reached `age` milliseconds ago; 0 where none is known. */
  indexBefore(age: number): number {
    const at = this.clock() - age;
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.at <= at) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : this.#entries[low - 1]!.index;
  }

  clear(): void {
    this.#entries = [];
  }

  #thinOut(): void {
    const half = this.#entries.length >> 1;
    this.#entries = this.#entries.filter((_, i) => i >= half || i % 2 === 0);
  }
}
