/** What the main thread and the threads of the scheduling pool say to each other. */
import type { MessagePort } from "node:worker_threads";
import type { SchedulerModule } from "../contracts/scheduler.js";
import type { SchedulerRules } from "../contracts/scheduler-rules.js";
import type { AllocMetric, Evaluation, Job, PlanAnnotations } from "../domain/index.js";

/** Shared memory of the node columns; opaque to all but the two sides of `core/state`. */
export type ColumnBuffers = Readonly<Record<string, SharedArrayBuffer>>;

/** `workerData` of a scheduling thread. */
export interface SchedulingWorkerData {
  /** Folder of the state store's LMDB environment, opened read-only. */
  readonly statePath: string;
  readonly columns: ColumnBuffers;
  readonly modules: readonly SchedulerModule[];
  /** The operator's `scheduler` blocks. */
  readonly rules: SchedulerRules;
}

/** What a thread tells of itself, in this order. */
export type ThreadNews =
  /** It reads the state within this fence from now on. `thread`: Node's number of it; `fence`: see `core/state/read/thread-fence.ts`. */
  | { readonly kind: "opened"; readonly thread: number; readonly fence: SharedArrayBuffer }
  /** It can take work. */
  | { readonly kind: "loaded"; readonly thread: number };

/** Comes with every task, so that the thread can be ended that took it. */
export interface Taken {
  /** Four bytes, in which the thread that takes it writes its number; 0 until then. */
  readonly takenBy: SharedArrayBuffer;
}

/** What a thread returns of an evaluation; it never throws, so that a rejected task means a thread that died. */
export type SchedulingOutcome =
  | { readonly error: null }
  | {
      /** Why the evaluation is not done; names the plugin where one is at fault. */
      readonly error: string;
      /** `retry`: deliver it again. `final`: a plugin broke its contract, and would do so again. */
      readonly next: "retry" | "final";
    };

/** One evaluation to process. */
export interface SchedulingTask {
  readonly evaluation: Evaluation;
  /** Delivery token of the eval broker, to be put in the plan. */
  readonly token: string;
  /** The snapshot must contain this index. */
  readonly minIndex: number;
  /** Milliseconds since the Unix epoch. */
  readonly now: number;
  /** For `SchedulingRequest`s to the main thread; transferred. */
  readonly port: MessagePort;
  /** How old is old; for evaluations of `_core` alone. */
  readonly garbage?: GarbageCutoffs;
}

/** How the leader checks a node of a plan. */
export const NodeCheck = {
  /** Nothing is placed there: there is nothing to check. */
  None: 0,
  /** New allocations that only count: enough is free or it isn't. */
  Counted: 1,
  /** Ports, cores, devices, updates in place, or room that the plan makes itself: everything on the node is looked at. */
  Whole: 2,
} as const;

/** A plan, packed by the thread: the leader checks its nodes and passes the commands on as they are. */
export interface PackedPlan {
  readonly evaluation: string;
  readonly token: string;
  readonly priority: number;
  readonly allAtOnce: boolean;
  /** Whether it evicts allocations of other jobs. */
  readonly preempts: boolean;
  /** Log entries that commit it, in order. */
  readonly commands: readonly Uint8Array[];
  /** Every node that the plan touches, and of each its `NodeCheck` and what new allocations would take. */
  readonly nodes: readonly string[];
  readonly checks: Uint8Array;
  /** MHz. */
  readonly cpu: Float64Array;
  /** MiB. */
  readonly memory: Float64Array;
  /** MiB. */
  readonly disk: Float64Array;
}

/** What became of a packed plan. */
export interface PackedPlanResult {
  /** Index of the commit; 0 when nothing was. */
  readonly index: number;
  /** Above 0: the scheduler must look at the state of this index and plan the rest again. */
  readonly refreshIndex: number;
  /** Nodes whose part was refused. */
  readonly refused: readonly string[];
}

/** By kind of row: the index of the last write that is long enough ago for the row to be collected. */
export interface GarbageCutoffs {
  readonly evaluations: number;
  readonly jobs: number;
  readonly nodes: number;
  readonly deployments: number;
}

/** What a row was when the collector looked: one that changed meanwhile stays. */
export interface UnchangedRow {
  readonly ID: string;
  readonly ModifyIndex: number;
}

/** Rows to be deleted with one log entry; bounded, so that applying it holds nobody up. */
export type GarbageBatch =
  | {
      readonly table: "evaluations";
      readonly evaluations: readonly string[];
      readonly allocations: readonly string[];
    }
  | { readonly table: "jobs"; readonly jobs: readonly (UnchangedRow & { readonly Namespace: string })[] }
  | { readonly table: "deployments"; readonly deployments: readonly string[] }
  | { readonly table: "nodes"; readonly nodes: readonly UnchangedRow[] }
  /** SHA-256 of the tokens' secrets, hex. */
  | { readonly table: "join-tokens"; readonly hashes: readonly string[] };

/**
 * `started` says that the scheduler begins now, `decided` that the thread can begin with another evaluation while what this
 * one decided is committed; neither is answered.
 */
export type SchedulingRequest =
  | { readonly id: number; readonly kind: "started" }
  | { readonly id: number; readonly kind: "decided" }
  | { readonly id: number; readonly kind: "plan"; readonly plan: PackedPlan }
  | { readonly id: number; readonly kind: "evaluation.update"; readonly evaluation: Evaluation }
  | { readonly id: number; readonly kind: "evaluation.create"; readonly evaluation: Evaluation }
  | { readonly id: number; readonly kind: "evaluation.reblock"; readonly evaluation: Evaluation }
  /** Of evaluations of `_core` alone. */
  | { readonly id: number; readonly kind: "garbage"; readonly batch: GarbageBatch };

export type SchedulingAnswer =
  | {
      readonly id: number;
      /** For `plan` the result; null otherwise. */
      readonly result: PackedPlanResult | null;
    }
  | { readonly id: number; readonly error: string };

/** A dry run: the thread lets the job's scheduler work as if the job were registered, and writes nothing. */
export interface DryRunTask {
  /** As it would be stored. */
  readonly job: Job;
  /** That of the registration, with AnnotatePlan. */
  readonly evaluation: Evaluation;
  /** The snapshot must contain this index. */
  readonly minIndex: number;
  /** Milliseconds since the Unix epoch. */
  readonly now: number;
  /** Milliseconds that the scheduler may work. */
  readonly budget: number;
}

/** What the scheduler would have done. */
export interface DryRunOutcome {
  readonly annotations: PlanAnnotations;
  /** Follow-ups and blocked evaluations that it asked for. */
  readonly createdEvals: readonly Evaluation[];
  /** By group: why not all could be placed; null when all could. */
  readonly failedGroups: Record<string, AllocMetric> | null;
  /** Why the evaluation would have failed; "" when it would not. */
  readonly failure: string;
}
