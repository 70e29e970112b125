/** Plans: what a scheduler wants changed, and what the plan applier made of it. */
import type { Allocation } from "./allocation.js";
import type { Deployment, DeploymentStatusUpdate } from "./deployment.js";
import type { Job } from "./job.js";

/** Allocations of a group by what a plan does to them. */
export interface DesiredUpdates {
  Canary: number;
  DestructiveUpdate: number;
  Ignore: number;
  InPlaceUpdate: number;
  Migrate: number;
  Place: number;
  Preemptions: number;
  Stop: number;
}

/** An allocation that a plan would push aside. */
export interface PreemptedAllocStub {
  ID: string;
  JobID: string;
  Name: string;
  Namespace: string;
  NodeID: string;
  TaskGroup: string;
}

/** Explanation of a plan for people (job plan). */
export interface PlanAnnotations {
  /** By group. */
  DesiredTGUpdates: Record<string, DesiredUpdates> | null;
  PreemptedAllocs: PreemptedAllocStub[] | null;
}

/** A scheduler's proposal, made against the state at SnapshotIndex and checked again by the leader. */
export interface Plan {
  /** Apply all or nothing. */
  AllAtOnce: boolean;
  Annotations: PlanAnnotations | null;
  /** Deployment to create or update. */
  Deployment: Deployment | null;
  /** Status changes of other deployments. */
  DeploymentUpdates: DeploymentStatusUpdate[];
  EvalID: string;
  /** Proof that the worker still holds the evaluation; a plan with an old token is refused. */
  EvalToken: string;
  /** Job of every allocation placed; they carry `Job: null`. Null for a purged job. */
  Job: Job | null;
  /** By node: allocations to place or update in place. */
  NodeAllocation: Record<string, Allocation[]>;
  /** By node: allocations to evict for this plan. */
  NodePreemptions: Record<string, Allocation[]>;
  /** By node: allocations to stop. */
  NodeUpdate: Record<string, Allocation[]>;
  /** The evaluation's. */
  Priority: number;
  /** Index of the state it was made against. */
  SnapshotIndex: number;
}

/** What was committed of a plan. Partial when nodes were rejected. */
export interface PlanResult {
  /** Index of the commit; 0 when nothing was. */
  AllocIndex: number;
  Deployment: Deployment | null;
  DeploymentUpdates: DeploymentStatusUpdate[];
  NodeAllocation: Record<string, Allocation[]>;
  NodePreemptions: Record<string, Allocation[]>;
  NodeUpdate: Record<string, Allocation[]>;
  /** Above 0: refresh the snapshot to this index and plan the rest again. */
  RefreshIndex: number;
  /** Nodes whose part did not fit. */
  RejectedNodes: string[];
}

/** True when the plan changes nothing. */
export function planIsNoOp(
  plan: Pick<Plan, "NodeUpdate" | "NodeAllocation" | "NodePreemptions" | "Deployment" | "DeploymentUpdates">,
): boolean {
  return (
    Object.keys(plan.NodeUpdate).length === 0 &&
    Object.keys(plan.NodeAllocation).length === 0 &&
    Object.keys(plan.NodePreemptions).length === 0 &&
    plan.Deployment === null &&
    plan.DeploymentUpdates.length === 0
  );
}
