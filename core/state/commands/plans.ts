/** Committed plans: placements, stops, evictions, and the deployments they belong to. */
import {
  type Allocation,
  AllocClientStatus,
  AllocDesiredStatus,
  AllocStateField,
  changedAllocation,
  type Deployment,
  type Job,
} from "@drover/plugin-sdk";
import { type Commit, PlanBlock, type Template } from "../read/plan-block.js";
import type { AllocationStop, PlanCommand } from "../read/plan-command.js";
import { CommandRefused } from "../refusal.js";
import { rfc3339 } from "../time.js";
import type { StateTransaction } from "../transaction.js";
import { setDeploymentStatus } from "./deployments.js";
import { upsertEvaluations } from "./evaluations.js";

/**
 * Gives the plan as it was read. Refused when a placement names a job that is gone (purged since the plan was made): the
 * scheduler must look again.
 */
export function applyPlan(txn: StateTransaction, payload: PlanCommand): PlanCommand {
  const { Placed, Time } = payload;
  const jobOf = rememberLast((namespace: string, id: string) => txn.job(namespace, id));
  const block = identified(Placed instanceof PlanBlock ? Placed : PlanBlock.of(Placed), jobOf);

  if (payload.Deployment !== null) upsertDeployment(txn, payload.Deployment);
  for (const update of payload.DeploymentUpdates) setDeploymentStatus(txn, update, Time);
  for (const stop of payload.Stopped) stopAllocation(txn, stop, Time);
  for (const stop of payload.Preempted) stopAllocation(txn, stop, Time);
  if (block.length > 0) placeAll(txn, block, { index: txn.index, time: Time }, jobOf);
  upsertEvaluations(txn, payload.Evaluations, Time);

  // Whoever waits for the evaluation's index must see the plan it led to.
  const evaluation = txn.evaluation(payload.EvalID);
  if (evaluation !== null) txn.putEvaluation({ ...evaluation, ModifyIndex: txn.index }, evaluation);
  return { ...payload, Placed: block };
}

type JobOf = (namespace: string, id: string) => Job | null;

/**
 * The block, each allocation with the registration of its job that it belongs to. Schedulers as a rule say it; rows refer to
 * the block, so where they don't it is said here.
 */
function identified(block: PlanBlock, jobOf: JobOf): PlanBlock {
  if (block.templates.every((template) => template.JobCreateIndex !== undefined)) return block;
  return PlanBlock.of(
    Array.from(block, (allocation) => {
      const index = allocation.JobCreateIndex ?? jobOf(allocation.Namespace, allocation.JobID)?.CreateIndex;
      return index === undefined ? allocation : { ...allocation, JobCreateIndex: index };
    }),
  );
}

function placeAll(txn: StateTransaction, block: PlanBlock, commit: Commit, jobOf: JobOf): void {
  const updates: number[] = [];
  const fresh = new Map<number, number[]>();
  for (let at = 0; at < block.length; at++) {
    if (block.isUpdate(at)) {
      updates.push(at);
      continue;
    }
    const list = fresh.get(block.template(at));
    if (list === undefined) fresh.set(block.template(at), [at]);
    else list.push(at);
  }
  txn.putBlock(block, commit);
  for (const [number, positions] of fresh) {
    const template = block.templates[number]!;
    const job = jobOf(template.Namespace, template.JobID);
    checkPlacement(txn, template, job);
    updates.push(...txn.putPlaced(block, positions, commit));
    for (const at of positions) linkPrevious(txn, block, at);
  }
  const seen = new Set<string>();
  for (const at of updates) {
    const id = block.id(at);
    if (seen.has(id))
      throw new CommandRefused(`plan of evaluation ${block.allocation(at).EvalID} places ${id} twice`);
    seen.add(id);
    updateInPlace(txn, block, at, commit, jobOf);
    linkPrevious(txn, block, at);
  }
}

/** A plan is about one job as a rule; its allocations need not each look it up. */
function rememberLast<T>(look: (namespace: string, id: string) => T): (namespace: string, id: string) => T {
  let last: { readonly namespace: string; readonly id: string; readonly found: T } | undefined;
  return (namespace, id) => {
    if (last?.id !== id || last.namespace !== namespace) last = { namespace, id, found: look(namespace, id) };
    return last.found;
  };
}

