/** The deployments of a job as the reconciler sees them: which one goes on, which ones end, and which canaries count. */
import type { AllocationOutline } from "../domain/allocation.js";
import {
  type Deployment,
  type DeploymentState,
  DeploymentStatus,
  DeploymentStatusDescription,
  type DeploymentStatusUpdate,
  deploymentActive,
  deploymentRunningDescription,
} from "../domain/deployment.js";
import type { Job, TaskGroup } from "../domain/job.js";
import type { UpdateStrategy } from "../domain/policies.js";

export class JobDeployments {
  /** Rolls out the job's version and has not succeeded; null for none. */
  readonly current: Deployment | null;
  readonly updates: DeploymentStatusUpdate[] = [];
  /** It holds placements and updates: paused, pending or failed. */
  readonly held: boolean;
  readonly failed: boolean;
  /** Canaries that were never promoted and whose deployment is over, with the deployment. */
  readonly #obsolete = new Map<string, string>();

  /** `job` is null where nothing of it is to run. */
  constructor(deployments: readonly Deployment[], job: Job | null) {
    const newest = job === null ? null : newestOf(deployments, job);
    this.current = newest !== null && goesOn(newest) ? newest : null;
    const status = this.current?.Status;
    this.failed = status === DeploymentStatus.Failed;
    this.held = this.failed || status === DeploymentStatus.Paused || status === DeploymentStatus.Pending;
    for (const deployment of deployments) {
      if (deployment !== this.current && deploymentActive(deployment)) {
        this.#end(deployment, DeploymentStatus.Cancelled, job === null ? "StoppedJob" : "NewerJob");
      }
      if (deployment === this.current && !this.failed) continue;
      for (const group of Object.values(deployment.TaskGroups)) {
        if (group.Promoted) continue;
        for (const id of group.PlacedCanaries ?? []) this.#obsolete.set(id, deployment.ID);
      }
    }
  }

  isObsoleteCanary(allocation: AllocationOutline): boolean {
    return this.#obsolete.size > 0 && this.#obsolete.get(allocation.ID) === allocation.DeploymentID;
  }

  /** All that it wanted runs. */
  succeed(): void {
    if (this.current !== null && deploymentActive(this.current)) {
      this.#end(this.current, DeploymentStatus.Successful, "Successful");
    }
  }

  #end(
    deployment: Deployment,
    Status: DeploymentStatus,
    why: keyof typeof DeploymentStatusDescription,
  ): void {
    this.updates.push({
      DeploymentID: deployment.ID,
      Status,
      StatusDescription: DeploymentStatusDescription[why],
    });
  }
}

/** The newest deployment of this version of this registration of the job. */
function newestOf(deployments: readonly Deployment[], job: Job): Deployment | null {
  let newest: Deployment | null = null;
  for (const deployment of deployments) {
    if (deployment.JobCreateIndex !== job.CreateIndex || deployment.JobVersion !== job.Version) continue;
    if (newest === null || deployment.CreateIndex > newest.CreateIndex) newest = deployment;
  }
  return newest;
}

/** What succeeded is over; what failed keeps holding until there is another version. */
function goesOn(deployment: Deployment): boolean {
  return deploymentActive(deployment) || deployment.Status === DeploymentStatus.Failed;
}

/** The strategy of a group that is rolled; null for one that is replaced all at once. */
export function rollingUpdate(group: TaskGroup): UpdateStrategy | null {
  return group.Update !== null && group.Update.MaxParallel > 0 ? group.Update : null;
}

/** A group of a new deployment. */
export function newDeploymentState(
  strategy: UpdateStrategy,
  total: number,
  canaries: number,
): DeploymentState {
  return {
    AutoPromote: strategy.AutoPromote,
    AutoRevert: strategy.AutoRevert,
    DesiredCanaries: canaries,
    DesiredTotal: total,
    HealthyAllocs: 0,
    PlacedAllocs: 0,
    PlacedCanaries: null,
    ProgressDeadline: strategy.ProgressDeadline,
    Promoted: false,
    RequireProgressBy: null,
    UnhealthyAllocs: 0,
  };
}

/** The deployment of a job's version, or null where no group is rolled. */
export function newDeployment(
  id: string,
  job: Job,
  groups: Readonly<Record<string, DeploymentState>>,
): Deployment | null {
  if (Object.keys(groups).length === 0) return null;
  const deployment: Deployment = {
    CreateIndex: 0,
    ID: id,
    IsMultiregion: false,
    JobCreateIndex: job.CreateIndex,
    JobID: job.ID,
    JobModifyIndex: job.ModifyIndex,
    JobSpecModifyIndex: job.JobModifyIndex,
    JobVersion: job.Version,
    ModifyIndex: 0,
    Namespace: job.Namespace,
    Status: DeploymentStatus.Running,
    StatusDescription: DeploymentStatusDescription.Running,
    TaskGroups: { ...groups },
  };
  deployment.StatusDescription = deploymentRunningDescription(deployment);
  return deployment;
}
