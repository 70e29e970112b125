/** Rows by UUID as bytes: a table with open addressing, so that nobody has to make text of the ids in a block to look them up. */
const WORDS = 4;
const FREE = -1;
/** Where an entry was: those behind it must still be found. */
const LEFT = -2;
const SMALLEST = 1024;

export class UuidRows {
  #rows = new Int32Array(SMALLEST).fill(FREE);
  #keys = new Int32Array(SMALLEST * WORDS);
  /** Places that aren't free. */
  #taken = 0;
  readonly #words = new Int32Array(WORDS);

  set(id: Uint8Array, row: number): void {
    if (this.#taken * 2 >= this.#rows.length) this.#rebuild();
    this.#read(id, 0);
    let at = this.#find();
    if (at < 0) {
      at = ~at;
      if (this.#rows[at] === FREE) this.#taken++;
      this.#keys.set(this.#words, at * WORDS);
    }
    this.#rows[at] = row;
  }

  delete(id: Uint8Array): void {
    this.#read(id, 0);
    const at = this.#find();
    if (at >= 0) this.#rows[at] = LEFT;
  }

  /** Row of the UUID whose bytes begin at `start`; undefined where it has none. */
  get(bytes: Uint8Array, start = 0): number | undefined {
    this.#read(bytes, start);
    const at = this.#find();
    return at < 0 ? undefined : this.#rows[at];
  }

  #read(bytes: Uint8Array, start: number): void {
    for (let word = 0; word < WORDS; word++) {
      const at = start + word * WORDS;
      this.#words[word] =
        bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    }
  }

  /** Place of the UUID that was read, or the complement of the place where it would go. */
  #find(): number {
    const a = this.#words[0]!;
    const b = this.#words[1]!;
    const c = this.#words[2]!;
    const d = this.#words[3]!;
    const mask = this.#rows.length - 1;
    let hash = Math.imul(a ^ Math.imul(b, 0x9e3779b1) ^ Math.imul(c, 0x85ebca6b) ^ d, 0xc2b2ae35);
    hash ^= hash >>> 15;
    let open = -1;
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const row = this.#rows[at]!;
      if (row === FREE) return ~(open < 0 ? at : open);
      if (row === LEFT) {
        if (open < 0) open = at;
        continue;
      }
      const key = at * WORDS;
      const keys = this.#keys;
      if (keys[key] === a && keys[key + 1] === b && keys[key + 2] === c && keys[key + 3] === d) return at;
    }
  }

  #rebuild(): void {
    const [rows, keys] = [this.#rows, this.#keys];
    const live = rows.reduce((sum, row) => sum + (row >= 0 ? 1 : 0), 0);
    let size = SMALLEST;
    while (size < (live + 1) * WORDS) size *= 2;
    this.#rows = new Int32Array(size).fill(FREE);
    this.#keys = new Int32Array(size * WORDS);
    this.#taken = live;
    for (let from = 0; from < rows.length; from++) {
      if (rows[from]! < 0) continue;
      this.#words.set(keys.subarray(from * WORDS, (from + 1) * WORDS));
      const at = ~this.#find();
      this.#keys.set(this.#words, at * WORDS);
      this.#rows[at] = rows[from]!;
    }
  }
}
