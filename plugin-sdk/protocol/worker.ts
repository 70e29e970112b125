/** What the main thread and the threads of the scheduling pool say to each other. */
import type { MessagePort } from "node:worker_threads";
import type { SchedulerModule } from "../contracts/scheduler.js";
import type { Evaluation, Plan, PlanResult } from "../domain/index.js";

/** Shared memory of the node columns; opaque to all but the two sides of `core/state`. */
export type ColumnBuffers = Readonly<Record<string, SharedArrayBuffer>>;

/** `workerData` of a scheduling thread. */
export interface SchedulingWorkerData {
  /** Folder of the state store's LMDB environment, opened read-only. */
  readonly statePath: string;
  readonly columns: ColumnBuffers;
  readonly modules: readonly SchedulerModule[];
}

/** One evaluation to process; the thread returns nothing when done and throws when the evaluation must be nacked. */
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
}

export type SchedulingRequest =
  | { readonly id: number; readonly kind: "plan"; readonly plan: Plan }
  | { readonly id: number; readonly kind: "evaluation.update"; readonly evaluation: Evaluation }
  | { readonly id: number; readonly kind: "evaluation.create"; readonly evaluation: Evaluation }
  | { readonly id: number; readonly kind: "evaluation.reblock"; readonly evaluation: Evaluation };

export type SchedulingAnswer =
  | {
      readonly id: number;
      /** For `plan` the result; null otherwise. */
      readonly result: PlanResult | null;
    }
  | { readonly id: number; readonly error: string };
