import type {
  AdmissionHook,
  AdmissionRequest,
  Job,
  JobDeregisterResponse,
  JobDiff,
  JobEndpoint,
  JobPlanResponse,
  JobRegisterResponse,
  JobRegistration,
  JobValidateResponse,
  Logger,
  StateReader,
} from "@drover/plugin-sdk";
import { EndpointError, generateUUID, NotLeaderError } from "@drover/plugin-sdk";
import {
  canonicalizeForApi,
  canonicalizeForState,
  diffVersions,
  EmptyJobError,
  formatMultiError,
  formatWarnings,
  HclError,
  JobJsonError,
  jobFromJson,
  parseJob,
  validateJob,
} from "../../jobspec/index.js";
import type { CommandLog } from "../../server/command-log.js";
import { unixNanos } from "../../server/command-log.js";
import type { DryRuns } from "../../server/dry-runs.js";
import { newEvaluation } from "../../server/nodes/node-evaluations.js";
import { CommandType } from "../../state/index.js";
import { planJob } from "./job-plan.js";
import { isTemplate } from "./job-template.js";
import { notInForce } from "./not-in-force.js";
import { checkRegistrationAllowed } from "./registration-gate.js";

/** Milliseconds that an admission hook may take. */
const ADMISSION_DEADLINE = 1_000;

/** `Job.*`: registration, deregistration, evaluation, validation and parsing. */
export class Jobs implements JobEndpoint {
  readonly #hooks: readonly AdmissionHook[];

  constructor(
    private readonly state: StateReader,
    private readonly commands: CommandLog,
    hooks: readonly AdmissionHook[],
    /** Job types that a scheduler of this server handles. */
    private readonly jobTypes: readonly string[],
    /** Undefined on a server without scheduling threads. */
    private readonly dryRuns: DryRuns | undefined,
    private readonly log: Logger,
  ) {
    this.#hooks = [...hooks].sort((a, b) => a.order - b.order);
  }

  async register(request: JobRegistration): Promise<JobRegisterResponse> {
    checkRegistrationAllowed(this.state);
    const { job, warnings } = await this.#admit(request, "register");
    job.SubmitTime = unixNanos();
    if (request.preserveCounts) this.#keepCounts(job);
    const evaluation = isTemplate(job) ? null : newEvaluation(job, "job-register");
    let index: number;
    try {
      ({ index } = await this.commands.propose(CommandType.JobRegister, {
        Job: job,
        Evaluation: evaluation,
        EnforceIndex: request.enforceIndex,
        JobModifyIndex: request.jobModifyIndex,
        Time: unixNanos(),
      }));
    } catch (error) {
      throw asEndpointError(error);
    }
    using snapshot = this.state.snapshot();
    const registered = snapshot.job(job.Namespace, job.ID);
    return {
      EvalID: evaluation?.ID ?? "",
      EvalCreateIndex: evaluation === null ? 0 : index,
      JobModifyIndex: registered?.JobModifyIndex ?? index,
      Warnings: warnings,
      Index: index,
      KnownLeader: false,
      LastContact: 0,
    };
  }

  async deregister(request: {
    readonly namespace: string;
    readonly jobId: string;
    readonly purge: boolean;
  }): Promise<JobDeregisterResponse> {
    const job = this.#job(request.namespace, request.jobId);
    // Also for a job that nobody knows: what may still run of it is found and stopped.
    const evaluation =
      job === null || !isTemplate(job)
        ? newEvaluation(
            job ?? { ID: request.jobId, Namespace: request.namespace, Priority: 50, Type: "service" },
            "job-deregister",
          )
        : null;
    const { index } = await this.commands
      .propose(CommandType.JobDeregister, {
        Namespace: request.namespace,
        JobID: request.jobId,
        Purge: request.purge,
        Evaluation: evaluation,
        Time: unixNanos(),
      })
      .catch((error: unknown) => {
        throw asEndpointError(error);
      });
    return {
      EvalID: evaluation?.ID ?? "",
      EvalCreateIndex: evaluation === null ? 0 : index,
      JobModifyIndex: index,
      VolumeEvalID: "",
      VolumeEvalIndex: 0,
      Index: index,
      KnownLeader: false,
      LastContact: 0,
    };
  }

