/** Admission hooks: change or refuse a job when it is submitted, before it reaches the log. */
import type { Job } from "../domain/index.js";
import { createToken } from "../kernel/token.js";

export interface AdmissionRequest {
  readonly job: Job;
  /** The version in force, where the job exists. */
  readonly existing: Job | null;
  readonly namespace: string;
  /** `plan` and `validate` store nothing: hooks must have no effect outside unless this is `register`. */
  readonly operation: "register" | "plan" | "validate";
}

export interface AdmissionResult {
  /** The job to go on with; leave out to keep it. */
  readonly job?: Job;
  /** Shown to the submitter. */
  readonly warnings?: readonly string[];
  /** Any entry refuses the job; the errors of all hooks and of validation are shown at once. */
  readonly errors?: readonly string[];
}

export interface AdmissionHook {
  readonly name: string;
  /** Hooks run in ascending order; mutating ones use 0-499, checking ones 500-999. */
  readonly order: number;
  /** Deadline 1 s; a hook that throws or is late refuses the job with its name in the error. */
  admit(request: AdmissionRequest): Promise<AdmissionResult> | AdmissionResult;
}
export const AdmissionHook = createToken<AdmissionHook>("AdmissionHook", "multiple");
