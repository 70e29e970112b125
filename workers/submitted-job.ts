/** The state as it would be after a registration: a snapshot, with one job's next version and its evaluation on top. */
import {
  type Allocation,
  allocIsTerminal,
  type ByNamespace,
  type Evaluation,
  type Job,
  type JobSummary,
  JobType,
  type StateSnapshot,
  StateTable,
  type TaskGroupSummary,
} from "@drover/plugin-sdk";
import { statusOf } from "../core/state/read/index.js";

/** Tables that a registration writes. */
const WRITTEN: ReadonlySet<StateTable> = new Set([
  StateTable.Jobs,
  StateTable.JobVersions,
  StateTable.JobSummaries,
  StateTable.Evaluations,
]);

export class SubmittedJobSnapshot implements StateSnapshot {
  readonly index: number;
  readonly node: StateSnapshot["node"];
  readonly nodes: StateSnapshot["nodes"];
  readonly nodeCount: StateSnapshot["nodeCount"];
  readonly allocation: StateSnapshot["allocation"];
  readonly allocations: StateSnapshot["allocations"];
  readonly allocationsByJob: StateSnapshot["allocationsByJob"];
  readonly allocationOutlines: StateSnapshot["allocationOutlines"];
  readonly allocationsByNode: StateSnapshot["allocationsByNode"];
  readonly allocationsByEvaluation: StateSnapshot["allocationsByEvaluation"];
  readonly allocationsByDeployment: StateSnapshot["allocationsByDeployment"];
  readonly deployment: StateSnapshot["deployment"];
  readonly deployments: StateSnapshot["deployments"];
  readonly deploymentsByJob: StateSnapshot["deploymentsByJob"];
  readonly latestDeployment: StateSnapshot["latestDeployment"];
  readonly schedulerConfiguration: StateSnapshot["schedulerConfiguration"];
  readonly autopilotConfiguration: StateSnapshot["autopilotConfiguration"];
  readonly clusterMetadata: StateSnapshot["clusterMetadata"];
  readonly pluginRow: StateSnapshot["pluginRow"];
  readonly pluginRows: StateSnapshot["pluginRows"];

  private readonly submitted: Job;

  constructor(
    private readonly base: StateSnapshot,
    /** As it would be stored; its status is derived here. */
    job: Job,
    /** Not written either, but a scheduler may look for its own evaluation. */
    private readonly own: Evaluation,
  ) {
    // The entry of the registration would be the next one.
    this.index = base.index + 1;
    const allocations = base.allocationOutlines(job.Namespace, job.ID);
    const Status = statusOf(
      job,
      {
        Allocations: allocations.length,
        LiveAllocations: allocations.filter((allocation) => !allocIsTerminal(allocation)).length,
        Evaluations: 1,
        LiveEvaluations: 1,
      },
      false,
    );
    this.submitted = { ...job, Status };
    this.node = base.node.bind(base);
    this.nodes = base.nodes.bind(base);
    this.nodeCount = base.nodeCount.bind(base);
    this.allocation = base.allocation.bind(base);
    this.allocations = base.allocations.bind(base);
    this.allocationsByJob = base.allocationsByJob.bind(base);
    this.allocationOutlines = base.allocationOutlines.bind(base);
    this.allocationsByNode = base.allocationsByNode.bind(base);
    this.allocationsByEvaluation = base.allocationsByEvaluation.bind(base);
    this.allocationsByDeployment = base.allocationsByDeployment.bind(base);
    this.deployment = base.deployment.bind(base);
    this.deployments = base.deployments.bind(base);
    this.deploymentsByJob = base.deploymentsByJob.bind(base);
    this.latestDeployment = base.latestDeployment.bind(base);
    this.schedulerConfiguration = base.schedulerConfiguration.bind(base);
    this.autopilotConfiguration = base.autopilotConfiguration.bind(base);
    this.clusterMetadata = base.clusterMetadata.bind(base);
    this.pluginRow = base.pluginRow.bind(base);
    this.pluginRows = base.pluginRows.bind(base);
  }

  tableIndex(...tables: StateTable[]): number {
    return tables.some((table) => WRITTEN.has(table)) ? this.index : this.base.tableIndex(...tables);
  }

  job(namespace: string, id: string): Job | null {
    return this.#isSubmitted(namespace, id) ? structuredClone(this.submitted) : this.base.job(namespace, id);
  }

