/** A binary heap of node rows by score, highest first. Entries that were overtaken are dropped when they come up. */

export class ScoreHeap {
  #rows: number[] = [];
  #keys: number[] = [];
  #stamps: number[] = [];
  readonly #current: Int32Array;
  readonly #tie: Uint32Array;

  /** `current` has the valid stamp of each row, `tie` what decides between equal scores (lower wins). */
  constructor(current: Int32Array, tie: Uint32Array) {
    this.#current = current;
    this.#tie = tie;
  }

  /** Adds without order; `build` must follow before the first `peek`. */
  append(row: number, key: number): void {
    this.#rows.push(row);
    this.#keys.push(key);
    this.#stamps.push(this.#current[row]!);
  }

  build(): void {
    for (let i = (this.#rows.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  push(row: number, key: number): void {
    this.append(row, key);
    let i = this.#rows.length - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
  }

  /** The row with the highest score, -1 when empty. */
  peek(): number {
    while (this.#rows.length > 0 && this.#stamps[0] !== this.#current[this.#rows[0]!]) this.#removeTop();
    return this.#rows[0] ?? -1;
  }

  pop(): number {
    const row = this.peek();
    if (row >= 0) this.#removeTop();
    return row;
  }

  #removeTop(): void {
    const last = this.#rows.length - 1;
    this.#swap(0, last);
    this.#rows.pop();
    this.#keys.pop();
    this.#stamps.pop();
    this.#sink(0);
  }

  #sink(start: number): void {
    let i = start;
    const length = this.#rows.length;
    for (;;) {
      const left = 2 * i + 1;
      if (left >= length) return;
      const right = left + 1;
      const best = right < length && this.#before(right, left) ? right : left;
      if (!this.#before(best, i)) return;
      this.#swap(best, i);
      i = best;
    }
  }

  #before(a: number, b: number): boolean {
    const difference = this.#keys[a]! - this.#keys[b]!;
    if (difference !== 0) return difference > 0;
    return this.#tie[this.#rows[a]!]! < this.#tie[this.#rows[b]!]!;
  }

  #swap(a: number, b: number): void {
    const row = this.#rows[a]!;
    const key = this.#keys[a]!;
    const stamp = this.#stamps[a]!;
    this.#rows[a] = this.#rows[b]!;
    this.#keys[a] = this.#keys[b]!;
    this.#stamps[a] = this.#stamps[b]!;
    this.#rows[b] = row;
    this.#keys[b] = key;
    this.#stamps[b] = stamp;
  }
}