function checkPlacement(txn: StateTransaction, placed: Template, job: Job | null): void {
  const what = `allocations of group "${placed.TaskGroup}" of job "${placed.JobID}" in namespace "${placed.Namespace}"`;
  if (job === null) throw new CommandRefused(`${what}: the job is not registered`);
  if (placed.JobCreateIndex !== undefined && placed.JobCreateIndex !== job.CreateIndex) {
    throw new CommandRefused(`${what}: the job was purged and registered anew`);
  }
  if (job.Version === placed.JobVersion) return;
  if (txn.jobVersion(placed.Namespace, placed.JobID, placed.JobVersion) !== null) return;
  throw new CommandRefused(
    `${what}: version ${placed.JobVersion} of job "${placed.JobID}" in namespace "${placed.Namespace}" is not known`,
  );
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
  known: Allocation,
  job: Job | null,
): CommandRefused | null {
  const unchanged =
    known.JobVersion === placed.JobVersion && (job === null || known.JobCreateIndex === job.CreateIndex);
  if (unchanged || job?.Version === placed.JobVersion) return null;
  if (job !== null && txn.jobVersion(placed.Namespace, placed.JobID, placed.JobVersion) !== null) return null;
  return new CommandRefused(
    `allocation ${placed.ID}: version ${placed.JobVersion} of job "${placed.JobID}" in namespace "${placed.Namespace}" is not known`,
  );
}

/** A known allocation is updated: what its node reported stays. */
function updateInPlace(
  txn: StateTransaction,
  block: PlanBlock,
  at: number,
  commit: Commit,
  jobOf: JobOf,
): void {
  const row = block.allocation(at, commit);
  const existing = txn.allocation(row.ID);
  if (existing === null)
    throw new CommandRefused(`allocation ${row.ID} is gone and can't be updated in place`);
  const job = jobOf(row.Namespace, row.JobID);
  const refusal = checkInPlace(row, existing) ?? checkVersion(txn, row, existing, job);
  if (refusal !== null) throw refusal;
  const createIndex = job?.CreateIndex ?? existing.JobCreateIndex;
  if (createIndex !== undefined) row.JobCreateIndex = createIndex;
  row.CreateIndex = existing.CreateIndex;
  row.CreateTime = existing.CreateTime;
  row.TaskStates = existing.TaskStates;
  row.NetworkStatus = existing.NetworkStatus;
  // Decided since the plan was made; a plan changes health only by moving an allocation into another deployment.
  if (row.DeploymentID === existing.DeploymentID) row.DeploymentStatus = existing.DeploymentStatus;
  if (existing.DesiredTransition !== undefined) row.DesiredTransition = existing.DesiredTransition;
  // Another job's plan may have pushed it aside meanwhile; it must not come back by news of its own job.
  if (existing.DesiredStatus === AllocDesiredStatus.Evict) keepEviction(row, existing);
  if (row.ClientStatus !== AllocClientStatus.Lost) {
    row.ClientStatus = existing.ClientStatus;
    row.ClientDescription = existing.ClientDescription;
  }
  txn.putUpdated(block, at, commit, row, existing);
}

/** The allocation that was replaced learns by which one. */
function linkPrevious(txn: StateTransaction, block: PlanBlock, at: number): void {
  const id = block.previous(at);
  const previous = id === undefined || id === "" ? null : txn.allocation(id);
  const next = block.id(at);
  if (previous === null || previous.NextAllocation === next) return;
  txn.putAllocation(changedAllocation(previous, { NextAllocation: next, ModifyIndex: txn.index }), previous);
}

function keepEviction(row: Allocation, evicted: Allocation): void {
  row.DesiredStatus = evicted.DesiredStatus;
  if (evicted.DesiredDescription !== undefined) row.DesiredDescription = evicted.DesiredDescription;
  if (evicted.PreemptedByAllocation !== undefined) row.PreemptedByAllocation = evicted.PreemptedByAllocation;
}

function stopAllocation(txn: StateTransaction, stop: AllocationStop, time: number): void {
  const existing = txn.allocation(stop.ID);
  if (existing === null) return;
  const row = changedAllocation(existing, {
    DesiredStatus: stop.DesiredStatus,
    DesiredDescription: stop.DesiredDescription,
    ModifyIndex: txn.index,
    AllocModifyIndex: txn.index,
    ModifyTime: time,
  });
  if (stop.ClientStatus !== undefined) {
    row.ClientStatus = stop.ClientStatus;
    const state = { Field: AllocStateField.ClientStatus, Value: stop.ClientStatus, Time: rfc3339(time) };
    row.AllocStates = [...(existing.AllocStates ?? []), state];
  }
  if (stop.FollowupEvalID !== undefined) row.FollowupEvalID = stop.FollowupEvalID;
  if (stop.PreemptedByAllocation !== undefined) row.PreemptedByAllocation = stop.PreemptedByAllocation;
  txn.putAllocation(row, existing);
  txn.effects.assigned.add(existing.NodeID);
}

function upsertDeployment(txn: StateTransaction, deployment: Deployment): void {
  const existing = txn.deployment(deployment.ID);
  txn.putDeployment(
    { ...deployment, CreateIndex: existing?.CreateIndex ?? txn.index, ModifyIndex: txn.index },
    existing,
  );
}
