/** Rows that schedulers write. */

import type { Placement } from "../contracts/scheduler.js";
import { type Allocation, AllocClientStatus, AllocDesiredStatus } from "../domain/allocation.js";
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
