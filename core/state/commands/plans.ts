/** Committed plans: placements, stops, evictions, and the deployments they belong to. */
import {
  type Allocation,
  AllocClientStatus,
  AllocDesiredStatus,
  AllocStateField,
  type Deployment,
  DeploymentStatus,
  type DeploymentStatusUpdate,
  type Job,
} from "@drover/plugin-sdk";
import type { AllocationStop, CommandPayloads, CommandType } from "../commands.js";
import { CommandRefused } from "../refusal.js";
import { rfc3339 } from "../time.js";
import type { StateTransaction } from "../transaction.js";
import { upsertEvaluations } from "./evaluations.js";
import { markStable } from "./jobs.js";

/** Refused when a placement names a job that is gone (purged since the plan was made): the scheduler must look again. */
export function applyPlan(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.PlanApply],
): CommandRefused | undefined {
  const jobOf = rememberLast((namespace: string, id: string) => txn.job(namespace, id));
  const existing = payload.Placed.map((placed) => txn.allocation(placed.ID));
  const ids = new Set(payload.Placed.map((placed) => placed.ID));
  if (ids.size !== payload.Placed.length) {
    return new CommandRefused(`plan of evaluation ${payload.EvalID} places an allocation twice`);
  }
  for (const [at, placed] of payload.Placed.entries()) {
    const known = existing[at] ?? null;
    const job = jobOf(placed.Namespace, placed.JobID);
    const refusal =
      (known === null ? checkPlacement(placed, job) : checkInPlace(placed, known)) ??
      checkVersion(txn, placed, known, job);
    if (refusal !== null) return refusal;
  }

  if (payload.Deployment !== null) upsertDeployment(txn, payload.Deployment);
  for (const update of payload.DeploymentUpdates) updateDeploymentStatus(txn, update);
  for (const stop of payload.Stopped) stopAllocation(txn, stop, payload.Time);
  for (const stop of payload.Preempted) stopAllocation(txn, stop, payload.Time);
  for (const [at, placed] of payload.Placed.entries()) {
    // What was read above may have changed since, by a stop or a replacement's link.
    const known = existing[at] === null ? null : txn.allocation(placed.ID);
    place(txn, placed, known, jobOf(placed.Namespace, placed.JobID), payload.Time);
  }
  upsertEvaluations(txn, payload.Evaluations, payload.Time);

  // Whoever waits for the evaluation's index must see the plan it led to.
  const evaluation = txn.evaluation(payload.EvalID);
  if (evaluation !== null) txn.putEvaluation({ ...evaluation, ModifyIndex: txn.index }, evaluation);
  return undefined;
}

/** A plan is about one job as a rule; its allocations need not each look it up. */
function rememberLast<T>(look: (namespace: string, id: string) => T): (namespace: string, id: string) => T {
  let last: { readonly namespace: string; readonly id: string; readonly found: T } | undefined;
  return (namespace, id) => {
    if (last?.id !== id || last.namespace !== namespace) last = { namespace, id, found: look(namespace, id) };
    return last.found;
  };
}

function checkPlacement(placed: Allocation, job: Job | null): CommandRefused | null {
  const what = `allocation ${placed.ID} of job "${placed.JobID}" in namespace "${placed.Namespace}"`;
  if (job === null) return new CommandRefused(`${what}: the job is not registered`);
  if (placed.JobCreateIndex !== undefined && placed.JobCreateIndex !== job.CreateIndex) {
    return new CommandRefused(`${what}: the job was purged and registered anew`);
  }
  return null;
}

function checkInPlace(placed: Allocation, known: Allocation): CommandRefused | null {
  const same = (field: "Namespace" | "JobID" | "TaskGroup"): boolean => placed[field] === known[field];
  if (same("Namespace") && same("JobID") && same("TaskGroup")) return null;
  return new CommandRefused(
    `allocation ${placed.ID} is of group "${known.TaskGroup}" of job "${known.JobID}" in namespace "${known.Namespace}", and can't become one of "${placed.TaskGroup}" of "${placed.JobID}" in "${placed.Namespace}"`,
  );
}

/** Its job must be there to be joined at the version that it names, in the registration that it will belong to. */
function checkVersion(
  txn: StateTransaction,
  placed: Allocation,
  known: Allocation | null,
  job: Job | null,
): CommandRefused | null {
  const unchanged =
    known?.JobVersion === placed.JobVersion && (job === null || known.JobCreateIndex === job.CreateIndex);
  if (unchanged || job?.Version === placed.JobVersion) return null;
  if (job !== null && txn.jobVersion(placed.Namespace, placed.JobID, placed.JobVersion) !== null) return null;
  return new CommandRefused(
    `allocation ${placed.ID}: version ${placed.JobVersion} of job "${placed.JobID}" in namespace "${placed.Namespace}" is not known`,
  );
}