  jobVersion(namespace: string, id: string, version: number): Job | null {
    if (this.#isSubmitted(namespace, id) && version === this.submitted.Version)
      return this.job(namespace, id);
    return this.base.jobVersion(namespace, id, version);
  }

  jobVersions(namespace: string, id: string): Job[] {
    const versions = this.base.jobVersions(namespace, id);
    if (!this.#isSubmitted(namespace, id)) return versions;
    const older = versions.filter((version) => version.Version !== this.submitted.Version);
    return [structuredClone(this.submitted), ...older];
  }

  *jobs(filter?: ByNamespace): Generator<Job> {
    const { Namespace, ID } = this.submitted;
    const others = skip(this.base.jobs(filter), (job) => this.#isSubmitted(job.Namespace, job.ID));
    const before = (job: Job): boolean =>
      job.Namespace === Namespace ? job.ID < ID : job.Namespace < Namespace;
    yield* insert(others, inFilter(this.submitted, filter) ? this.submitted : null, before);
  }

  systemJobs(): Job[] {
    const others = this.base.systemJobs().filter((job) => !this.#isSubmitted(job.Namespace, job.ID));
    const { Type } = this.submitted;
    const own = Type === JobType.System || Type === JobType.SysBatch ? [structuredClone(this.submitted)] : [];
    return [...others, ...own].sort((a, b) => a.CreateIndex - b.CreateIndex);
  }

  jobSummary(namespace: string, id: string): JobSummary | null {
    const known = this.base.jobSummary(namespace, id);
    if (!this.#isSubmitted(namespace, id)) return known;
    const summary = known ?? {
      Children: { Dead: 0, Pending: 0, Running: 0 },
      CreateIndex: this.index,
      JobID: id,
      ModifyIndex: this.index,
      Namespace: namespace,
      Summary: {},
    };
    const own = this.submitted.TaskGroups.map((group) => [group.Name, emptySummary()] as const);
    return { ...summary, Summary: { ...Object.fromEntries(own), ...summary.Summary } };
  }

  allocationJob(allocation: Allocation): Job | null {
    const { Namespace, JobID, JobVersion, JobCreateIndex } = allocation;
    const { CreateIndex, Version } = this.submitted;
    const isOwn =
      this.#isSubmitted(Namespace, JobID) &&
      JobVersion === Version &&
      (JobCreateIndex ?? CreateIndex) === CreateIndex;
    return isOwn ? this.job(Namespace, JobID) : this.base.allocationJob(allocation);
  }

  evaluation(id: string): Evaluation | null {
    return id === this.own.ID ? structuredClone(this.own) : this.base.evaluation(id);
  }

  evaluations(filter?: ByNamespace): Iterable<Evaluation> {
    const own = inFilter(this.own, filter) ? this.own : null;
    return insert(this.base.evaluations(filter), own, (other) => other.ID < this.own.ID);
  }

  evaluationsByJob(namespace: string, jobId: string): Evaluation[] {
    const others = this.base.evaluationsByJob(namespace, jobId);
    return this.#isSubmitted(namespace, jobId) ? [...others, structuredClone(this.own)] : others;
  }

  close(): void {
    this.base.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #isSubmitted(namespace: string, id: string): boolean {
    return namespace === this.submitted.Namespace && id === this.submitted.ID;
  }
}

function emptySummary(): TaskGroupSummary {
  return { Complete: 0, Failed: 0, Lost: 0, Queued: 0, Running: 0, Starting: 0 };
}

function inFilter(row: { readonly Namespace: string; readonly ID: string }, filter?: ByNamespace): boolean {
  const namespace = filter?.namespace ?? "*";
  return (namespace === "*" || row.Namespace === namespace) && row.ID.startsWith(filter?.prefix ?? "");
}

function* skip<T>(rows: Iterable<T>, unwanted: (row: T) => boolean): Generator<T> {
  for (const row of rows) if (!unwanted(row)) yield row;
}

/** The rows, with a copy of `extra` after the last one that is before it. */
function* insert<T>(rows: Iterable<T>, extra: T | null, before: (row: T) => boolean): Generator<T> {
  let left = extra;
  for (const row of rows) {
    if (left !== null && !before(row)) {
      yield structuredClone(left);
      left = null;
    }
    yield row;
  }
  if (left !== null) yield structuredClone(left);
}
