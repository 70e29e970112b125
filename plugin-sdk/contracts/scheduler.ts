/** Schedulers, and the filters and scorers they place with. They run inside the threads of the scheduling pool. */
import type {
  Allocation,
  AllocMetric,
  Evaluation,
  Job,
  Plan,
  PlanResult,
  TaskGroup,
} from "../domain/index.js";
import { createToken } from "../kernel/token.js";
import type { Logger } from "./platform.js";
import type { Applies } from "./scheduler-rules.js";
import type { StateSnapshot } from "./state.js";

/**
 * Columns of all nodes in shared memory. Row `i` of every column is the node with number `i`; numbers are dense, given
 * once and reused only after a node is gone. Workers read, the main thread alone writes, when a plan or a node commits.
 */
export interface NodeColumns {
  /** Rows in use: numbers are below this. */
  readonly length: number;
  /** Changes whenever rows or dictionaries changed. */
  readonly version: number;
  /** Changes whenever a node, its status or its attributes changed: not with what it runs. */
  readonly nodesVersion: number;
  /** `NodeStatusBit` flags of each row. */
  readonly status: Uint8Array;
  /** MHz. */
  readonly cpuTotal: Float64Array;
  readonly cpuUsed: Float64Array;
  /** MiB. */
  readonly memoryTotal: Float64Array;
  readonly memoryUsed: Float64Array;
  /** MiB. */
  readonly diskTotal: Float64Array;
  readonly diskUsed: Float64Array;
  /** Id of the node with this number; undefined for an unused row. */
  nodeId(row: number): string | undefined;
  row(nodeId: string): number | undefined;
  /**
   * Codes of one attribute, an entry a row; 0 where the node has none. `key` is as interpolation names it without
   * `${}`: `attr.kernel.name`, `meta.rack`, `node.datacenter`, `node.class`, `node.unique.id`, `node.unique.name`,
   * and `node.computed_class` for the node's ComputedClass.
   */
  codes(key: string): Uint32Array;
  /** Distinct values of an attribute; element `c` is what code `c` means, element 0 is undefined. */
  values(key: string): readonly (string | undefined)[];
}

/** Flags of `NodeColumns.status`. */
export const NodeStatusBit = { InUse: 1, Ready: 2, Eligible: 4, Draining: 8 } as const;

/** A set of node rows, a bit each. */
export interface CandidateSet {
  /** Bit `row & 31` of word `row >> 5`. */
  readonly words: Uint32Array;
  readonly length: number;
  has(row: number): boolean;
  remove(row: number): void;
  count(): number;
}

/** What filters and scorers are told of the placement under way. */
export interface PlacementContext {
  readonly job: Job;
  readonly group: TaskGroup;
  readonly columns: NodeColumns;
  readonly state: StateSnapshot;
  readonly plan: Plan;
  readonly evaluation: Evaluation;
  /** Evaluates `${...}` for one row; undefined where the node has no such attribute. */
  resolve(target: string, row: number): string | undefined;
}

/**
 * Removes nodes that can't take the group. Called once a task group with the whole candidate set, so that a constraint
 * is one pass over a column and not a call a node. It is called again with a single row where an allocation is to be
 * updated in place.
 */
export interface NodeFilter {
  /** By which jobs and operators name it: letters, digits, `.`, `_` and `-`; one filter a name in an agent. */
  readonly name: string;
  /** Default `always`. */
  readonly applies?: Applies;
  /**
   * Removes rows, and only that: adding one fails the evaluation. Returns how many rows were removed a reason, each row
   * once; the reasons land in `AllocMetric.ConstraintFiltered`.
   */
  filter(candidates: CandidateSet, context: PlacementContext): Readonly<Record<string, number>>;
}
export const NodeFilter = createToken<NodeFilter>("NodeFilter", "multiple");

