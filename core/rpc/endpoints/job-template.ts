import type { Job } from "@drover/plugin-sdk";

/** Periodic and parameterized jobs run nothing themselves: their children are evaluated, not they. */
export function isTemplate(job: Pick<Job, "Periodic" | "ParameterizedJob" | "Dispatched">): boolean {
  return job.Periodic !== null || (job.ParameterizedJob !== null && !job.Dispatched);
}
