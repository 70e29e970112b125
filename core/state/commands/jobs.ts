/** Jobs: registration with versions, and deregistration. */
import { isDeepStrictEqual } from "node:util";
import type { Evaluation, Job } from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "../commands.js";
import { compositeKey } from "../read/keys.js";
import { CommandRefused } from "../refusal.js";
import type { StateTransaction } from "../transaction.js";
import { upsertEvaluations } from "./evaluations.js";

/** Answer of a registration: the index that the API answers with, which stays when nothing changed. */
export interface JobRegistered {
  readonly JobModifyIndex: number;
}

export function registerJob(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.JobRegister],
): JobRegistered | CommandRefused {
  const { Namespace, ID } = payload.Job;
  // Everything about the job is found by these two: a null character in one would make it another job's.
  compositeKey(Namespace, ID);
  const current = txn.job(Namespace, ID);
  if (payload.EnforceIndex) {
    const refusal = checkIndex(current, payload.JobModifyIndex);
    if (refusal !== null) return refusal;
  }
  const job = registeredJob(current, payload.Job, txn.index, payload.Time);
  if (job !== current) writeJob(txn, job, current);
  upsertOwn(txn, payload.Evaluation, job.JobModifyIndex, payload.Time);
  return { JobModifyIndex: job.JobModifyIndex };
}

/** The job that a registration at `index` leaves: the next version of `current`, or `current` where nothing changed. */
export function registeredJob(current: Job | null, submitted: Job, index: number, time: number): Job {
  if (current !== null && sameSpecification(current, submitted)) return current;
  return {
    ...submitted,
    // Tokens prove a right at submission; they are never stored.
    ConsulToken: "",
    VaultToken: "",
    CreateIndex: current?.CreateIndex ?? index,
    ModifyIndex: index,
    JobModifyIndex: index,
    Version: current === null ? 0 : current.Version + 1,
    Stable: false,
    Status: current?.Status ?? "",
    SubmitTime: submitted.SubmitTime || time,
  };
}

export function deregisterJob(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.JobDeregister],
): JobRegistered {
  const current = txn.job(payload.Namespace, payload.JobID);
  if (current !== null) {
    if (payload.Purge) {
      txn.removeJob(current);
      txn.accounts.jobPurged(current);
    } else if (!current.Stop) {
      const stopped: Job = {
        ...current,
        Stop: true,
        Version: current.Version + 1,
        ModifyIndex: txn.index,
        JobModifyIndex: txn.index,
      };
      writeJob(txn, stopped, current);
    }
  }
  upsertOwn(txn, payload.Evaluation, txn.index, payload.Time);
  return { JobModifyIndex: txn.index };
}

/** Marks a version stable: its deployment succeeded, so that a later one may go back to it. */
export function markStable(txn: StateTransaction, namespace: string, id: string, version: number): void {
  setStable(txn, namespace, id, version, true);
}

/** An operator's word on a version. */
export function updateStability(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.JobStability],
): CommandRefused | undefined {
  const { Namespace, JobID, JobVersion, Stable } = payload;
  if (txn.jobVersion(Namespace, JobID, JobVersion) === null) {
    return new CommandRefused(
      `job "${JobID}" in namespace "${Namespace}" at version ${JobVersion} not found`,
    );
  }
  setStable(txn, Namespace, JobID, JobVersion, Stable);
  return undefined;
}

function setStable(
  txn: StateTransaction,
  namespace: string,
  id: string,
  version: number,
  stable: boolean,
): void {
  const row = txn.jobVersion(namespace, id, version);
  if (row === null || row.Stable === stable) return;
  txn.putJobVersion({ ...row, Stable: stable, ModifyIndex: txn.index });
  const current = txn.job(namespace, id);
  if (current?.Version !== version) return;
  txn.putJob({ ...current, Stable: stable, ModifyIndex: txn.index }, current);
}

function writeJob(txn: StateTransaction, job: Job, current: Job | null): void {
  txn.putJob(job, current);
  txn.putJobVersion(job);
  txn.accounts.jobRegistered(job);
  txn.accounts.pruneVersions(job);
}

function upsertOwn(
  txn: StateTransaction,
  evaluation: Evaluation | null,
  modifyIndex: number,
  time: number,
): void {
  if (evaluation !== null) upsertEvaluations(txn, [{ ...evaluation, JobModifyIndex: modifyIndex }], time);
}

function checkIndex(current: Job | null, wanted: number): CommandRefused | null {
  const prefix = `Enforcing job modify index ${wanted}`;
  if (wanted === 0) return current === null ? null : new CommandRefused(`${prefix}: job already exists`);
  if (current === null) return new CommandRefused(`${prefix}: job does not exist`);
  if (current.JobModifyIndex === wanted) return null;
  return new CommandRefused(
    `${prefix}: job exists with conflicting job modify index: ${current.JobModifyIndex}`,
  );
}

/** Equal in everything that the submitter decides. */
export function sameSpecification(current: Job, submitted: Job): boolean {
  return isDeepStrictEqual(current, {
    ...submitted,
    ConsulToken: "",
    VaultToken: "",
    CreateIndex: current.CreateIndex,
    ModifyIndex: current.ModifyIndex,
    JobModifyIndex: current.JobModifyIndex,
    Status: current.Status,
    StatusDescription: current.StatusDescription,
    Stable: current.Stable,
    SubmitTime: current.SubmitTime,
    Version: current.Version,
  });
}
