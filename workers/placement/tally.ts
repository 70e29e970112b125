/** What became of the nodes that a group looked at: the counts of `AllocMetric`, kept up as the plan grows. */
import type { AllocMetric, NodeColumns } from "@drover/plugin-sdk";
import { emptyMetric } from "@drover/plugin-sdk/scheduling";

type Counts = Record<string, number>;

/** Allocation times are in steps of 10 µs: finer is noise, and equal metrics are stored once in a plan's log entry. */
const TIME_STEP = 10_000;

export interface TallyOptions {
  readonly columns: NodeColumns;
  /** Ready nodes by datacenter. */
  readonly available: Counts;
  /** Rows that were looked at. */
  readonly evaluated: Int32Array;
  /** By row: 0, or the number (plus one) of the reason in `reasons` for which it can't take the group. */
  readonly filtered: Uint16Array;
  readonly reasons: readonly string[];
  /** Reasons of plugged filters, which tell numbers and not rows: those rows have `PLUGGED` as their reason. */
  readonly plugged: Readonly<Counts>;
}

/** Reason of rows that a plugged filter removed. */
export const PLUGGED = 0xffff;

export class Tally {
  readonly #available: Counts;
  readonly #evaluated: number;
  readonly #reasonOf: Uint16Array;
  readonly #reasons: readonly string[];
  readonly #filtered = new Counter();
  readonly #classFiltered = new Counter();
  #nodesFiltered = 0;
  /** By row: 0, or the number (plus one) of what it has no room for. */
  readonly #exhaustedOf: Uint16Array;
  readonly #dimensionNames: string[] = [];
  #nodesExhausted = 0;
  readonly #dimensions = new Counter();
  readonly #classExhausted = new Counter();
  /** Rows that a distinct rule keeps out at present, and which. */
  readonly #keptOut = new Map<number, string>();
  readonly #classCodes: Uint32Array;
  readonly #classes: readonly (string | undefined)[];
  readonly #hasClasses: boolean;

  constructor({ columns, available, evaluated, filtered, reasons, plugged }: TallyOptions) {
    this.#available = available;
    this.#evaluated = evaluated.length;
    this.#reasonOf = filtered;
    this.#reasons = reasons;
    this.#exhaustedOf = new Uint16Array(filtered.length);
    this.#classCodes = columns.codes("node.class");
    this.#classes = columns.values("node.class");
    this.#hasClasses = this.#classes.some((name) => name !== undefined && name !== "");
    const counts = new Uint32Array(reasons.length + 1);
    for (let i = 0; i < evaluated.length; i++) {
      const row = evaluated[i]!;
      const reason = filtered[row]!;
      if (reason === 0) continue;
      if (reason !== PLUGGED) counts[reason]!++;
      this.#nodesFiltered++;
      this.#countClass(this.#classFiltered, row, 1);
    }
    for (const [i, reason] of reasons.entries()) this.#filtered.add(reason, counts[i + 1]!);
    for (const [reason, count] of Object.entries(plugged)) this.#filtered.add(reason, count);
  }

  /** Whether the row was neither found without room nor is kept out. */
  open(row: number): boolean {
    return this.#exhaustedOf[row] === 0 && (this.#keptOut.size === 0 || !this.#keptOut.has(row));
  }

  isKeptOut(row: number): boolean {
    return this.#keptOut.size > 0 && this.#keptOut.has(row);
  }

  /** What the row has no room for, null when it wasn't found to lack anything. */
  lacks(row: number): string | null {
    return this.#dimensionNames[this.#exhaustedOf[row]! - 1] ?? null;
  }

  /** The row has no room; `dimension` tells of what. */
  exhaust(row: number, dimension: string): void {
    this.free(row);
    let number = this.#dimensionNames.indexOf(dimension);
    if (number < 0) number = this.#dimensionNames.push(dimension) - 1;
    this.#exhaustedOf[row] = number + 1;
    this.#nodesExhausted++;
    this.#dimensions.add(dimension, 1);
    this.#countClass(this.#classExhausted, row, 1);
  }

  /** The row is to be looked at again. */
  free(row: number): void {
    const dimension = this.lacks(row);
    if (dimension === null) return;
    this.#exhaustedOf[row] = 0;
    this.#nodesExhausted--;
    this.#dimensions.add(dimension, -1);
    this.#countClass(this.#classExhausted, row, -1);
  }

