import type { JobListStub } from "@drover/plugin-sdk";
import { columns, formatUnixNano } from "../format.js";

/** Jobs as `status` lists them. */
export function jobTable(jobs: readonly JobListStub[]): string {
  return columns([
    ["ID", "Type", "Priority", "Status", "Submit Date"],
    ...jobs.map((job) => [
      job.ID,
      `${job.Type}${job.Periodic ? "/periodic" : ""}${job.ParameterizedJob ? "/parameterized" : ""}`,
      String(job.Priority),
      `${job.Status}${job.Stop ? " (stopped)" : ""}`,
      formatUnixNano(job.SubmitTime),
    ]),
  ]);
}
