/** What the reconciler of service and batch jobs is told, and what it answers. */
import type { AllocationOutline, AllocClientStatus } from "../domain/allocation.js";
import type { Deployment, DeploymentStatusUpdate } from "../domain/deployment.js";
import type { Job, TaskGroup } from "../domain/job.js";
import type { DesiredUpdates } from "../domain/plan.js";

/** `DesiredDescription` of allocations that a plan changes, as the API shows them. */
export const AllocDescription = {
  NotNeeded: "alloc not needed due to job update",
  Updating: "alloc is being updated due to job update",
  Migrating: "alloc is being migrated",
  Lost: "alloc is lost since its node is down",
  Rescheduled: "alloc was rescheduled because it failed",
} as const;

/** How an allocation follows a new version of its job. */
export type UpdateKind = "ignore" | "in-place" | "destructive";

/** `down`: its allocations are lost. `unknown`: no longer in the state, and they are lost too. */
export type NodePresence = "up" | "down" | "unknown";

export interface ReconcileInput {
  /** Null: purged. */
  readonly job: Job | null;
  readonly evaluationId: string;
  /** Completed allocations are done and not run again, and nothing is deployed. */
  readonly batch: boolean;
  /** All of the job, terminal ones included. */
  readonly allocations: readonly AllocationOutline[];
  /** All of the job. */
  readonly deployments: readonly Deployment[];
  /** Id of the deployment, where one has to be made. */
  readonly newDeploymentId: string;
  /** Unix nanoseconds. */
  readonly now: number;
  /** Asked once for each allocation that its node matters to. */
  node(id: string): NodePresence;
  updateKind(allocation: AllocationOutline, job: Job, group: TaskGroup): UpdateKind;
  /** Whether the evaluation that will reschedule an allocation still waits. */
  followupWaits(evaluationId: string): boolean;
}

export interface StopDecision {
  readonly allocation: AllocationOutline;
  readonly description: string;
  /** Lost: no client will report. */
  readonly clientStatus?: AllocClientStatus;
}

export interface PlaceDecision {
  readonly group: TaskGroup;
  readonly name: string;
  readonly previous: AllocationOutline | null;
  /**
   * It replaces a failed allocation: the attempt is counted and its nodes are avoided. `previous` is to be stopped as
   * `Rescheduled` with the placement, and to be left as it is where there is no place: it keeps the record of its attempts.
   */
  readonly reschedule: boolean;
  /** It tries the new version beside those that run. */
  readonly canary: boolean;
  /** Canaries of the job's version are still being tried: this one is to run the version before it. */
  readonly earlierVersion: boolean;
}

/** To be written with the new version where it runs, or to be stopped and placed again. */
export interface Replacement {
  readonly allocation: AllocationOutline;
  readonly group: TaskGroup;
  /** Of the replacement: the allocation's own, or a free one where another holds it as well. */
  readonly name: string;
}

export interface FollowUp {
  /** Unix nanoseconds. */
  readonly waitUntil: number;
  /** Failed ones, and lost ones that are stopped by the same plan: their replacement waits for the evaluation. */
  readonly allocations: AllocationOutline[];
}

export interface Reconciliation {
  readonly stop: StopDecision[];
  readonly place: PlaceDecision[];
  readonly inPlace: Replacement[];
  /** As many as may go at once. */
  readonly destructive: Replacement[];
  readonly followUps: FollowUp[];
  /** To be made with the plan; null for none. */
  readonly newDeployment: Deployment | null;
  /** What new and updated allocations belong to, `newDeployment` included; null for none. */
  readonly deployment: Deployment | null;
  readonly deploymentUpdates: DeploymentStatusUpdate[];
  /** By group. */
  readonly desired: Record<string, DesiredUpdates>;
}
