/** Evaluations: requests to a scheduler to look at a job again (https://developer.hashicorp.com/nomad/api-docs/evaluations). */
import type { AllocMetric } from "./allocation.js";
import type { JobType } from "./job.js";
import type { PlanAnnotations } from "./plan.js";

/** `blocked`: waits for capacity. `canceled`: made obsolete by a newer one. */
export const EvalStatus = {
  Blocked: "blocked",
  Pending: "pending",
  Complete: "complete",
  Failed: "failed",
  Cancelled: "canceled",
} as const;
export type EvalStatus = (typeof EvalStatus)[keyof typeof EvalStatus];

/** What made an evaluation. */
export const EvalTrigger = {
  JobRegister: "job-register",
  JobDeregister: "job-deregister",
  PeriodicJob: "periodic-job",
  NodeDrain: "node-drain",
  NodeUpdate: "node-update",
  AllocStop: "alloc-stop",
  Scheduled: "scheduled",
  RollingUpdate: "rolling-update",
  DeploymentWatcher: "deployment-watcher",
  FailedFollowUp: "failed-follow-up",
  MaxPlans: "max-plan-attempts",
  RetryFailedAlloc: "alloc-failure",
  QueuedAllocs: "queued-allocs",
  Preemption: "preemption",
  Scaling: "job-scaling",
} as const;
export type EvalTrigger = (typeof EvalTrigger)[keyof typeof EvalTrigger];

/** Jobs of the `_core` scheduler; an evaluation's JobID is `<name>:<index>` or the name alone. */
export const CoreJob = {
  EvalGC: "eval-gc",
  NodeGC: "node-gc",
  JobGC: "job-gc",
  DeploymentGC: "deployment-gc",
  CSIVolumeClaimGC: "csi-volume-claim-gc",
  CSIPluginGC: "csi-plugin-gc",
  OneTimeTokenGC: "one-time-token-gc",
  ForceGC: "force-gc",
} as const;
export type CoreJob = (typeof CoreJob)[keyof typeof CoreJob];

/** StatusDescription of a blocked evaluation made for allocations that did not fit. */
export const BLOCKED_EVAL_FAILED_PLACEMENTS = "created to place remaining allocations";
/** StatusDescription of a blocked evaluation made after too many refused plans. */
export const BLOCKED_EVAL_MAX_PLANS = "created due to placement conflicts";

/** An evaluation. Fields marked optional are left out of the JSON while empty, as the API does. */
export interface Evaluation {
  /** Ask the scheduler to annotate its plan (job plan only). */
  AnnotatePlan?: boolean;
  /** Blocked evaluation made by this one. */
  BlockedEval?: string;
  /** For a blocked evaluation: computed node class to whether it can hold the job; absent classes are unknown. */
  ClassEligibility?: Record<string, boolean>;
  CreateIndex: number;
  /** Unix nanoseconds. */
  CreateTime: number;
  /** Deployment it belongs to. */
  DeploymentID?: string;
  /** The job's constraints name unique attributes, so node classes do not decide eligibility. */
  EscapedComputedClass?: boolean;
  /** By group: why placement failed. */
  FailedTGAllocs?: Record<string, AllocMetric>;
  ID: string;
  JobID: string;
  /** The job's JobModifyIndex when the evaluation was made. */
  JobModifyIndex?: number;
  /** The leader's own ACL secret on core evaluations; never leaves the servers. */
  LeaderACL?: string;
  ModifyIndex: number;
  /** Unix nanoseconds. */
  ModifyTime: number;
  Namespace: string;
  /** Follow-up made by this one. */
  NextEval?: string;
  /** Node whose change triggered it; of a blocked one the node that it waits for, and that alone. */
  NodeID?: string;
  NodeModifyIndex?: number;
  /** Scheduling annotations, with AnnotatePlan. */
  PlanAnnotations?: PlanAnnotations;
  /** Evaluation that made this one. */
  PreviousEval?: string;
  /** The job's priority, or that of a core job. */
  Priority: number;
  /** By group: allocations still to be placed after this evaluation. */
  QueuedAllocations?: Record<string, number>;
  /** Quota that blocked it (Enterprise). */
  QuotaLimitReached?: string;
  /** Index of the state the scheduler saw. */
  SnapshotIndex?: number;
  Status: EvalStatus;
  StatusDescription?: string;
  TriggeredBy: EvalTrigger;
  /** Scheduler: the job's type, or `_core`. */
  Type: JobType;
  /** Nanoseconds the broker holds it back after it arrives. */
  Wait?: number;
  /** Not before this time, RFC 3339 (delayed rescheduling). */
  WaitUntil?: string;
}

/** True when the evaluation will not be looked at again: complete, failed or canceled. */
export function evalTerminal(evaluation: Pick<Evaluation, "Status">): boolean {
  const status = evaluation.Status;
  return status === EvalStatus.Complete || status === EvalStatus.Failed || status === EvalStatus.Cancelled;
}

/** True when it belongs in the eval broker (pending). */
export function evalShouldEnqueue(evaluation: Pick<Evaluation, "Status">): boolean {
  return evaluation.Status === EvalStatus.Pending;
}

/** True when it belongs in the blocked evaluations (blocked). */
export function evalShouldBlock(evaluation: Pick<Evaluation, "Status">): boolean {
  return evaluation.Status === EvalStatus.Blocked;
}
