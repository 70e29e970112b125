/** A state store in maps: what handlers read, with changes that tests make. */
import type {
  Allocation,
  ByNamespace,
  Deployment,
  Evaluation,
  Job,
  JobSummary,
  Node,
  SchedulerConfiguration,
  StateReader,
  StateSnapshot,
  StateTable,
} from "@drover/plugin-sdk";
import { DEFAULT_AUTOPILOT_SETTINGS } from "@drover/plugin-sdk";

interface Keyed {
  readonly ID: string;
  readonly Namespace?: string;
}

export class FakeState implements StateReader {
  readonly jobs: Job[] = [];
  readonly summaries: JobSummary[] = [];
  readonly nodes: Node[] = [];
  readonly allocations: Allocation[] = [];
  /** Job of an allocation by its id, where it is not the job of the same name. */
  readonly allocationJobs = new Map<string, Job>();
  readonly evaluations: Evaluation[] = [];
  readonly deployments: Deployment[] = [];
  schedulerConfig = { ModifyIndex: 1 } as SchedulerConfiguration;
  readonly tables = new Map<StateTable, number>();
  openSnapshots = 0;
  watches = 0;
  #index = 1;
  readonly #listeners = new Set<(index: number, tables: ReadonlySet<StateTable>) => void>();

  index(): number {
    return this.#index;
  }

  /** Says that `tables` changed at `index`. */
  change(index: number, ...tables: StateTable[]): void {
    this.#index = Math.max(this.#index, index);
    for (const table of tables) this.tables.set(table, index);
    for (const listener of [...this.#listeners]) listener(index, new Set(tables));
  }

  snapshot(): StateSnapshot {
    this.openSnapshots++;
    let open = true;
    const close = () => {
      if (open) this.openSnapshots--;
      open = false;
    };
    const byId = <T extends Keyed>(rows: readonly T[], id: string) =>
      rows.find((row) => row.ID === id) ?? null;
    const filtered = <T extends Keyed>(rows: readonly T[], filter: ByNamespace = {}) =>
      rows.filter(
        (row) =>
          (filter.namespace === undefined ||
            filter.namespace === "*" ||
            row.Namespace === filter.namespace) &&
          row.ID.startsWith(filter.prefix ?? ""),
      );
    const job = (namespace: string, id: string) =>
      this.jobs.find((row) => row.Namespace === namespace && row.ID === id) ?? null;
    const byJob = <T extends { Namespace: string; JobID: string }>(
      rows: readonly T[],
      namespace: string,
      id: string,
    ) => rows.filter((row) => row.Namespace === namespace && row.JobID === id);
    return {
      index: this.#index,
      tableIndex: (...tables) => Math.max(0, ...tables.map((table) => this.tables.get(table) ?? 0)),
      job,
      jobVersion: (namespace, id, version) => {
        const found = job(namespace, id);
        return found?.Version === version ? found : null;
      },
      jobVersions: (namespace, id) => [job(namespace, id)].filter((found) => found !== null),
      jobs: (filter) => filtered(this.jobs, filter),
      systemJobs: () => this.jobs.filter((row) => row.Type === "system"),
      jobSummary: (namespace, id) =>
        this.summaries.find((row) => row.Namespace === namespace && row.JobID === id) ?? null,
      node: (id) => byId(this.nodes, id),
      nodes: (prefix) => filtered(this.nodes, { prefix }),
      nodeCount: () => this.nodes.length,
      allocation: (id) => byId(this.allocations, id),
      allocationJob: (alloc) => this.allocationJobs.get(alloc.ID) ?? job(alloc.Namespace, alloc.JobID),
      allocations: (filter) => filtered(this.allocations, filter),
      allocationsByJob: (namespace, id) => byJob(this.allocations, namespace, id),
      allocationOutlines: (namespace, id) => byJob(this.allocations, namespace, id),
      allocationsByNode: (id) => this.allocations.filter((row) => row.NodeID === id),
      allocationsByEvaluation: (id) => this.allocations.filter((row) => row.EvalID === id),
      allocationsByDeployment: (id) => this.allocations.filter((row) => row.DeploymentID === id),
      evaluation: (id) => byId(this.evaluations, id),
      evaluations: (filter) => filtered(this.evaluations, filter),
      evaluationsByJob: (namespace, id) => byJob(this.evaluations, namespace, id),
      deployment: (id) => byId(this.deployments, id),
      deployments: (filter) => filtered(this.deployments, filter),
      deploymentsByJob: (namespace, id) => byJob(this.deployments, namespace, id),
      latestDeployment: (namespace, id) => byJob(this.deployments, namespace, id)[0] ?? null,
      schedulerConfiguration: () => this.schedulerConfig,
      autopilotConfiguration: () => ({ ...DEFAULT_AUTOPILOT_SETTINGS, CreateIndex: 4, ModifyIndex: 4 }),
      clusterMetadata: () => null,
      pluginRow: () => undefined,
      pluginRows: () => [],
      close,
      [Symbol.dispose]: close,
    };
  }

  async waitForIndex(): Promise<void> {
    throw new Error("no handler waits for an index");
  }

  waitForChange(tables: readonly StateTable[], index: number, signal: AbortSignal): Promise<void> {
    this.watches++;
    return new Promise<void>((resolve, reject) => {
      const done = (settle: () => void) => {
        this.#listeners.delete(changed);
        signal.removeEventListener("abort", aborted);
        this.watches--;
        settle();
      };
      const changed = () => {
        if (tables.some((table) => (this.tables.get(table) ?? 0) > index)) done(resolve);
      };
      const aborted = () => done(() => reject(signal.reason));
      this.#listeners.add(changed);
      signal.addEventListener("abort", aborted);
      if (signal.aborted) aborted();
      else changed();
    });
  }

  onApplied(listener: (index: number, tables: ReadonlySet<StateTable>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
