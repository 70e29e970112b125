/** Sets of node rows, a bit each. */
import type { CandidateSet } from "../contracts/scheduler.js";

export class Candidates implements CandidateSet {
  readonly words: Uint32Array;
  readonly length: number;

  constructor(length: number, words: Uint32Array = new Uint32Array((length + 31) >>> 5)) {
    this.length = length;
    this.words = words;
  }

  static copyOf(set: CandidateSet): Candidates {
    return new Candidates(set.length, set.words.slice());
  }

  has(row: number): boolean {
    return row < this.length && (this.words[row >>> 5]! & (1 << (row & 31))) !== 0;
  }

  add(row: number): void {
    this.words[row >>> 5]! |= 1 << (row & 31);
  }

  remove(row: number): void {
    this.words[row >>> 5]! &= ~(1 << (row & 31));
  }

  count(): number {
    let count = 0;
    for (let word of this.words) {
      for (; word !== 0; word &= word - 1) count++;
    }
    return count;
  }

  [Symbol.iterator](): Generator<number> {
    return rowsOf(this);
  }
}

/** Rows of a set in ascending order. Rows removed while walking are still given when their word was already read. */
export function* rowsOf(set: CandidateSet): Generator<number> {
  for (let i = 0; i < set.words.length; i++) {
    for (let word = set.words[i]!; word !== 0; word &= word - 1)
      yield (i << 5) + (31 - Math.clz32(word & -word));
  }
}