/** A known allocation is updated in place: what its node reported stays. */
function place(
  txn: StateTransaction,
  placed: Allocation,
  existing: Allocation | null,
  job: Job | null,
  time: number,
): void {
  // The command was decoded for this one application, so its allocations are ours to complete.
  const row = placed;
  row.Job = null;
  row.CreateIndex = txn.index;
  row.ModifyIndex = txn.index;
  row.AllocModifyIndex = txn.index;
  row.CreateTime = time;
  row.ModifyTime = time;
  const createIndex = job?.CreateIndex ?? existing?.JobCreateIndex;
  if (createIndex !== undefined) row.JobCreateIndex = createIndex;
  if (row.DeploymentStatus !== null && row.DeploymentStatus !== existing?.DeploymentStatus) {
    row.DeploymentStatus = {
      ...row.DeploymentStatus,
      ModifyIndex: row.DeploymentStatus.ModifyIndex || txn.index,
    };
  }
  if (existing !== null) {
    row.CreateIndex = existing.CreateIndex;
    row.CreateTime = existing.CreateTime;
    row.TaskStates = existing.TaskStates;
    row.NetworkStatus = existing.NetworkStatus;
    // Decided since the plan was made; a plan changes health only by moving an allocation into another deployment.
    if (placed.DeploymentID === existing.DeploymentID) row.DeploymentStatus = existing.DeploymentStatus;
    if (existing.DesiredTransition !== undefined) row.DesiredTransition = existing.DesiredTransition;
    // Another job's plan may have pushed it aside meanwhile; it must not come back by news of its own job.
    if (existing.DesiredStatus === AllocDesiredStatus.Evict) keepEviction(row, existing);
    if (placed.ClientStatus !== AllocClientStatus.Lost) {
      row.ClientStatus = existing.ClientStatus;
      row.ClientDescription = existing.ClientDescription;
    }
  }
  txn.putAllocation(row, existing);
  if (placed.PreviousAllocation === undefined || placed.PreviousAllocation === "") return;
  const previous = txn.allocation(placed.PreviousAllocation);
  if (previous === null || previous.NextAllocation === placed.ID) return;
  txn.putAllocation({ ...previous, NextAllocation: placed.ID, ModifyIndex: txn.index }, previous);
}

function keepEviction(row: Allocation, evicted: Allocation): void {
  row.DesiredStatus = evicted.DesiredStatus;
  if (evicted.DesiredDescription !== undefined) row.DesiredDescription = evicted.DesiredDescription;
  if (evicted.PreemptedByAllocation !== undefined) row.PreemptedByAllocation = evicted.PreemptedByAllocation;
}

function stopAllocation(txn: StateTransaction, stop: AllocationStop, time: number): void {
  const existing = txn.allocation(stop.ID);
  if (existing === null) return;
  const row: Allocation = {
    ...existing,
    DesiredStatus: stop.DesiredStatus,
    DesiredDescription: stop.DesiredDescription,
    ModifyIndex: txn.index,
    AllocModifyIndex: txn.index,
    ModifyTime: time,
  };
  if (stop.ClientStatus !== undefined) {
    row.ClientStatus = stop.ClientStatus;
    const state = { Field: AllocStateField.ClientStatus, Value: stop.ClientStatus, Time: rfc3339(time) };
    row.AllocStates = [...(existing.AllocStates ?? []), state];
  }
  if (stop.FollowupEvalID !== undefined) row.FollowupEvalID = stop.FollowupEvalID;
  if (stop.PreemptedByAllocation !== undefined) row.PreemptedByAllocation = stop.PreemptedByAllocation;
  txn.putAllocation(row, existing);
}

function upsertDeployment(txn: StateTransaction, deployment: Deployment): void {
  const existing = txn.deployment(deployment.ID);
  txn.putDeployment(
    { ...deployment, CreateIndex: existing?.CreateIndex ?? txn.index, ModifyIndex: txn.index },
    existing,
  );
}

function updateDeploymentStatus(txn: StateTransaction, update: DeploymentStatusUpdate): void {
  const existing = txn.deployment(update.DeploymentID);
  if (existing === null) return;
  txn.putDeployment(
    {
      ...existing,
      Status: update.Status,
      StatusDescription: update.StatusDescription,
      ModifyIndex: txn.index,
    },
    existing,
  );
  if (update.Status === DeploymentStatus.Successful) {
    markStable(txn, existing.Namespace, existing.JobID, existing.JobVersion);
  }
}