  keepOut(row: number, reason: string): void {
    this.#keptOut.set(row, reason);
    this.#nodesFiltered++;
    this.#filtered.add(reason, 1);
    this.#countClass(this.#classFiltered, row, 1);
  }

  /** Lets every row in that was kept out; returns them. */
  letIn(): number[] {
    const rows = [...this.#keptOut.keys()];
    for (const [row, reason] of this.#keptOut) {
      this.#nodesFiltered--;
      this.#filtered.add(reason, -1);
      this.#countClass(this.#classFiltered, row, -1);
    }
    this.#keptOut.clear();
    return rows;
  }

  /**
   * The counts as they are now; `started` is the `performance.now()` at which the placement began. Counts that didn't
   * change since the last metric are the same objects.
   */
  metric(started: number): AllocMetric {
    const metric = emptyMetric();
    metric.AllocationTime = Math.ceil(((performance.now() - started) * 1e6) / TIME_STEP) * TIME_STEP;
    metric.NodesAvailable = this.#available;
    metric.NodesEvaluated = this.#evaluated;
    metric.NodesFiltered = this.#nodesFiltered;
    metric.NodesExhausted = this.#nodesExhausted;
    metric.ConstraintFiltered = this.#filtered.copy();
    metric.ClassFiltered = this.#classFiltered.copy();
    metric.DimensionExhausted = this.#dimensions.copy();
    metric.ClassExhausted = this.#classExhausted.copy();
    return metric;
  }

  /** What became of one row; without a row, of a node that isn't there. */
  metricOf(row: number | undefined, started: number): AllocMetric {
    const metric = emptyMetric();
    metric.AllocationTime = Math.ceil(((performance.now() - started) * 1e6) / TIME_STEP) * TIME_STEP;
    metric.NodesAvailable = this.#available;
    if (row === undefined) return metric;
    metric.NodesEvaluated = 1;
    const dimension = this.lacks(row);
    const reason = this.#keptOut.get(row) ?? this.#reasons[this.#reasonOf[row]! - 1];
    const counts = new Counter();
    if (dimension !== null) {
      metric.NodesExhausted = 1;
      metric.DimensionExhausted = { [dimension]: 1 };
      this.#countClass(counts, row, 1);
      metric.ClassExhausted = counts.copy();
    } else {
      metric.NodesFiltered = 1;
      if (reason !== undefined) metric.ConstraintFiltered = { [reason]: 1 };
      this.#countClass(counts, row, 1);
      metric.ClassFiltered = counts.copy();
    }
    return metric;
  }

  /** The counts of the rows among `rows` that lack something: `NodesExhausted` and what goes with it. */
  exhaustedAmong(
    rows: readonly number[],
  ): Pick<AllocMetric, "NodesExhausted" | "DimensionExhausted" | "ClassExhausted"> {
    const dimensions = new Counter();
    const classes = new Counter();
    for (const row of rows) {
      dimensions.add(this.lacks(row)!, 1);
      this.#countClass(classes, row, 1);
    }
    return {
      NodesExhausted: rows.length,
      DimensionExhausted: dimensions.copy(),
      ClassExhausted: classes.copy(),
    };
  }

  #countClass(counts: Counter, row: number, by: number): void {
    if (!this.#hasClasses) return;
    const name = this.#classes[this.#classCodes[row] ?? 0];
    if (name !== undefined && name !== "") counts.add(name, by);
  }
}

/** Counts by name, of which copies are given out: the same one until something changes. */
class Counter {
  readonly #counts: Counts = {};
  #copy: Counts | null = null;
  #changed = false;

  add(name: string, by: number): void {
    if (by === 0) return;
    const count = (this.#counts[name] ?? 0) + by;
    if (count === 0) delete this.#counts[name];
    else this.#counts[name] = count;
    this.#changed = true;
  }

  /** Null when nothing is counted. */
  copy(): Counts | null {
    if (this.#changed) {
      this.#changed = false;
      this.#copy = null;
      for (const _ in this.#counts) {
        this.#copy = { ...this.#counts };
        break;
      }
    }
    return this.#copy;
  }
}