  async evaluate(request: {
    readonly namespace: string;
    readonly jobId: string;
    readonly forceReschedule: boolean;
  }): Promise<JobRegisterResponse> {
    const job = this.#job(request.namespace, request.jobId);
    if (job === null) throw new EndpointError(500, "job not found");
    if (job.Periodic !== null) throw new EndpointError(500, "can't evaluate periodic job");
    if (job.ParameterizedJob !== null && !job.Dispatched) {
      throw new EndpointError(500, "can't evaluate parameterized job");
    }
    const evaluation = newEvaluation(job, "job-register");
    const Transitions = request.forceReschedule ? this.#forceReschedule(job) : {};
    const { index } = await this.commands.propose(CommandType.AllocationDesiredTransition, {
      Transitions,
      Evaluations: [evaluation],
      Time: unixNanos(),
    });
    return {
      EvalID: evaluation.ID,
      EvalCreateIndex: index,
      JobModifyIndex: job.JobModifyIndex,
      Warnings: "",
      Index: index,
      KnownLeader: false,
      LastContact: 0,
    };
  }

  async stable({
    namespace,
    jobId,
    version,
    stable,
  }: Parameters<JobEndpoint["stable"]>[0]): Promise<{ readonly Index: number }> {
    if (this.#job(namespace, jobId) === null) throw new EndpointError(500, `job "${jobId}" not found`);
    const { index } = await this.commands
      .propose(CommandType.JobStability, {
        Namespace: namespace,
        JobID: jobId,
        JobVersion: version,
        Stable: stable,
      })
      .catch((error: unknown) => {
        throw asEndpointError(error);
      });
    return { Index: index };
  }

  async revert({
    namespace,
    jobId,
    version,
    enforcePriorVersion,
  }: Parameters<JobEndpoint["revert"]>[0]): Promise<JobRegisterResponse> {
    using snapshot = this.state.snapshot();
    const current = snapshot.job(namespace, jobId);
    if (current === null) throw new EndpointError(500, `job "${jobId}" not found`);
    if (version === current.Version) throw new EndpointError(500, "can't revert to current version");
    const earlier = snapshot.jobVersion(namespace, jobId, version);
    if (earlier === null) {
      throw new EndpointError(
        500,
        `job "${jobId}" in namespace "${namespace}" at version ${version} not found`,
      );
    }
    if (enforcePriorVersion !== null && enforcePriorVersion !== current.Version) {
      throw new EndpointError(
        500,
        `Current job has version ${current.Version}; enforcing version ${enforcePriorVersion}`,
      );
    }
    return this.register({
      job: { ...earlier, SubmitTime: 0 },
      namespace,
      region: earlier.Region,
      // What was decided on is the job as it is now.
      enforceIndex: true,
      jobModifyIndex: current.JobModifyIndex,
      preserveCounts: false,
    });
  }

  async validate(request: {
    readonly job: unknown;
    readonly namespace: string;
  }): Promise<JobValidateResponse> {
    const { errors, warnings } = await this.#judge(request, "validate");
    return {
      DriverConfigValidated: true,
      Error: errors.length === 0 ? "" : formatMultiError(errors),
      ValidationErrors: errors.length === 0 ? null : errors,
      Warnings: formatWarnings(warnings),
    };
  }

  async plan(request: {
    readonly job: unknown;
    readonly namespace: string;
    readonly diff: boolean;
  }): Promise<JobPlanResponse> {
    const { job, warnings } = await this.#admit(request, "plan");
    return planJob(this.state, this.dryRuns, { job, warnings, diff: request.diff });
  }

  diffVersions(versions: readonly Job[]): JobDiff[] | null {
    return diffVersions(versions);
  }

  async parse(request: { readonly hcl: string; readonly canonicalize: boolean }): Promise<object> {
    try {
      const job = await parseJob(request.hcl, { filename: "input.hcl", allowFS: false });
      return request.canonicalize ? canonicalizeForApi(job) : job;
    } catch (error) {
      if (error instanceof HclError || error instanceof EmptyJobError)
        throw new EndpointError(400, error.message);
      throw error;
    }
  }

  async #admit(
    request: { readonly job: unknown; readonly namespace: string },
    operation: AdmissionRequest["operation"],
  ): Promise<{ job: Job; warnings: string }> {
    const { job, errors, warnings } = await this.#judge(request, operation);
    if (errors.length > 0) {
      this.log.debug({ job: job.ID, errors: errors.length }, "job refused");
      throw new EndpointError(500, formatMultiError(errors));
    }
    return { job, warnings: formatWarnings(warnings) };
  }

