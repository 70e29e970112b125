import type { AllocListStub, Deployment, Evaluation, Job, JobListStub, JobSummary } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { printJson } from "../format.js";
import { jobTable } from "./job-table.js";
import { jobText } from "./job-text.js";
import { findJob } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

export interface JobStatusFlags {
  readonly short?: boolean;
  readonly evals?: boolean;
  readonly allAllocs?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

/** Adds the flags of a job's status. */
export function withJobStatusFlags(command: Command): Command {
  return withApiFlags(command)
    .option("--short", "only what the job is, not how it does")
    .option("--evals", "list the job's evaluations")
    .option("--all-allocs", "allocations of earlier jobs with the same id too")
    .option("--verbose", "whole ids, exact times, evaluations")
    .option("--json", "the API's answer instead of tables");
}

export function defineJobStatus(parent: Command): void {
  const command = parent
    .command("status [job]")
    .summary("how jobs do")
    .description("Lists the jobs, or shows one: its counts, its latest deployment and its allocations.")
    .action((id: string | undefined, _flags: unknown, self: Command) =>
      jobStatus(openSession(self), id, self.opts()),
    );
  withExamples(
    withJobStatusFlags(command),
    ["drover job status", "all jobs"],
    ["drover job status web", "the job whose id is, or begins with, web"],
    ["drover job status -evals web", "its evaluations too: why something is not placed"],
  );
}

export async function jobStatus(
  session: Session,
  id: string | undefined,
  flags: JobStatusFlags,
): Promise<void> {
  const { client, io } = session;
  if (id === undefined) {
    const { value } = await attempt("Error querying jobs", client.get<JobListStub[]>("/v1/jobs"));
    if (flags.json === true) io.out(printJson(value));
    else io.out(value.length === 0 ? "No running jobs" : jobTable(value));
    return;
  }
  const found = await findJob(session, id);
  const path = `/v1/job/${encodeURIComponent(found.ID)}`;
  // An id found in all namespaces lives in one.
  const query = { namespace: found.Namespace };
  const load = <T>(what: string, suffix: string, more = {}) =>
    attempt(`Error querying ${what}`, client.get<T>(path + suffix, { ...query, ...more })).then(
      ({ value }) => value,
    );
  const job = await load<Job>("job", "");
  if (flags.json === true) {
    io.out(printJson(job));
    return;
  }
  const parent = job.Periodic !== null || (job.ParameterizedJob !== null && !job.Dispatched);
  const full = flags.short !== true;
  const view = {
    job,
    summary: full ? await load<JobSummary>("job summary", "/summary") : null,
    evaluations: full && !parent ? await load<Evaluation[]>("job evaluations", "/evaluations") : [],
    deployment: full && !parent ? await load<Deployment | null>("latest deployment", "/deployment") : null,
    allocations:
      full && !parent
        ? await load<AllocListStub[]>("job allocations", "/allocations", { all: flags.allAllocs === true })
        : [],
    children: full && parent ? await children(session, job) : [],
  };
  const options = { verbose: flags.verbose === true, short: !full, evals: flags.evals === true };
  io.out(jobText(view, options, io));
}

async function children({ client }: Session, job: Job): Promise<JobListStub[]> {
  const query = { prefix: `${job.ID}/`, namespace: job.Namespace };
  const { value } = await attempt("Error querying child jobs", client.get<JobListStub[]>("/v1/jobs", query));
  return value.filter((child) => child.ParentID === job.ID);
}
