import type { EvalTrigger, Evaluation, Job, StateSnapshot } from "@drover/plugin-sdk";
import { EvalStatus, generateUUID, jobParameterized, jobPeriodicActive } from "@drover/plugin-sdk";
import { unixNanos } from "../command-log.js";

/** A pending evaluation of a job; the caller adds what its trigger needs. */
export function newEvaluation(
  job: Pick<Job, "ID" | "Namespace" | "Priority" | "Type"> & { readonly JobModifyIndex?: number },
  trigger: EvalTrigger,
  extra: Partial<Evaluation> = {},
): Evaluation {
  const now = unixNanos();
  return {
    ID: generateUUID(),
    Namespace: job.Namespace,
    Priority: job.Priority,
    Type: job.Type,
    TriggeredBy: trigger,
    JobID: job.ID,
    ...(job.JobModifyIndex === undefined ? {} : { JobModifyIndex: job.JobModifyIndex }),
    Status: EvalStatus.Pending,
    CreateIndex: 0,
    ModifyIndex: 0,
    CreateTime: now,
    ModifyTime: now,
    ...extra,
  };
}

/**
 * Evaluations after a change of a node: one for each job with an allocation on it, and for each system job, which may
 * have to start or stop there.
 */
export function nodeEvaluations(state: StateSnapshot, nodeId: string, nodeModifyIndex: number): Evaluation[] {
  const jobs = new Map<string, Job>();
  for (const allocation of state.allocationsByNode(nodeId)) {
    const key = `${allocation.Namespace}\0${allocation.JobID}`;
    if (jobs.has(key)) continue;
    const job = state.job(allocation.Namespace, allocation.JobID) ?? state.allocationJob(allocation);
    if (job !== null) jobs.set(key, job);
  }
  for (const job of state.systemJobs()) {
    // Templates of periodic and dispatched jobs run nowhere themselves.
    if (job.Stop || jobPeriodicActive(job) || jobParameterized(job)) continue;
    jobs.set(`${job.Namespace}\0${job.ID}`, job);
  }
  return [...jobs.values()].map((job) =>
    newEvaluation(job, "node-update", { NodeID: nodeId, NodeModifyIndex: nodeModifyIndex }),
  );
}
