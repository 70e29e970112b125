/** Nomad's job specification and HCL: texts in, jobs out. */
export { canonicalizeForApi } from "./canonicalize.js";
export { CronError, type CronSchedule, parseCron } from "./cron.js";
export { annotate, diffJobs, diffVersions } from "./diff/index.js";
export { formatDuration, parseDuration } from "./duration.js";
export { type HclConfig, parseHclConfig } from "./hcl/config.js";
export { HclError } from "./hcl/error.js";
export { JobJsonError, jobFromJson } from "./json.js";
export { nextLaunch } from "./next-launch.js";
export { EmptyJobError, type ParseJobOptions, parseJob, parseJobFile } from "./parse.js";
export { canonicalizeForState } from "./state-form.js";
export {
  formatMultiError,
  formatWarnings,
  type JobLimits,
  type ValidationResult,
  validateJob,
} from "./validate.js";
