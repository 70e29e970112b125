/** What the groups of one placer share. */
import type {
  Allocation,
  Evaluation,
  Job,
  NodeColumns,
  NodeFilter,
  NodeScorer,
  Plan,
  SchedulerConfiguration,
  StateSnapshot,
} from "@drover/plugin-sdk";
import type { NodeHoldings } from "./assign.js";
import type { FeasibleRowsCache } from "./feasible-rows.js";
import type { PlanUsage } from "./plan-usage.js";

export interface PlacementScope {
  readonly columns: NodeColumns;
  readonly state: StateSnapshot;
  readonly plan: Plan;
  readonly evaluation: Evaluation;
  readonly configuration: SchedulerConfiguration;
  readonly filters: readonly NodeFilter[];
  readonly scorers: readonly NodeScorer[];
  readonly feasible: FeasibleRowsCache;
  /** Rows looked at: those there were when the placer was made. */
  readonly length: number;
  /** By row; decides between equal scores. */
  readonly tie: Uint32Array;
  readonly usage: PlanUsage;
  /** The shared numbers by row, live; read from `columns` once because each look there costs a synchronisation. */
  readonly numbers: Pick<
    NodeColumns,
    "cpuTotal" | "cpuUsed" | "memoryTotal" | "memoryUsed" | "diskTotal" | "diskUsed"
  >;
  holdings(row: number): NodeHoldings | null;
  forgetHoldings(row: number): void;
  /** The job of an allocation in the version it runs; null when it was purged. */
  jobOf(allocation: Allocation): Job | null;
  random(name: string): () => number;
}
