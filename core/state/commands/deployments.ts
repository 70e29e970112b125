/** Deployments: their status, promotion of canaries, and health that operators decide. */
import {
  type Deployment,
  DeploymentStatus,
  type DeploymentStatusUpdate,
  deploymentActive,
  deploymentRunningDescription,
} from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType, DeploymentOutcome } from "../commands.js";
import { CommandRefused } from "../refusal.js";
import { rfc3339 } from "../time.js";
import type { StateTransaction } from "../transaction.js";
import { upsertEvaluations } from "./evaluations.js";
import { markStable, registerJob } from "./jobs.js";

export function updateDeployment(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.DeploymentStatusUpdate],
): CommandRefused | undefined {
  const deployment = active(txn, payload.Update.DeploymentID);
  if (deployment instanceof CommandRefused) return deployment;
  const refusal = checkOutcome(txn, deployment, payload);
  if (refusal !== undefined) return refusal;
  setDeploymentStatus(txn, payload.Update, payload.Time);
  follow(txn, payload);
  return undefined;
}

export function promoteDeployment(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.DeploymentPromote],
): CommandRefused | undefined {
  const deployment = active(txn, payload.DeploymentID);
  if (deployment instanceof CommandRefused) return deployment;
  const unknown = payload.All
    ? undefined
    : payload.Groups.find((name) => !Object.hasOwn(deployment.TaskGroups, name));
  if (unknown !== undefined)
    return new CommandRefused(`deployment ${deployment.ID} has no task group "${unknown}"`);
  const chosen = Object.entries(deployment.TaskGroups).filter(
    ([name, group]) =>
      (payload.All || payload.Groups.includes(name)) && group.DesiredCanaries > 0 && !group.Promoted,
  );
  if (chosen.length === 0) return new CommandRefused("no canaries to promote");
  const canaries = chosen.map(([name, group]) => ({
    name,
    group,
    rows: (group.PlacedCanaries ?? []).flatMap((id) => txn.allocation(id) ?? []),
  }));
  const short = canaries.flatMap(({ name, group, rows }) => {
    const healthy = rows.filter((row) => row.DeploymentStatus?.Healthy === true).length;
    return healthy < group.DesiredCanaries
      ? [`Task group "${name}" has ${healthy}/${group.DesiredCanaries} healthy allocations`]
      : [];
  });
  if (short.length > 0) return new CommandRefused(short.join("; "));

  for (const row of canaries.flatMap(({ rows }) => rows)) {
    if (row.DeploymentStatus?.Canary !== true) continue;
    const DeploymentStatus = { ...row.DeploymentStatus, Canary: false, ModifyIndex: txn.index };
    txn.putAllocation({ ...row, DeploymentStatus, ModifyIndex: txn.index }, row);
  }
  const promoted: Deployment = { ...deployment, ModifyIndex: txn.index, TaskGroups: {} };
  for (const [name, group] of Object.entries(deployment.TaskGroups)) {
    const chosenNow = chosen.some(([other]) => other === name);
    promoted.TaskGroups[name] = chosenNow ? { ...group, Promoted: true } : group;
  }
  // However long the canaries were looked at: the rest has its time from now on.
  restartProgress(
    promoted,
    chosen.map(([name]) => name),
    payload.Time,
  );
  if (promoted.Status === DeploymentStatus.Running)
    promoted.StatusDescription = deploymentRunningDescription(promoted);
  txn.putDeployment(promoted, deployment);
  if (payload.Evaluation !== null) upsertEvaluations(txn, [payload.Evaluation], payload.Time);
  return undefined;
}

export function updateDeploymentHealth(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.DeploymentAllocHealth],
): CommandRefused | undefined {
  const deployment = active(txn, payload.DeploymentID);
  if (deployment instanceof CommandRefused) return deployment;
  const decided = [
    ...payload.HealthyAllocationIDs.map((id) => ({ id, healthy: true })),
    ...payload.UnhealthyAllocationIDs.map((id) => ({ id, healthy: false })),
  ];
  for (const { id } of decided) {
    const row = txn.allocation(id);
    if (row === null) return new CommandRefused(`unknown alloc "${id}"`);
    if (row.DeploymentID !== deployment.ID)
      return new CommandRefused(`alloc "${id}" is not part of deployment "${deployment.ID}"`);
  }
  const refusal = checkOutcome(txn, deployment, payload);
  if (refusal !== undefined) return refusal;
  for (const { id, healthy } of decided) {
    const row = txn.allocation(id)!;
    const DeploymentStatus = {
      Canary: row.DeploymentStatus?.Canary ?? false,
      Healthy: healthy,
      ModifyIndex: txn.index,
      Timestamp: rfc3339(payload.Time),
    };
    txn.putAllocation({ ...row, DeploymentStatus, ModifyIndex: txn.index, ModifyTime: payload.Time }, row);
  }
  // Before the status is written: both are in one row.
  txn.flushDeployments();
  if (payload.Update !== null) setDeploymentStatus(txn, payload.Update, payload.Time);
  follow(txn, payload);
  return undefined;
}

/** Writes a status; success marks the job's version stable. An unknown deployment (collected meanwhile) is no error. */
export function setDeploymentStatus(
  txn: StateTransaction,
  update: DeploymentStatusUpdate,
  time: number,
): void {
  const existing = txn.deployment(update.DeploymentID);
  if (existing === null) return;
  const row: Deployment = {
    ...existing,
    Status: update.Status,
    StatusDescription: update.StatusDescription,
    ModifyIndex: txn.index,
  };
  const resumed = existing.Status === DeploymentStatus.Paused && update.Status === DeploymentStatus.Running;
  if (resumed) restartProgress(row, Object.keys(row.TaskGroups), time);
  txn.putDeployment(row, existing);
  if (update.Status === DeploymentStatus.Successful) {
    markStable(txn, existing.Namespace, existing.JobID, existing.JobVersion);
  }
}

function active(txn: StateTransaction, id: string): Deployment | CommandRefused {
  const deployment = txn.deployment(id);
  if (deployment === null) return new CommandRefused(`deployment "${id}" does not exist`);
  if (deploymentActive(deployment)) return deployment;
  return new CommandRefused(`deployment "${id}" has terminal status "${deployment.Status}"`);
}

/** A group that has placed something has its whole deadline again. */
function restartProgress(deployment: Deployment, groups: readonly string[], time: number): void {
  for (const name of groups) {
    const group = deployment.TaskGroups[name]!;
    if (group.ProgressDeadline === 0 || group.RequireProgressBy === null) continue;
    deployment.TaskGroups[name] = { ...group, RequireProgressBy: rfc3339(time + group.ProgressDeadline) };
  }
}

function checkOutcome(
  txn: StateTransaction,
  deployment: Deployment,
  { Job }: DeploymentOutcome,
): CommandRefused | undefined {
  if (Job === null) return undefined;
  const current = txn.job(deployment.Namespace, deployment.JobID);
  const own =
    current !== null &&
    !current.Stop &&
    current.CreateIndex === deployment.JobCreateIndex &&
    current.Version === deployment.JobVersion;
  return own
    ? undefined
    : new CommandRefused(
        `job "${deployment.JobID}" was changed since version ${deployment.JobVersion}, which deployment "${deployment.ID}" rolls out: there is nothing to revert`,
      );
}

function follow(txn: StateTransaction, { Job, Evaluation, Time }: DeploymentOutcome): void {
  if (Job !== null) registerJob(txn, { Job, Evaluation, EnforceIndex: false, JobModifyIndex: 0, Time });
  else if (Evaluation !== null) upsertEvaluations(txn, [Evaluation], Time);
}
