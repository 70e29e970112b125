/** A job's status, derived from what refers to it. */
import { type Job, JobStatus, JobType, jobParameterized } from "@drover/plugin-sdk";
import type { JobReferences } from "./schema.js";

type Counts = Pick<JobReferences, "Allocations" | "LiveAllocations" | "Evaluations" | "LiveEvaluations">;

/** The status that the counts call for. */
export function statusOf(job: Job, references: Counts, evaluationDeleted: boolean): JobStatus {
  if (job.Type === JobType.System || jobParameterized(job) || job.Periodic !== null) {
    return job.Stop ? JobStatus.Dead : JobStatus.Running;
  }
  if (references.LiveAllocations > 0) return JobStatus.Running;
  if (references.LiveEvaluations > 0) return JobStatus.Pending;
  const known = references.Allocations > 0 || references.Evaluations > 0;
  return known || evaluationDeleted ? JobStatus.Dead : JobStatus.Pending;
}
