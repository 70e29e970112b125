/**
 * Scores of `spread` blocks: how much a node's attribute value is wanted, given what already runs where.
 * Source: https://developer.hashicorp.com/nomad/docs/job-specification/spread
 */
import type { Spread } from "../domain/policies.js";

/** Target value that stands for all values not named. */
const REMAINDER = "*";

/** The allocations of a group over the values of one attribute. */
export class SpreadCounter {
  readonly #counts = new Map<string, number>();
  /** Wanted number by value; null: evenly. */
  readonly #desired: ReadonlyMap<string, number> | null;
  readonly #share: number;
  /** By count: how many values have it; 0 isn't kept. */
  readonly #values: number[] = [];
  /** Least and most of the counts; valid while there are any. */
  #least = Number.POSITIVE_INFINITY;
  #most = 0;

  /** `weights` is the sum of the weights of all spreads of the group, `count` the group's. */
  constructor(spread: Spread, weights: number, count: number) {
    this.#share = weights > 0 ? spread.Weight / weights : 1;
    const targets = spread.SpreadTarget ?? [];
    if (targets.length === 0) {
      this.#desired = null;
      return;
    }
    const desired = new Map(targets.map((target) => [target.Value, (target.Percent / 100) * count]));
    // Of the percents: they are whole numbers, while the numbers wanted may sum to a hair less than the count.
    const left = 100 - targets.reduce((sum, target) => sum + target.Percent, 0);
    if (!desired.has(REMAINDER) && left > 0) desired.set(REMAINDER, (left / 100) * count);
    this.#desired = desired;
  }

  /** Counts allocations on a value; `by` is negative for stopped ones. */
  add(value: string | undefined, by: number): void {
    if (value === undefined) return;
    const before = this.#counts.get(value) ?? 0;
    const after = Math.max(0, before + by);
    if (before > 0) this.#values[before]!--;
    if (after > 0) {
      this.#counts.set(value, after);
      this.#values[after] = (this.#values[after] ?? 0) + 1;
      this.#least = Math.min(this.#least, after);
      this.#most = Math.max(this.#most, after);
    } else {
      this.#counts.delete(value);
    }
    if (this.#counts.size === 0) {
      this.#least = Number.POSITIVE_INFINITY;
      this.#most = 0;
      return;
    }
    while ((this.#values[this.#least] ?? 0) === 0) this.#least++;
    while ((this.#values[this.#most] ?? 0) === 0) this.#most--;
  }

  /** Allocations on a value. */
  count(value: string | undefined): number {
    return value === undefined ? 0 : (this.#counts.get(value) ?? 0);
  }

  /** How many are wanted on a value: its target's share, or the remainder; null where all values are wanted evenly. */
  wanted(value: string | undefined): number | null {
    if (this.#desired === null || value === undefined) return null;
    return this.#desired.get(value) ?? this.#desired.get(REMAINDER) ?? 0;
  }

  /**
   * Higher is wanted more. A node without the attribute gets -1. With targets: (wanted - (n + 1)) / wanted by the spread's
   * share of the weights, -1 where none is wanted. Evenly: with the least and most allocations that a used value has,
   * (least - n) / least where n isn't the least, -1 where all have the same, else (most - least) / least.
   * `current` is n, the allocations on the value.
   */
  score(value: string | undefined, current = this.count(value)): number {
    if (value === undefined) return -1;
    return this.#desired === null ? this.#even(current) : this.#targeted(this.wanted(value)!, current);
  }

  #targeted(wanted: number, current: number): number {
    if (wanted === 0) return -1;
    // The allocation to be placed counts: a value that has all it wants scores below 0.
    return ((wanted - (current + 1)) / wanted) * this.#share;
  }

  #even(current: number): number {
    if (this.#counts.size === 0) return 0;
    const [least, most] = [this.#least, this.#most];
    // Values without allocations aren't among the counts, so the least is never 0.
    if (current !== least) return (least - current) / least;
    if (least === most) return -1;
    return (most - least) / least;
  }
}