  /** The job as admission hooks leave it, and all that they and validation say of it. */
  async #judge(
    request: { readonly job: unknown; readonly namespace: string },
    operation: AdmissionRequest["operation"],
  ): Promise<{ job: Job; errors: string[]; warnings: string[] }> {
    let job = this.#canonical(request.job, request.namespace);
    const existing = this.#job(job.Namespace, job.ID);
    const errors: string[] = [];
    const warnings: string[] = [];
    for (const hook of this.#hooks) {
      const outcome = await withDeadline(
        Promise.resolve().then(() => hook.admit({ job, existing, namespace: job.Namespace, operation })),
      ).catch((error: unknown) => ({ errors: [`admission hook "${hook.name}": ${text(error)}`] }));
      if ("job" in outcome && outcome.job !== undefined) job = outcome.job;
      errors.push(...(outcome.errors ?? []));
      if ("warnings" in outcome) warnings.push(...(outcome.warnings ?? []));
    }
    const checked = validateJob(job, { jobTypes: this.jobTypes });
    errors.push(...checked.errors);
    warnings.push(...checked.warnings, ...notInForce(job));
    return { job, errors, warnings };
  }

  #canonical(input: unknown, namespace: string): Job {
    if (typeof input !== "object" || input === null) throw new EndpointError(400, "Job must be specified");
    let job: Job;
    try {
      job = canonicalizeForState(jobFromJson(input));
    } catch (error) {
      if (error instanceof JobJsonError) throw new EndpointError(400, error.message);
      throw error;
    }
    if (!(input as { Namespace?: string | null }).Namespace && namespace !== "") job.Namespace = namespace;
    this.#identifyScaling(job);
    return job;
  }

  /** Scaling policies keep their id over the versions of a job; new ones get theirs here, outside the state machine. */
  #identifyScaling(job: Job): void {
    const existing = this.#job(job.Namespace, job.ID);
    for (const group of job.TaskGroups ?? []) {
      if (group.Scaling === null) continue;
      const before = existing?.TaskGroups?.find((other) => other.Name === group.Name)?.Scaling;
      group.Scaling.ID = before?.ID || generateUUID();
    }
  }

  #keepCounts(job: Job): void {
    const existing = this.#job(job.Namespace, job.ID);
    for (const group of job.TaskGroups ?? []) {
      const before = existing?.TaskGroups?.find((other) => other.Name === group.Name);
      if (before !== undefined) group.Count = before.Count;
    }
  }

  #forceReschedule(job: Job): Record<string, { ForceReschedule: true; Migrate: null; Reschedule: null }> {
    using snapshot = this.state.snapshot();
    const transitions: Record<string, { ForceReschedule: true; Migrate: null; Reschedule: null }> = {};
    for (const allocation of snapshot.allocationsByJob(job.Namespace, job.ID)) {
      if (
        allocation.ClientStatus === "failed" &&
        allocation.DesiredStatus === "run" &&
        !allocation.NextAllocation
      ) {
        transitions[allocation.ID] = { ForceReschedule: true, Migrate: null, Reschedule: null };
      }
    }
    return transitions;
  }

  #job(namespace: string, id: string): Job | null {
    using snapshot = this.state.snapshot();
    return snapshot.job(namespace, id);
  }
}

async function withDeadline<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer within ${ADMISSION_DEADLINE} ms`)),
      ADMISSION_DEADLINE,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Errors by which callers tell whether anything was written stay what they are. */
function asEndpointError(error: unknown): unknown {
  const tells =
    error instanceof EndpointError ||
    error instanceof NotLeaderError ||
    (error as { code?: unknown }).code === "ERR_OUTCOME_UNKNOWN";
  return tells ? error : new EndpointError(500, text(error));
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
