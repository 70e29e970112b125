/** What became of the nodes that a group looked at: the counts of `AllocMetric`, kept up as the plan grows. */
import type { AllocMetric, NodeColumns } from "@drover/plugin-sdk";
import { type Candidates, emptyMetric, rowsOf } from "@drover/plugin-sdk/scheduling";

type Counts = Record<string, number>;

/** Allocation times are in steps of 10 µs: finer is noise, and equal metrics are stored once in a plan's log entry. */
const TIME_STEP = 10_000;

export class Tally {
  readonly #columns: NodeColumns;
  readonly #available: Counts;
  readonly #evaluated: number;
  readonly #filtered: Counts;
  readonly #classFiltered: Counts = {};
  #nodesFiltered: number;
  readonly #exhausted = new Map<number, string>();
  readonly #dimensions: Counts = {};
  readonly #classExhausted: Counts = {};
  /** Rows that a distinct rule keeps out at present, and which. */
  readonly #keptOut = new Map<number, string>();

  /** `filtered` counts by reason those of `ready` that aren't in `feasible`; it is kept and changed. */
  constructor(
    columns: NodeColumns,
    available: Counts,
    ready: Candidates,
    feasible: Candidates,
    filtered: Record<string, number>,
  ) {
    this.#columns = columns;
    this.#available = available;
    this.#filtered = filtered;
    this.#evaluated = ready.count();
    this.#nodesFiltered = this.#evaluated - feasible.count();
    for (const row of rowsOf(ready)) if (!feasible.has(row)) this.#countClass(this.#classFiltered, row, 1);
  }

  /** Whether the row was neither found without room nor is kept out. */
  open(row: number): boolean {
    return !this.#exhausted.has(row) && !this.#keptOut.has(row);
  }

  isKeptOut(row: number): boolean {
    return this.#keptOut.has(row);
  }

  /** The row has no room; `dimension` tells of what. */
  exhaust(row: number, dimension: string): void {
    this.free(row);
    this.#exhausted.set(row, dimension);
    bump(this.#dimensions, dimension, 1);
    this.#countClass(this.#classExhausted, row, 1);
  }

  /** The row is to be looked at again. */
  free(row: number): void {
    const dimension = this.#exhausted.get(row);
    if (dimension === undefined) return;
    this.#exhausted.delete(row);
    bump(this.#dimensions, dimension, -1);
    this.#countClass(this.#classExhausted, row, -1);
  }

  keepOut(row: number, reason: string): void {
    this.#keptOut.set(row, reason);
    this.#nodesFiltered++;
    bump(this.#filtered, reason, 1);
    this.#countClass(this.#classFiltered, row, 1);
  }

  /** Lets every row in that was kept out; returns them. */
  letIn(): number[] {
    const rows = [...this.#keptOut.keys()];
    for (const [row, reason] of this.#keptOut) {
      this.#nodesFiltered--;
      bump(this.#filtered, reason, -1);
      this.#countClass(this.#classFiltered, row, -1);
    }
    this.#keptOut.clear();
    return rows;
  }

  /** The counts as they are now; `started` is the `performance.now()` at which the placement began. */
  metric(started: number): AllocMetric {
    const metric = emptyMetric();
    metric.AllocationTime = Math.ceil(((performance.now() - started) * 1e6) / TIME_STEP) * TIME_STEP;
    metric.NodesAvailable = this.#available;
    metric.NodesEvaluated = this.#evaluated;
    metric.NodesFiltered = this.#nodesFiltered;
    metric.NodesExhausted = this.#exhausted.size;
    metric.ConstraintFiltered = copyOrNull(this.#filtered);
    metric.ClassFiltered = copyOrNull(this.#classFiltered);
    metric.DimensionExhausted = copyOrNull(this.#dimensions);
    metric.ClassExhausted = copyOrNull(this.#classExhausted);
    return metric;
  }

  /** What became of one row; without a row, of a node that isn't there. */
  metricOf(row: number | undefined, started: number): AllocMetric {
    const metric = emptyMetric();
    metric.AllocationTime = Math.ceil(((performance.now() - started) * 1e6) / TIME_STEP) * TIME_STEP;
    metric.NodesAvailable = this.#available;
    if (row === undefined) return metric;
    metric.NodesEvaluated = 1;
    const dimension = this.#exhausted.get(row);
    const reason = this.#keptOut.get(row);
    if (dimension === undefined) {
      metric.NodesFiltered = 1;
      if (reason !== undefined) metric.ConstraintFiltered = { [reason]: 1 };
      return metric;
    }
    metric.NodesExhausted = 1;
    metric.DimensionExhausted = { [dimension]: 1 };
    const counts: Counts = {};
    this.#countClass(counts, row, 1);
    metric.ClassExhausted = copyOrNull(counts);
    return metric;
  }

  #countClass(counts: Counts, row: number, by: number): void {
    const name = this.#columns.values("node.class")[this.#columns.codes("node.class")[row] ?? 0];
    if (name !== undefined && name !== "") bump(counts, name, by);
  }
}

function bump(counts: Counts, key: string, by: number): void {
  const count = (counts[key] ?? 0) + by;
  if (count === 0) delete counts[key];
  else counts[key] = count;
}

function copyOrNull(counts: Counts): Counts | null {
  for (const _ in counts) return { ...counts };
  return null;
}
