/** Counts by row, as an array: looked up for thousands of rows, and changed for few. */
export class RowCounts implements Iterable<readonly [row: number, count: number]> {
  readonly #counts: Uint32Array;
  /** Rows that had a count at any time, each once. */
  readonly #seen: number[] = [];
  readonly #known: Uint8Array;

  constructor(length: number) {
    this.#counts = new Uint32Array(length);
    this.#known = new Uint8Array(length);
  }

  /** Whether any row ever had a count. */
  get any(): boolean {
    return this.#seen.length > 0;
  }

  get(row: number): number {
    return this.#counts[row] ?? 0;
  }

  /** Rows that came after the array was made aren't counted: nothing is placed on them either. */
  add(row: number, by: number): void {
    if (row >= this.#counts.length) return;
    if (this.#known[row] === 0) {
      this.#known[row] = 1;
      this.#seen.push(row);
    }
    this.#counts[row]! += by;
  }

  *[Symbol.iterator](): Generator<readonly [row: number, count: number]> {
    for (const row of this.#seen) if (this.#counts[row]! > 0) yield [row, this.#counts[row]!];
  }
}
