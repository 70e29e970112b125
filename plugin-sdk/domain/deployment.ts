/** Deployments: the roll-out of one version of a service job (https://developer.hashicorp.com/nomad/api-docs/deployments). */

export const DeploymentStatus = {
  Running: "running",
  Paused: "paused",
  Failed: "failed",
  Successful: "successful",
  Cancelled: "cancelled",
  Pending: "pending",
  Blocked: "blocked",
  Unblocking: "unblocking",
} as const;
export type DeploymentStatus = (typeof DeploymentStatus)[keyof typeof DeploymentStatus];

/** Wording of Deployment.StatusDescription. */
export const DeploymentStatusDescription = {
  Running: "Deployment is running",
  RunningNeedsPromotion: "Deployment is running but requires manual promotion",
  RunningAutoPromotion: "Deployment is running pending automatic promotion",
  Paused: "Deployment is paused",
  Successful: "Deployment completed successfully",
  StoppedJob: "Cancelled because job is stopped",
  NewerJob: "Cancelled due to newer version of job",
  FailedAllocations: "Failed due to unhealthy allocations",
  ProgressDeadline: "Failed due to progress deadline",
  FailedByUser: "Deployment marked as failed",
} as const;
export type DeploymentStatusDescription =
  (typeof DeploymentStatusDescription)[keyof typeof DeploymentStatusDescription];

/** A group in a deployment. */
export interface DeploymentState {
  AutoPromote: boolean;
  AutoRevert: boolean;
  /** Canaries asked for; 0 without. */
  DesiredCanaries: number;
  /** The group's Count. */
  DesiredTotal: number;
  HealthyAllocs: number;
  PlacedAllocs: number;
  /** Ids of the canaries. */
  PlacedCanaries: string[] | null;
  /** Nanoseconds; 0: none. */
  ProgressDeadline: number;
  Promoted: boolean;
  /** RFC 3339: an allocation must become healthy by then; null before the first placement. */
  RequireProgressBy: string | null;
  UnhealthyAllocs: number;
}

/** A deployment. */
export interface Deployment {
  CreateIndex: number;
  ID: string;
  /** Part of a multi-region roll-out (Enterprise). */
  IsMultiregion: boolean;
  /** The job's CreateIndex: a purged and re-registered job is another job. */
  JobCreateIndex: number;
  JobID: string;
  JobModifyIndex: number;
  /** The job's JobModifyIndex. */
  JobSpecModifyIndex: number;
  JobVersion: number;
  ModifyIndex: number;
  Namespace: string;
  Status: DeploymentStatus;
  StatusDescription: string;
  /** By group. */
  TaskGroups: Record<string, DeploymentState>;
}

/** A change of a deployment's status. */
export interface DeploymentStatusUpdate {
  DeploymentID: string;
  Status: DeploymentStatus;
  StatusDescription: string;
}

/** True while the deployment still acts or waits (running, paused, blocked, unblocking, pending). */
export function deploymentActive(deployment: Pick<Deployment, "Status">): boolean {
  switch (deployment.Status) {
    case DeploymentStatus.Running:
    case DeploymentStatus.Paused:
    case DeploymentStatus.Blocked:
    case DeploymentStatus.Unblocking:
    case DeploymentStatus.Pending:
      return true;
    default:
      return false;
  }
}

/** True when a group has canaries that were not promoted yet. */
export function deploymentNeedsPromotion(deployment: Pick<Deployment, "TaskGroups">): boolean {
  return Object.values(deployment.TaskGroups).some((group) => group.DesiredCanaries > 0 && !group.Promoted);
}

/** True when every group that waits for promotion promotes itself, and at least one does. */
export function deploymentHasAutoPromote(deployment: Pick<Deployment, "TaskGroups">): boolean {
  const waiting = Object.values(deployment.TaskGroups).filter((g) => g.DesiredCanaries > 0 && !g.Promoted);
  return waiting.length > 0 && waiting.every((group) => group.AutoPromote);
}

/** "failed - rolling back to job version 3"-style description of an automatic roll-back. */
export function deploymentRollbackDescription(base: string, version: number): string {
  return `${base} - rolling back to job version ${version}`;
}

/** Description of a failed deployment that found no stable version to go back to. */
export function deploymentNoRollbackDescription(base: string): string {
  return `${base} - no stable job version to auto revert to`;
}

/** Description of a failed deployment whose last stable version says nothing else than the job does now. */
export function deploymentRollbackNoopDescription(base: string, version: number): string {
  return `${base} - not rolling back to stable job version ${version} as current job has same specification`;
}

/** Description of a deployment that runs: whether, and by whom, its canaries wait to be promoted. */
export function deploymentRunningDescription(deployment: Pick<Deployment, "TaskGroups">): string {
  if (!deploymentNeedsPromotion(deployment)) return DeploymentStatusDescription.Running;
  return deploymentHasAutoPromote(deployment)
    ? DeploymentStatusDescription.RunningAutoPromotion
    : DeploymentStatusDescription.RunningNeedsPromotion;
}
