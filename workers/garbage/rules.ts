/**
 * What may be collected. A row is old enough when its last write is at or below its kind's cutoff.
 * Source: https://developer.hashicorp.com/nomad/docs/configuration/server (the `_gc_threshold` settings).
 */
import {
  type Allocation,
  AllocClientStatus,
  AllocDesiredStatus,
  allocIsTerminal,
  clientTerminal,
  type Deployment,
  deploymentActive,
  type Evaluation,
  evalTerminal,
  type Job,
  JobStatus,
  JobType,
  jobParameterized,
  type Node,
  nodeTerminal,
} from "@drover/plugin-sdk";

/** What the rules ask of a job. */
export interface JobFacts {
  readonly over: boolean;
  readonly version: number;
  readonly createIndex: number;
  /** Reschedule policy by group. */
  readonly policies: ReadonlyMap<string, Job["TaskGroups"][number]["ReschedulePolicy"]>;
}

export function factsOf(job: Job): JobFacts {
  return {
    over: job.Stop || job.Status === JobStatus.Dead,
    version: job.Version,
    createIndex: job.CreateIndex,
    policies: new Map(job.TaskGroups.map((group) => [group.Name, group.ReschedulePolicy])),
  };
}

/**
 * Ended for the servers and for its node, long enough ago, and not to be rescheduled any more. `now` is Unix
 * nanoseconds; `job` is null where it was purged.
 */
export function allocationIsGarbage(
  allocation: Allocation,
  job: JobFacts | null,
  cutoff: number,
  now: number,
): boolean {
  if (!clientTerminal(allocation) || allocation.ModifyIndex > cutoff) return false;
  if (job === null || job.over) return true;
  if (allocation.DesiredStatus !== AllocDesiredStatus.Run) return true;
  if (allocation.ClientStatus !== AllocClientStatus.Failed) return true;
  const policy = job.policies.get(allocation.TaskGroup) ?? null;
  if (policy === null || (!policy.Unlimited && policy.Attempts === 0)) return true;
  // Its replacement carries the record of attempts on.
  if (allocation.NextAllocation) return true;
  if (policy.Unlimited) return false;
  const last = allocation.RescheduleTracker?.Events?.at(-1);
  return last !== undefined && now - last.RescheduleTime > policy.Interval;
}

export function evaluationIsOld(evaluation: Evaluation, cutoff: number): boolean {
  return evalTerminal(evaluation) && evaluation.ModifyIndex <= cutoff;
}

/**
 * Whether what ended of a job of this type is the record that its work is done, by which it is not run again. Of a type that
 * a plugin brought it may be.
 */
export function endedIsRecord(type: string): boolean {
  return type !== JobType.Service && type !== JobType.System;
}

/** Made for an older version of the job, or for a purged one of the same name: no record of this one's work. */
export function isOutdated(allocation: Allocation, job: JobFacts): boolean {
  return (
    allocation.JobVersion < job.version || (allocation.JobCreateIndex ?? job.createIndex) !== job.createIndex
  );
}

/**
 * Dead for long enough, and not to live again by itself: all but batch and sysbatch jobs, and of these the periodic ones and
 * those that wait for dispatch, go only when they were stopped.
 */
export function jobIsOld(job: Job, cutoff: number): boolean {
  if (job.Status !== JobStatus.Dead || job.ModifyIndex > cutoff) return false;
  if (job.Stop) return true;
  const endsByItself = job.Type === JobType.Batch || job.Type === JobType.SysBatch;
  return endsByItself && job.Periodic === null && !jobParameterized(job);
}

/** Down for long enough, with nothing on it that anybody still counts on. */
export function nodeIsGarbage(node: Node, allocations: () => readonly Allocation[], cutoff: number): boolean {
  return nodeTerminal(node) && node.ModifyIndex <= cutoff && allocations().every(allocIsTerminal);
}

/** Ended for long enough, with no allocation left that names it. */
export function deploymentIsGarbage(
  deployment: Deployment,
  allocations: () => readonly Allocation[],
  cutoff: number,
): boolean {
  return !deploymentActive(deployment) && deployment.ModifyIndex <= cutoff && allocations().length === 0;
}
