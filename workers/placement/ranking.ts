/**
 * Rows with room, ranked. The score of a row is the mean over the scorers that took part, so rows are kept apart by what may
 * change the order among them from outside: the values that spreads look at, and the number of scores. Within such a bucket
 * the sum alone orders, and only rows that changed move.
 */
import { RowHeap } from "./heap.js";
import type { GroupSpreads } from "./spreads.js";

/** Scores of one row but for spreads and penalties. */
interface Bucket {
  readonly heap: RowHeap;
  /** Of its rows. */
  readonly combination: number;
  /** Number of scores in the sums of its rows. */
  readonly parts: number;
}

const NO_BUCKET = -1;
/** More parts than any row has, to number buckets by combination and parts. */
const PARTS_STEP = 256;

export interface Ranked {
  readonly row: number;
  /** Mean of its scores. */
  readonly score: number;
}

export class Ranking {
  /** By row: sum of the scores without spreads and penalties, and their number; valid for rows that were scored. */
  readonly sums: Float64Array;
  readonly parts: Uint8Array;
  readonly #tie: Uint32Array;
  readonly #spreads: GroupSpreads;
  readonly #buckets: Bucket[] = [];
  readonly #numbers = new Map<number, number>();
  readonly #bucketOf: Int32Array;
  readonly #position: Int32Array;
  /** Heads under consideration: bucket, place in its heap, score. */
  readonly #heads: number[] = [];
  readonly #places: number[] = [];
  readonly #scores: number[] = [];

  /** `tie` decides between equal scores: the lower wins. */
  constructor(length: number, tie: Uint32Array, spreads: GroupSpreads) {
    this.sums = new Float64Array(length);
    this.parts = new Uint8Array(length);
    this.#tie = tie;
    this.#spreads = spreads;
    this.#bucketOf = new Int32Array(length).fill(NO_BUCKET);
    this.#position = new Int32Array(length);
  }

  /** Puts in rows that were scored, none of which is in yet. */
  fill(rows: Int32Array): void {
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      const number = this.#numberOf(row);
      this.#bucketOf[row] = number;
      this.#buckets[number]!.heap.append(row);
    }
    for (const { heap } of this.#buckets) heap.build();
  }

  /** Puts a row where its new scores belong. */
  put(row: number): void {
    const before = this.#bucketOf[row]!;
    const number = this.#numberOf(row);
    if (before === number) {
      this.#buckets[number]!.heap.moved(row);
      return;
    }
    if (before !== NO_BUCKET) this.#buckets[before]!.heap.remove(row);
    this.#bucketOf[row] = number;
    this.#buckets[number]!.heap.push(row);
  }

  /** Takes a row out, if it is in. */
  remove(row: number): void {
    const number = this.#bucketOf[row]!;
    if (number === NO_BUCKET) return;
    this.#bucketOf[row] = NO_BUCKET;
    this.#buckets[number]!.heap.remove(row);
  }

  /** Mean score of a row, in or not, with `extra` as one more score. */
  mean(row: number, extra: number | null): number {
    const spread = this.spread(row);
    const sum = this.sums[row]! + spread + (extra ?? 0);
    return sum / (this.parts[row]! + (spread === 0 ? 0 : 1) + (extra === null ? 0 : 1));
  }

  /** The row's score for spreads; 0 (not counted) without. */
  spread(row: number): number {
    if (!this.#spreads.any) return 0;
    this.#spreads.refresh();
    return this.#spreads.scores[this.#spreads.combinationOf[row]!]!;
  }

  /** Whether `a` goes before `b`. */
  before(a: Ranked, b: Ranked): boolean {
    return a.score !== b.score ? a.score > b.score : this.#tie[a.row]! < this.#tie[b.row]!;
  }

  /** The best `count` rows that are in and not among `except`, best first. */
  best(count: number, except: ReadonlySet<number>): Ranked[] {
    const found: Ranked[] = [];
    this.#lookAtTops(count + except.size);
    const [heads, places, scores] = [this.#heads, this.#places, this.#scores];
    while (found.length < count && heads.length > 0) {
      let top = 0;
      for (let i = 1; i < heads.length; i++) if (this.#headBefore(i, top)) top = i;
      const head = heads[top]!;
      const place = places[top]!;
      const score = scores[top]!;
      const last = heads.length - 1;
      heads[top] = heads[last]!;
      places[top] = places[last]!;
      scores[top] = scores[last]!;
      heads.length = places.length = scores.length = last;
      const { rows } = this.#buckets[head]!.heap;
      const row = rows[place]!;
      if (except.size === 0 || !except.has(row)) found.push({ row, score });
      if (found.length === count) break;
      for (let child = 2 * place + 1; child <= 2 * place + 2 && child < rows.length; child++)
        this.#look(head, child);
    }
    return found;
  }

  /** Starts with the tops of the buckets: a bucket whose top isn't among the best `count` has nothing that is. */
  #lookAtTops(count: number): void {
    const [heads, places, scores] = [this.#heads, this.#places, this.#scores];
    heads.length = places.length = scores.length = 0;
    if (this.#spreads.any) this.#spreads.refresh();
    const buckets = this.#buckets;
    for (let number = 0; number < buckets.length; number++) {
      if (buckets[number]!.heap.rows.length === 0) continue;
      this.#look(number, 0);
      // Kept in order while there are few; what falls off the end is out.
      for (let i = heads.length - 1; i > 0 && this.#headBefore(i, i - 1); i--) this.#swap(i, i - 1);
      if (heads.length > count) heads.length = places.length = scores.length = count;
    }
  }

  #look(number: number, place: number): void {
    const { heap, combination, parts } = this.#buckets[number]!;
    const spread = this.#spreads.any ? this.#spreads.scores[combination]! : 0;
    this.#heads.push(number);
    this.#places.push(place);
    this.#scores.push((this.sums[heap.rows[place]!]! + spread) / (spread === 0 ? parts : parts + 1));
  }

  #headBefore(a: number, b: number): boolean {
    const difference = this.#scores[a]! - this.#scores[b]!;
    if (difference !== 0) return difference > 0;
    return this.#tie[this.#rowOf(a)]! < this.#tie[this.#rowOf(b)]!;
  }

  #rowOf(head: number): number {
    return this.#buckets[this.#heads[head]!]!.heap.rows[this.#places[head]!]!;
  }

  #swap(a: number, b: number): void {
    for (const list of [this.#heads, this.#places, this.#scores]) {
      const kept = list[a]!;
      list[a] = list[b]!;
      list[b] = kept;
    }
  }

  #numberOf(row: number): number {
    const combination = this.#spreads.any ? this.#spreads.combinationOf[row]! : 0;
    const parts = this.parts[row]!;
    const key = combination * PARTS_STEP + parts;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      const heap = new RowHeap(this.sums, this.#tie, this.#position);
      number = this.#buckets.push({ heap, combination, parts }) - 1;
      this.#numbers.set(key, number);
    }
    return number;
  }
}
