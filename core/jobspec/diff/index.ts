/** Structural differences of jobs, as `job plan` and `job history -p` show them. */
export { annotate } from "./annotate.js";
export { diffJobs, diffVersions } from "./job.js";