/** Rates nodes between -1 and 1; the sum over scorers that took part is divided by their number, as Nomad normalises. */
export interface NodeScorer {
  /**
   * Key of the score in `ScoreMetaData`, and by which jobs and operators name it: letters, digits, `.`, `_` and `-`; one
   * scorer a name in an agent, and none of the engine's own (`binpack`, `node-affinity` and so on).
   */
  readonly name: string;
  /** Default `always`. */
  readonly applies?: Applies;
  /**
   * Writes a score for each candidate row into `scores` (indexed by row, 0 at first). Returns false where it has no
   * opinion on this group at all and must not be counted in the mean. A score that is no finite number fails the
   * evaluation; one beyond -1 or 1 counts as -1 or 1, and is then multiplied by the weight that the job or the operator
   * gave. `candidates` is a copy: rows removed from it stay candidates.
   */
  score(candidates: CandidateSet, scores: Float64Array, context: PlacementContext): boolean;
  /** Scores one row again after an allocation was put on it. */
  rescore?(row: number, context: PlacementContext): number;
}
export const NodeScorer = createToken<NodeScorer>("NodeScorer", "multiple");

/** One allocation to be placed. */
export interface PlacementRequest {
  readonly job: Job;
  readonly group: TaskGroup;
  /** `web.app[0]` */
  readonly name: string;
  /** The allocation it replaces. */
  readonly previous: Allocation | null;
  /** Nodes that should be avoided (reschedule penalty). */
  readonly penaltyNodes?: ReadonlySet<string>;
  /** Nodes to be tried before all others (sticky disk, in-place). */
  readonly preferredNode?: string;
  /** The one node that may be used: a system job has an allocation of its own for each. */
  readonly onlyNode?: string;
}

export interface Placement {
  readonly nodeId: string;
  readonly nodeName: string;
  readonly resources: Allocation["AllocatedResources"];
  readonly metrics: AllocMetric;
  /** Allocations of lower priority that must leave the node for it; the scheduler puts them into the plan. */
  readonly preempted?: readonly Allocation[];
}

/** Gives each allocation the best node, counting what the plan already holds. */
export interface Placer {
  /** The placement, or why there is none. */
  place(request: PlacementRequest): Placement | { readonly failed: AllocMetric };
  /** Whether the allocation's new version fits where it runs, after its old use is released; null where it doesn't. */
  fitInPlace(allocation: Allocation, job: Job, group: TaskGroup): Placement | null;
  /** Eligibility of computed classes seen so far, for blocked evaluations. */
  classEligibility(): { readonly classes: Readonly<Record<string, boolean>>; readonly escaped: boolean };
}

/** What a scheduler may do in the course of one evaluation. */
export interface SchedulerContext {
  readonly evaluation: Evaluation;
  /** The view to decide on; replaced by `refresh`. */
  readonly state: StateSnapshot;
  readonly columns: NodeColumns;
  readonly log: Logger;
  /** Milliseconds since the Unix epoch when the evaluation was dequeued; use it instead of the clock. */
  readonly now: number;
  /** A plan to fill in: evaluation id, token, priority and job are set. */
  newPlan(job: Job | null): Plan;
  placer(plan: Plan): Placer;
  /**
   * Sends the plan to the leader. `refreshed` is true when part of it was refused: `state` is then newer, and what is
   * missing must be decided again.
   */
  submitPlan(plan: Plan): Promise<{ readonly result: PlanResult; readonly refreshed: boolean }>;
  /** Writes a changed evaluation, in most cases the one at hand with its outcome. */
  updateEvaluation(evaluation: Evaluation): Promise<void>;
  /** Writes a follow-up evaluation. */
  createEvaluation(evaluation: Evaluation): Promise<void>;
  /** Hands a blocked evaluation back to the tracker with a newer snapshot index, instead of writing another. */
  reblockEvaluation(evaluation: Evaluation): Promise<void>;
}

/** A scheduler: handles the evaluations of its type. An exception nacks the evaluation, which is then tried again. */
export interface Scheduler {
  /** Job type it handles: `service`, `batch`, `system`, `sysbatch`, `_core` or a type of its own. */
  readonly type: string;
  process(context: SchedulerContext): Promise<void>;
}
export const Scheduler = createToken<Scheduler>("Scheduler", "multiple");

/**
 * How the pool's threads learn of a scheduler plugin: the thread imports `module` itself and registers it in a container
 * of its own, because instances don't cross threads.
 */
export interface SchedulerModule {
  /** `file:` URL of the module whose default export is the plugin. */
  readonly module: string;
  readonly config: unknown;
}
