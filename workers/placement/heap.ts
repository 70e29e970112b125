/** A binary heap of node rows by score, highest first, that knows where each row lies: rows move and leave in O(log n). */

export class RowHeap {
  /** In heap order; read only from outside. */
  readonly rows: number[] = [];
  readonly #keys: Float64Array;
  readonly #tie: Uint32Array;
  readonly #position: Int32Array;

  /**
   * By row: `keys` has its score, `tie` what decides between equal ones (lower wins), `position` its place in the heap.
   * Several heaps may share them, as long as a row is in one at most.
   */
  constructor(keys: Float64Array, tie: Uint32Array, position: Int32Array) {
    this.#keys = keys;
    this.#tie = tie;
    this.#position = position;
  }

  /** Adds without order; `build` must follow before anything else. */
  append(row: number): void {
    this.#position[row] = this.rows.length;
    this.rows.push(row);
  }

  build(): void {
    for (let i = (this.rows.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  push(row: number): void {
    this.append(row);
    this.#rise(this.rows.length - 1);
  }

  /** Takes out a row that is in this heap; its key may have changed already. */
  remove(row: number): void {
    const at = this.#position[row]!;
    const last = this.rows.pop()!;
    if (last === row) return;
    this.#put(at, last);
    this.#settle(at);
  }

  /** Puts a row that is in this heap where its new key belongs. */
  moved(row: number): void {
    this.#settle(this.#position[row]!);
  }

  #settle(at: number): void {
    if (at > 0 && this.#before(this.rows[at]!, this.rows[(at - 1) >> 1]!)) this.#rise(at);
    else this.#sink(at);
  }

  #rise(from: number): void {
    const row = this.rows[from]!;
    let i = from;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(row, this.rows[parent]!)) break;
      this.#put(i, this.rows[parent]!);
      i = parent;
    }
    this.#put(i, row);
  }

  #sink(from: number): void {
    const { rows } = this;
    const row = rows[from]!;
    const length = rows.length;
    let i = from;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= length) break;
      if (child + 1 < length && this.#before(rows[child + 1]!, rows[child]!)) child++;
      if (!this.#before(rows[child]!, row)) break;
      this.#put(i, rows[child]!);
      i = child;
    }
    this.#put(i, row);
  }

  #put(at: number, row: number): void {
    this.rows[at] = row;
    this.#position[row] = at;
  }

  #before(a: number, b: number): boolean {
    const difference = this.#keys[a]! - this.#keys[b]!;
    return difference !== 0 ? difference > 0 : this.#tie[a]! < this.#tie[b]!;
  }
}
