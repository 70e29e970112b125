/** Rows that schedulers write. */

import type { Placement } from "../contracts/scheduler.js";
import {
  type Allocation,
  AllocClientStatus,
  AllocDesiredStatus,
  type AllocMetric,
} from "../domain/allocation.js";
import type { EvalStatus, EvalTrigger, Evaluation } from "../domain/evaluation.js";
import type { Job, TaskGroup } from "../domain/job.js";

export interface NewAllocation {
  readonly id: string;
  /** `web.app[0]` */
  readonly name: string;
  readonly evaluation: Evaluation;
  readonly job: Job;
  readonly group: TaskGroup;
  readonly placement: Placement;
  /** Unix nanoseconds. */
  readonly now: number;
}

/** The row of a new allocation, as a plan carries it: without its job. */
export function newAllocation(from: NewAllocation): Allocation {
  const { job, placement, now } = from;
  return {
    AllocModifyIndex: 0,
    AllocatedResources: placement.resources,
    ClientDescription: "",
    ClientStatus: AllocClientStatus.Pending,
    CreateIndex: 0,
    CreateTime: now,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredStatus: AllocDesiredStatus.Run,
    EvalID: from.evaluation.ID,
    ID: from.id,
    Job: null,
    JobCreateIndex: job.CreateIndex,
    JobID: job.ID,
    JobVersion: job.Version,
    Metrics: placement.metrics,
    ModifyIndex: 0,
    ModifyTime: now,
    Name: from.name,
    Namespace: job.Namespace,
    NetworkStatus: null,
    NodeID: placement.nodeId,
    NodeName: placement.nodeName,
    TaskGroup: from.group.Name,
    TaskStates: null,
  };
}

/** The row of an allocation that gets the job's version where it runs. `now` is Unix nanoseconds. */
export function updatedInPlace(
  allocation: Allocation,
  { evaluation, job, placement, now }: Pick<NewAllocation, "evaluation" | "job" | "placement" | "now">,
): Allocation {
  return {
    ...allocation,
    EvalID: evaluation.ID,
    Job: null,
    JobVersion: job.Version,
    AllocatedResources: placement.resources,
    Metrics: placement.metrics,
    ModifyTime: now,
  };
}

/** An evaluation that another one of the same job gives rise to. `now` is Unix nanoseconds. */
export function successorEvaluation(
  evaluation: Evaluation,
  id: string,
  trigger: EvalTrigger,
  status: EvalStatus,
  now: number,
): Evaluation {
  return {
    CreateIndex: 0,
    CreateTime: now,
    ID: id,
    JobID: evaluation.JobID,
    ModifyIndex: 0,
    ModifyTime: now,
    Namespace: evaluation.Namespace,
    PreviousEval: evaluation.ID,
    Priority: evaluation.Priority,
    Status: status,
    TriggeredBy: trigger,
    Type: evaluation.Type,
  };
}

/** What an evaluation came to. Parts that are empty are left out of the row. */
export interface Finished {
  readonly status: EvalStatus;
  readonly description?: string;
  readonly failed: Record<string, AllocMetric>;
  readonly queued: Record<string, number>;
  readonly blockedEval: string;
  readonly annotations: Evaluation["PlanAnnotations"];
  /** Index of the state that the first attempt saw. */
  readonly snapshotIndex: number;
  /** Unix nanoseconds. */
  readonly now: number;
}

/** The evaluation with its outcome. */
export function finishedEvaluation(evaluation: Evaluation, outcome: Finished): Evaluation {
  const { StatusDescription: _, FailedTGAllocs: __, QueuedAllocations: ___, ...rest } = evaluation;
  const { status, description = "", failed, queued, blockedEval, annotations } = outcome;
  const finished: Evaluation = {
    ...rest,
    Status: status,
    ModifyTime: outcome.now,
    SnapshotIndex: outcome.snapshotIndex,
  };
  if (description !== "") finished.StatusDescription = description;
  if (Object.keys(failed).length > 0) finished.FailedTGAllocs = failed;
  if (Object.keys(queued).length > 0) finished.QueuedAllocations = queued;
  if (blockedEval !== "") finished.BlockedEval = blockedEval;
  if (annotations !== undefined) finished.PlanAnnotations = annotations;
  return finished;
}
