import { JOB_MAX_PRIORITY, JOB_MIN_PRIORITY, type Job, JobType } from "@drover/plugin-sdk";
import { runsOnEveryNode, runsToCompletion } from "./job-types.js";
import { ErrorList, quoted } from "./validate/errors.js";
import { checkGroup } from "./validate/group.js";
import { checkAffinities, checkConstraints, checkSpreads } from "./validate/placement.js";
import { checkParameterized, checkPeriodic } from "./validate/policies.js";

export { formatMultiError, formatWarnings } from "./validate/errors.js";

export interface JobLimits {
  /** Largest job, in bytes of its JSON; default 1 MiB. Nomad has no such limit; here every log entry is bounded. */
  maxJobBytes?: number;
  /** Types that a scheduler is there for; default all of Nomad's. */
  jobTypes?: readonly string[];
}

export interface ValidationResult {
  /** What makes the job unacceptable, in the texts of Nomad's API; `formatMultiError` makes one text of them. */
  errors: string[];
  /** What is suspicious but accepted. */
  warnings: string[];
}

const DEFAULT_MAX_JOB_BYTES = 1024 * 1024;
const DEFAULT_TYPES = [JobType.Service, JobType.Batch, JobType.System, JobType.SysBatch];

/** Checks a job in its stored form (see canonicalizeForState) and reports everything that is wrong at once. */
export function validateJob(job: Job, limits: JobLimits = {}): ValidationResult {
  const maxBytes = limits.maxJobBytes ?? DEFAULT_MAX_JOB_BYTES;
  const size = Buffer.byteLength(JSON.stringify(job));
  if (size > maxBytes) {
    // Nothing else is worth reading in a job of any size.
    const advice = "move large data into artifacts, templates read from a source, or Consul or Vault keys";
    return {
      errors: [`Job is too large: it has ${size} bytes, at most ${maxBytes} are accepted; ${advice}`],
      warnings: [],
    };
  }
  const list = new ErrorList();
  checkIdentity(job, list);
  checkType(job, limits.jobTypes ?? DEFAULT_TYPES, list);
  checkDatacenters(job, list);
  list.check(job.TaskGroups.length === 0, "Missing job task groups");
  checkConstraints(job.Constraints, list);
  checkAffinities(job.Affinities, job.Type, list);
  checkSpreads(job.Spreads, job.Type, list);
  checkGroupNames(job, list);
  for (const group of job.TaskGroups) {
    list.nest(`Task group ${group.Name} validation failed`, (inner) => checkGroup(group, job, inner));
  }
  checkLaunch(job, list);
  return { errors: list.errors, warnings: warningsOf(job) };
}

function checkIdentity(job: Job, list: ErrorList): void {
  list.check(job.Region === "", "Missing job region");
  if (job.ID === "") list.add("Missing job ID");
  else if (job.ID.includes(" ")) list.add("Job ID contains a space");
  else if (job.ID.includes("\0")) list.add("Job ID contains a null character");
  if (job.Name === "") list.add("Missing job name");
  else if (job.Name.includes("\0")) list.add("Job Name contains a null character");
  list.check(job.Namespace === "", "Job must be in a namespace");
}

function checkType(job: Job, known: readonly string[], list: ErrorList): void {
  if (job.Type === "") list.add("Missing job type");
  else if (!known.includes(job.Type)) {
    const types = known.map(quoted).join(", ") || "none";
    list.add(`Invalid job type: ${quoted(job.Type)}; the schedulers that are enabled here take ${types}`);
  }
  if (!(job.Priority >= JOB_MIN_PRIORITY && job.Priority <= JOB_MAX_PRIORITY)) {
    list.add(`Job priority must be between [${JOB_MIN_PRIORITY}, ${JOB_MAX_PRIORITY}]`);
  }
}

function checkDatacenters(job: Job, list: ErrorList): void {
  if (job.Datacenters.length === 0 && job.Multiregion === null) list.add("Missing job datacenters");
  for (const name of job.Datacenters) list.check(name === "", "Job datacenter must be non-empty string");
}

function checkGroupNames(job: Job, list: ErrorList): void {
  const seen = new Map<string, number>();
  job.TaskGroups.forEach((group, i) => {
    const existing = seen.get(group.Name);
    if (group.Name === "") list.add(`Job task group ${i + 1} missing name`);
    else if (existing !== undefined) {
      list.add(`Job task group ${i + 1} redefines '${group.Name}' from group ${existing + 1}`);
    } else seen.set(group.Name, i);
    list.check((group.ShutdownDelay ?? 0) < 0, "ShutdownDelay must be a positive value");
    const stopAfter = group.StopAfterClientDisconnect ?? 0;
    if (stopAfter > 0 && runsOnEveryNode(job.Type)) {
      list.add("stop_after_client_disconnect can only be set in batch and service jobs");
    } else list.check(stopAfter < 0, "stop_after_client_disconnect must be a positive value");
    if (runsOnEveryNode(job.Type) && group.Count > 1) {
      list.add(
        `Job task group ${group.Name} has count ${group.Count}. Count cannot exceed 1 with ${job.Type} scheduler`,
      );
    }
  });
}

/** Launching by the clock or by dispatch. */
function checkLaunch(job: Job, list: ErrorList): void {
  const { Periodic: periodic, ParameterizedJob: parameterized } = job;
  if (periodic?.Enabled) {
    list.check(!runsToCompletion(job.Type), 'Periodic can only be used with "batch" or "sysbatch" scheduler');
    list.part((inner) => checkPeriodic(periodic, inner));
  }
  if (parameterized !== null) {
    list.check(
      !runsToCompletion(job.Type),
      'Parameterized job can only be used with "batch" or "sysbatch" scheduler',
    );
    list.check(periodic !== null, "A job can be periodic or parameterized, not both");
    list.part((inner) => checkParameterized(parameterized, inner));
    return;
  }
  for (const group of job.TaskGroups) {
    for (const task of group.Tasks) {
      if (task.DispatchPayload !== null && !job.Dispatched) {
        list.add(`Task ${task.Name} has a dispatch_payload but the job is not parameterized`);
      }
    }
  }
}

function warningsOf(job: Job): string[] {
  const warnings: string[] = [];
  const updated = job.TaskGroups.filter((group) => (group.Update?.Canary ?? 0) > 0);
  const promoted = updated.filter((group) => group.Update?.AutoPromote);
  if (promoted.length > 0 && promoted.length < updated.length) {
    warnings.push("auto_promote must be true for all groups to enable automatic promotion");
  }
  for (const group of job.TaskGroups) {
    const parallel = group.Update?.MaxParallel ?? 0;
    if (parallel > group.Count && group.Count > 0 && job.Type === "service" && parallel > 1) {
      warnings.push(
        `Group ${quoted(group.Name)} has warnings: Update max parallel count is greater than task group count ` +
          `(${parallel} > ${group.Count}). A destructive change would result in the simultaneous replacement of all allocations.`,
      );
    }
    for (const network of group.Networks ?? []) {
      if (network.MBits > 0) {
        warnings.push(`Group ${quoted(group.Name)} has warnings: mbits has no effect and can be removed`);
      }
    }
    for (const task of group.Tasks) {
      if ((task.Resources.Networks?.length ?? 0) > 0) {
        warnings.push(
          `Group ${quoted(group.Name)} has warnings: Task ${quoted(task.Name)} has a network in its resources; use the group's network block`,
        );
      }
    }
  }
  return warnings;
}
