import {
  EndpointError,
  type Job,
  type JobPlanResponse,
  jobPeriodicActive,
  type StateReader,
} from "@drover/plugin-sdk";
import { annotate, diffJobs, nextLaunch } from "../../jobspec/index.js";
import { unixNanos } from "../../server/command-log.js";
import type { DryRuns } from "../../server/dry-runs.js";
import { newEvaluation } from "../../server/nodes/node-evaluations.js";
import { registeredJob } from "../../state/index.js";
import { isTemplate } from "./job-template.js";

/** `Job.Plan` of a job that was admitted: what its registration would do. */
export async function planJob(
  state: StateReader,
  /** Undefined on a server without scheduling threads. */
  dryRuns: DryRuns | undefined,
  submitted: { readonly job: Job; readonly warnings: string; readonly diff: boolean },
): Promise<JobPlanResponse> {
  const { job } = submitted;
  if (dryRuns === undefined) {
    throw new EndpointError(
      500,
      "this server has no schedulers (server.num_schedulers is 0): plan the job on a server that has",
    );
  }
  const { existing, index } = read(state, job);
  const registered = registeredJob(existing, job, index + 1, unixNanos());
  const planned =
    isTemplate(registered) && (existing === null || isTemplate(existing)) ? launched(registered) : registered;
  const outcome = await dryRuns.plan({
    job: planned,
    evaluation: newEvaluation(planned, "job-register", { AnnotatePlan: true }),
    minIndex: index,
    now: Date.now(),
  });
  if (outcome.failure !== "") {
    throw new EndpointError(500, `dry run of job "${job.ID}": ${outcome.failure}`);
  }
  const diff = submitted.diff ? diffJobs(existing, job, true) : null;
  if (diff !== null) annotate(diff, existing, job, outcome.annotations);
  const modified = existing?.JobModifyIndex ?? 0;
  return {
    Annotations: outcome.annotations,
    CreatedEvals: outcome.createdEvals.length === 0 ? null : [...outcome.createdEvals],
    Diff: diff,
    FailedTGAllocs: outcome.failedGroups,
    Index: modified,
    JobModifyIndex: modified,
    NextPeriodicLaunch: launchTime(job),
    Warnings: submitted.warnings,
  };
}

function read(state: StateReader, job: Job): { existing: Job | null; index: number } {
  using snapshot = state.snapshot();
  return { existing: snapshot.job(job.Namespace, job.ID), index: snapshot.index };
}

/** A template is planned as the job that a launch makes of it, to show whether that would find its places. */
function launched(template: Job): Job {
  return { ...template, Periodic: null, ParameterizedJob: null };
}

function launchTime(job: Job): string | null {
  if (job.Periodic === null || !jobPeriodicActive(job)) return null;
  const next = nextLaunch(job.Periodic, Date.now());
  return next === undefined ? null : new Date(next).toISOString().replace(/\.000Z$/, "Z");
}
