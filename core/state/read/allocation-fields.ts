/** Fields of allocations as rows and plans hold them. */
import type { Allocation } from "@drover/plugin-sdk";

/** Fields of an allocation that are left out while empty. */
export const ALLOCATION_OPTIONAL = [
  "AllocStates",
  "DesiredDescription",
  "DesiredTransition",
  "FollowupEvalID",
  "JobCreateIndex",
  "NextAllocation",
  "PreemptedAllocations",
  "PreemptedByAllocation",
  "PreviousAllocation",
  "RescheduleTracker",
] as const satisfies readonly (keyof Allocation)[];

/** Fields that every allocation has, in the order of its row. Append nothing: new fields are optional. */
export const ALLOCATION_REQUIRED = [
  "AllocModifyIndex",
  "AllocatedResources",
  "ClientDescription",
  "ClientStatus",
  "CreateIndex",
  "CreateTime",
  "DeploymentID",
  "DeploymentStatus",
  "DesiredStatus",
  "EvalID",
  "ID",
  "Job",
  "JobID",
  "JobVersion",
  "Metrics",
  "ModifyIndex",
  "ModifyTime",
  "Name",
  "Namespace",
  "NetworkStatus",
  "NodeID",
  "NodeName",
  "TaskGroup",
  "TaskStates",
] as const satisfies readonly (keyof Allocation)[];
