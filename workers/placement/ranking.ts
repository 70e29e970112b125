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
  /** Of its rows, to spreads. */
  readonly standing: number;
  /** Number of scores in the sums of its rows. */
  readonly parts: number;
}

const NO_BUCKET = -1;
/** Of rows that are in while there are no buckets yet. */
const UNSORTED = -2;
const NO_ROWS = new Int32Array(0);
/** Looks over all rows before they are sorted into buckets: few placements are found sooner so. */
const LOOKS = 4;
/** More parts than any row has, to number buckets by standing and parts. */
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
  /** Rows that are, or were, in while there are no buckets; null once there are. */
  #unsorted: Int32Array | null = NO_ROWS;
  /** More of them, put in since. */
  readonly #more: number[] = [];
  #looks = 0;
  /** Entries of heaps under consideration for the best: how many, and of each its bucket, place, row and score. */
  #heads = 0;
  readonly #bucket: number[] = [];
  readonly #place: number[] = [];
  readonly #row: number[] = [];
  readonly #score: number[] = [];

  /** `tie` decides between equal scores: the lower wins. */
  constructor(length: number, tie: Uint32Array, spreads: GroupSpreads) {
    this.sums = new Float64Array(length);
    this.parts = new Uint8Array(length);
    this.#tie = tie;
    this.#spreads = spreads;
    this.#bucketOf = new Int32Array(length).fill(NO_BUCKET);
    this.#position = new Int32Array(length);
  }

  /** Puts in rows that were scored, to begin with. */
  fill(rows: Int32Array): void {
    this.#unsorted = rows;
    for (let i = 0; i < rows.length; i++) this.#bucketOf[rows[i]!] = UNSORTED;
  }

  #sort(unsorted: Int32Array): void {
    this.#unsorted = null;
    for (const rows of [unsorted, this.#more]) {
      for (let i = 0; i < rows.length; i++) {
        const row = rows[i]!;
        if (this.#bucketOf[row] !== UNSORTED) continue;
        const number = this.#numberOf(row);
        this.#bucketOf[row] = number;
        this.#buckets[number]!.heap.append(row);
      }
    }
    for (const { heap } of this.#buckets) heap.build();
  }

  /** Puts a row where its new scores belong. */
  put(row: number): void {
    const before = this.#bucketOf[row]!;
    if (this.#unsorted !== null) {
      // One that left and comes back may be there twice; it is met once.
      if (before === NO_BUCKET) this.#more.push(row);
      this.#bucketOf[row] = UNSORTED;
      return;
    }
    const number = this.#numberOf(row);
    if (before === number) {
      this.#buckets[number]!.heap.moved(row);
      return;
    }
    if (before !== NO_BUCKET) this.#buckets[before]!.heap.remove(row);
    this.#bucketOf[row] = number;
    this.#buckets[number]!.heap.push(row);
  }

  /** The row has another standing to spreads: it moves, if it is in. */
  restand(row: number): void {
    if (this.#bucketOf[row] !== NO_BUCKET) this.put(row);
  }

  /** Takes a row out, if it is in. */
  remove(row: number): void {
    const number = this.#bucketOf[row]!;
    if (number === NO_BUCKET) return;
    this.#bucketOf[row] = NO_BUCKET;
    if (number !== UNSORTED) this.#buckets[number]!.heap.remove(row);
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
    return this.#spreads.scores[this.#spreads.standingOf[row]!]!;
  }

  /** Whether `a` goes before `b`. */
  before(a: Ranked, b: Ranked): boolean {
    return a.score !== b.score ? a.score > b.score : this.#tie[a.row]! < this.#tie[b.row]!;
  }

  /** The best `count` rows that are in and not among `except`, best first. */
  best(count: number, except: ReadonlySet<number>): Ranked[] {
    if (this.#unsorted !== null) {
      if (this.#looks++ < LOOKS) return this.#bestUnsorted(this.#unsorted, count, except);
      this.#sort(this.#unsorted);
    }
    const found: Ranked[] = [];
    this.#lookAtTops(count + except.size);
    while (this.#heads > 0) {
      let top = 0;
      for (let i = 1; i < this.#heads; i++) if (this.#headBefore(i, top)) top = i;
      const bucket = this.#buckets[this.#bucket[top]!]!;
      const place = this.#place[top]!;
      const { rows } = bucket.heap;
      const row = rows[place]!;
      if (except.size === 0 || !except.has(row)) found.push({ row, score: this.#score[top]! });
      if (found.length === count) break;
      const number = this.#bucket[top]!;
      this.#copy(--this.#heads, top);
      for (let child = 2 * place + 1; child <= 2 * place + 2 && child < rows.length; child++) {
        const next = rows[child]!;
        this.#set(this.#heads++, number, child, next, this.#scoreIn(bucket, next));
      }
    }
    return found;
  }

  #bestUnsorted(unsorted: Int32Array, count: number, except: ReadonlySet<number>): Ranked[] {
    const found: Ranked[] = [];
    this.#lookOver(unsorted, count, except, found);
    if (this.#more.length > 0) this.#lookOver(this.#more, count, except, found);
    return found;
  }

  #lookOver(
    rows: Int32Array | readonly number[],
    count: number,
    except: ReadonlySet<number>,
    found: Ranked[],
  ): void {
    const { any } = this.#spreads;
    let least = found.length === count ? found[count - 1]!.score : Number.NEGATIVE_INFINITY;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      const score = any ? this.mean(row, null) : this.sums[row]! / this.parts[row]!;
      if (score < least || this.#bucketOf[row] !== UNSORTED || (except.size > 0 && except.has(row))) continue;
      const ranked = { row, score };
      if (found.length === count && !this.before(ranked, found[count - 1]!)) continue;
      let at = found.length;
      while (at > 0 && this.before(ranked, found[at - 1]!)) at--;
      if (found[at - 1]?.row === row) continue;
      found.splice(at, 0, ranked);
      if (found.length > count) found.pop();
      if (found.length === count) least = found[count - 1]!.score;
    }
  }

  /** Starts with the tops of the buckets: a bucket whose top isn't among the best `count` has nothing that is. */
  #lookAtTops(count: number): void {
    if (this.#spreads.any) this.#spreads.refresh();
    this.#heads = 0;
    const buckets = this.#buckets;
    for (let number = 0; number < buckets.length; number++) {
      const bucket = buckets[number]!;
      const row = bucket.heap.rows[0];
      if (row === undefined) continue;
      const score = this.#scoreIn(bucket, row);
      // Kept in order; what falls off the end is out.
      let at = Math.min(this.#heads, count);
      if (at === count && !this.#beats(score, row, count - 1)) continue;
      if (at === count) at--;
      else this.#heads++;
      for (; at > 0 && this.#beats(score, row, at - 1); at--) this.#copy(at - 1, at);
      this.#set(at, number, 0, row, score);
    }
  }

  #scoreIn(bucket: Bucket, row: number): number {
    const spread = this.#spreads.any ? this.#spreads.scores[bucket.standing]! : 0;
    return (this.sums[row]! + spread) / (spread === 0 ? bucket.parts : bucket.parts + 1);
  }

  #beats(score: number, row: number, head: number): boolean {
    const difference = score - this.#score[head]!;
    return difference !== 0 ? difference > 0 : this.#tie[row]! < this.#tie[this.#row[head]!]!;
  }

  #headBefore(a: number, b: number): boolean {
    return this.#beats(this.#score[a]!, this.#row[a]!, b);
  }

  #set(head: number, bucket: number, place: number, row: number, score: number): void {
    this.#bucket[head] = bucket;
    this.#place[head] = place;
    this.#row[head] = row;
    this.#score[head] = score;
  }

  #copy(from: number, to: number): void {
    this.#set(to, this.#bucket[from]!, this.#place[from]!, this.#row[from]!, this.#score[from]!);
  }

  #numberOf(row: number): number {
    const standing = this.#spreads.any ? this.#spreads.standingOf[row]! : 0;
    const parts = this.parts[row]!;
    const key = standing * PARTS_STEP + parts;
    let number = this.#numbers.get(key);
    if (number === undefined) {
      const heap = new RowHeap(this.sums, this.#tie, this.#position);
      number = this.#buckets.push({ heap, standing, parts }) - 1;
      this.#numbers.set(key, number);
    }
    return number;
  }
}
