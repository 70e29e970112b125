/** The replicated state in maps, for tests of what reads it. Rows are copied on the way in and out, as the store does. */
import type { NodeColumns } from "../contracts/scheduler.js";
import { NodeStatusBit } from "../contracts/scheduler.js";
import type { ByNamespace, StateSnapshot } from "../contracts/state.js";
import {
  type Allocation,
  type AllocationOutline,
  type AutopilotConfiguration,
  allocIsTerminal,
  type ClusterMetadata,
  countInDeployment,
  DEFAULT_AUTOPILOT_SETTINGS,
  DEFAULT_SCHEDULER_SETTINGS,
  type Deployment,
  type Evaluation,
  type Job,
  type JobSummary,
  type Node,
  type SchedulerConfiguration,
} from "../domain/index.js";
import { allocationUse, nodeCapacity, nodeValue } from "../scheduling/index.js";

export class MemoryState implements StateSnapshot {
  /** Of the last change. */
  index = 1;
  readonly #nodes = new Map<string, Node>();
  /** By namespace and id: every version, newest last. */
  readonly #jobs = new Map<string, Job[]>();
  readonly #purged = new Map<string, Job[]>();
  readonly #allocations = new Map<string, Allocation>();
  readonly #evaluations = new Map<string, Evaluation>();
  readonly #deployments = new Map<string, Deployment>();
  #configuration: SchedulerConfiguration = {
    ...DEFAULT_SCHEDULER_SETTINGS,
    CreateIndex: 1,
    ModifyIndex: 1,
  };

  putNode(node: Node): void {
    this.#nodes.set(node.ID, { ...structuredClone(node), ModifyIndex: ++this.index });
  }

  removeNode(id: string): void {
    this.index++;
    this.#nodes.delete(id);
  }

  /** Registers a job, or its next version; returns the row. */
  putJob(job: Job): Job {
    const key = jobKey(job.Namespace, job.ID);
    const versions = this.#jobs.get(key) ?? [];
    const last = versions.at(-1);
    const index = ++this.index;
    const row: Job = {
      ...structuredClone(job),
      CreateIndex: last?.CreateIndex ?? index,
      ModifyIndex: index,
      JobModifyIndex: index,
      Version: last === undefined ? 0 : last.Version + 1,
    };
    this.#jobs.set(key, [...versions, row]);
    return structuredClone(row);
  }

  /** Stops a job without a new version, or forgets it. */
  stopJob(namespace: string, id: string, purge = false): void {
    const key = jobKey(namespace, id);
    const versions = this.#jobs.get(key);
    const last = versions?.at(-1);
    if (versions === undefined || last === undefined) return;
    this.index++;
    if (purge) {
      this.#purged.set(key, [...(this.#purged.get(key) ?? []), ...versions]);
      this.#jobs.delete(key);
    } else last.Stop = true;
  }

  /** Also counts it in its deployment. */
  putAllocation(allocation: Allocation): void {
    const known = this.#allocations.get(allocation.ID);
    const index = ++this.index;
    const row = structuredClone(allocation);
    this.#allocations.set(row.ID, {
      ...row,
      Job: null,
      CreateIndex: known?.CreateIndex ?? (row.CreateIndex || index),
      ModifyIndex: index,
    });
    const deployment = this.#deployments.get(row.DeploymentID);
    const group = deployment?.TaskGroups[row.TaskGroup];
    if (deployment === undefined || group === undefined) return;
    if (countInDeployment(group, row, known ?? null) !== null) deployment.ModifyIndex = index;
  }

  /** Stores a deployment, or its new version. */
  putDeployment(deployment: Deployment): void {
    const known = this.#deployments.get(deployment.ID);
    const index = ++this.index;
    this.#deployments.set(deployment.ID, {
      ...structuredClone(deployment),
      CreateIndex: known?.CreateIndex ?? index,
      ModifyIndex: index,
    });
  }

  putEvaluation(evaluation: Evaluation): void {
    const known = this.#evaluations.get(evaluation.ID);
    const index = ++this.index;
    this.#evaluations.set(evaluation.ID, {
      ...structuredClone(evaluation),
      CreateIndex: known?.CreateIndex ?? index,
      ModifyIndex: index,
    });
  }

  putSchedulerConfiguration(configuration: Partial<SchedulerConfiguration>): void {
    this.#configuration = { ...this.#configuration, ...configuration, ModifyIndex: ++this.index };
  }

  tableIndex(): number {
    return this.index;
  }

  job(namespace: string, id: string): Job | null {
    return copy(this.#jobs.get(jobKey(namespace, id))?.at(-1));
  }

  jobVersion(namespace: string, id: string, version: number): Job | null {
    return copy(this.#jobs.get(jobKey(namespace, id))?.find((job) => job.Version === version));
  }

  jobVersions(namespace: string, id: string): Job[] {
    return structuredClone([...(this.#jobs.get(jobKey(namespace, id)) ?? [])].reverse());
  }

  jobs(filter?: ByNamespace): Job[] {
    return select(
      [...this.#jobs.values()].flatMap((versions) => versions.slice(-1)),
      filter,
    );
  }

  systemJobs(): Job[] {
    return this.jobs().filter((job) => job.Type === "system" || job.Type === "sysbatch");
  }

  jobSummary(): JobSummary | null {
    return null;
  }

  node(id: string): Node | null {
    return copy(this.#nodes.get(id));
  }

  nodes(prefix = ""): Node[] {
    return structuredClone([...this.#nodes.values()].filter((node) => node.ID.startsWith(prefix)).sort(byId));
  }

  nodeCount(): number {
    return this.#nodes.size;
  }

  allocation(id: string): Allocation | null {
    return copy(this.#allocations.get(id));
  }

  allocationJob(allocation: Allocation): Job | null {
    const key = jobKey(allocation.Namespace, allocation.JobID);
    const versions = [...(this.#jobs.get(key) ?? []), ...(this.#purged.get(key) ?? [])];
    return copy(
      versions.find(
        (job) =>
          job.Version === allocation.JobVersion &&
          job.CreateIndex === (allocation.JobCreateIndex ?? versions.at(-1)?.CreateIndex),
      ),
    );
  }

  allocations(filter?: ByNamespace): Allocation[] {
    return select([...this.#allocations.values()], filter);
  }

  allocationsByJob(namespace: string, jobId: string): Allocation[] {
    return this.#allocationsWhere((one) => one.Namespace === namespace && one.JobID === jobId);
  }

  allocationOutlines(namespace: string, jobId: string): readonly AllocationOutline[] {
    return this.allocationsByJob(namespace, jobId);
  }

  allocationsByNode(nodeId: string): Allocation[] {
    return this.#allocationsWhere((one) => one.NodeID === nodeId);
  }

  allocationsByEvaluation(evaluationId: string): Allocation[] {
    return this.#allocationsWhere((one) => one.EvalID === evaluationId);
  }

  allocationsByDeployment(deploymentId: string): Allocation[] {
    return this.#allocationsWhere((one) => one.DeploymentID === deploymentId);
  }

  evaluation(id: string): Evaluation | null {
    return copy(this.#evaluations.get(id));
  }

  evaluations(filter?: ByNamespace): Evaluation[] {
    return select([...this.#evaluations.values()], filter);
  }

  evaluationsByJob(namespace: string, jobId: string): Evaluation[] {
    return this.evaluations({ namespace }).filter((one) => one.JobID === jobId);
  }

  deployment(id: string): Deployment | null {
    return copy(this.#deployments.get(id));
  }

  deployments(filter?: ByNamespace): Deployment[] {
    return select([...this.#deployments.values()], filter);
  }

  deploymentsByJob(namespace: string, jobId: string): Deployment[] {
    return this.deployments({ namespace }).filter((one) => one.JobID === jobId);
  }

  latestDeployment(namespace: string, jobId: string): Deployment | null {
    const [newest] = this.deploymentsByJob(namespace, jobId).sort((a, b) => b.CreateIndex - a.CreateIndex);
    return newest ?? null;
  }

  schedulerConfiguration(): SchedulerConfiguration {
    return structuredClone(this.#configuration);
  }

  autopilotConfiguration(): AutopilotConfiguration {
    return { ...DEFAULT_AUTOPILOT_SETTINGS, CreateIndex: 0, ModifyIndex: 0 };
  }

  clusterMetadata(): ClusterMetadata | null {
    return null;
  }

  pluginRow(): unknown {
    return undefined;
  }

  pluginRows(): { readonly key: string; readonly value: unknown }[] {
    return [];
  }

  close(): void {
    // Nothing is pinned: there is one state and it is the newest.
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The columns as they are now; take them again after a change. */
  columns(): NodeColumns {
    return new MemoryColumns(this);
  }

  #allocationsWhere(test: (allocation: Allocation) => boolean): Allocation[] {
    return structuredClone([...this.#allocations.values()].filter(test).sort(byId));
  }
}

/** Columns of the nodes of a state. */
export class MemoryColumns implements NodeColumns {
  readonly length: number;
  readonly version: number;
  readonly nodesVersion: number;
  readonly status: Uint8Array;
  readonly cpuTotal: Float64Array;
  readonly cpuUsed: Float64Array;
  readonly memoryTotal: Float64Array;
  readonly memoryUsed: Float64Array;
  readonly diskTotal: Float64Array;
  readonly diskUsed: Float64Array;
  readonly #nodes: readonly Node[];
  readonly #rows: ReadonlyMap<string, number>;
  readonly #dictionaries = new Map<string, { codes: Uint32Array; values: (string | undefined)[] }>();

  constructor(state: MemoryState) {
    const nodes = state.nodes();
    this.#nodes = nodes;
    this.#rows = new Map(nodes.map((node, row) => [node.ID, row]));
    this.length = nodes.length;
    this.version = state.index;
    this.nodesVersion = state.index;
    this.status = Uint8Array.from(nodes, statusBits);
    const capacities = nodes.map(nodeCapacity);
    this.cpuTotal = Float64Array.from(capacities, (one) => one.cpu);
    this.memoryTotal = Float64Array.from(capacities, (one) => one.memory);
    this.diskTotal = Float64Array.from(capacities, (one) => one.disk);
    this.cpuUsed = new Float64Array(this.length);
    this.memoryUsed = new Float64Array(this.length);
    this.diskUsed = new Float64Array(this.length);
    for (const allocation of state.allocations()) {
      const row = this.#rows.get(allocation.NodeID);
      if (row === undefined || allocIsTerminal(allocation)) continue;
      const use = allocationUse(allocation.AllocatedResources);
      this.cpuUsed[row]! += use.cpu;
      this.memoryUsed[row]! += use.memory;
      this.diskUsed[row]! += use.disk;
    }
  }

  nodeId(row: number): string | undefined {
    return this.#nodes[row]?.ID;
  }

  row(nodeId: string): number | undefined {
    return this.#rows.get(nodeId);
  }

  codes(key: string): Uint32Array {
    return this.#dictionary(key).codes;
  }

  values(key: string): readonly (string | undefined)[] {
    return this.#dictionary(key).values;
  }

  #dictionary(key: string): { codes: Uint32Array; values: (string | undefined)[] } {
    let dictionary = this.#dictionaries.get(key);
    if (dictionary === undefined) {
      const values: (string | undefined)[] = [undefined];
      const known = new Map<string | undefined, number>([[undefined, 0]]);
      const codes = Uint32Array.from(this.#nodes, (node) => {
        const value = nodeValue(node, key);
        let code = known.get(value);
        if (code === undefined) {
          code = values.push(value) - 1;
          known.set(value, code);
        }
        return code;
      });
      dictionary = { codes, values };
      this.#dictionaries.set(key, dictionary);
    }
    return dictionary;
  }
}

function statusBits(node: Node): number {
  let bits: number = NodeStatusBit.InUse;
  if (node.Status === "ready") bits |= NodeStatusBit.Ready;
  if (node.SchedulingEligibility === "eligible") bits |= NodeStatusBit.Eligible;
  if (node.DrainStrategy !== null) bits |= NodeStatusBit.Draining;
  return bits;
}

function jobKey(namespace: string, id: string): string {
  return `${namespace}\n${id}`;
}

function copy<T>(row: T | undefined): T | null {
  return row === undefined ? null : structuredClone(row);
}

function byId(a: { readonly ID: string }, b: { readonly ID: string }): number {
  return a.ID < b.ID ? -1 : a.ID > b.ID ? 1 : 0;
}

function select<T extends { readonly ID: string; readonly Namespace: string }>(
  rows: T[],
  filter?: ByNamespace,
): T[] {
  const namespace = filter?.namespace ?? "*";
  const prefix = filter?.prefix ?? "";
  return structuredClone(
    rows
      .filter((row) => (namespace === "*" || row.Namespace === namespace) && row.ID.startsWith(prefix))
      .sort(byId),
  );
}
