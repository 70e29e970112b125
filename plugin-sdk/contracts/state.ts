/** Reading the replicated state: snapshots, watches, and the tables plugins declare. */
import type {
  Allocation,
  AllocationOutline,
  AutopilotConfiguration,
  ClusterMetadata,
  Deployment,
  Evaluation,
  Job,
  JobSummary,
  Node,
  SchedulerConfiguration,
} from "../domain/index.js";
import { createToken } from "../kernel/token.js";

/** Tables of the state store; each has its own last-changed index. */
export const StateTable = {
  Jobs: "jobs",
  JobVersions: "job_versions",
  JobSummaries: "job_summary",
  Nodes: "nodes",
  Allocations: "allocs",
  Evaluations: "evals",
  Deployments: "deployment",
  SchedulerConfig: "scheduler_config",
  AutopilotConfig: "autopilot_config",
  ClusterMetadata: "cluster_meta",
  AgentKeys: "agent_keys",
  JoinTokens: "join_tokens",
  PluginRows: "plugin_rows",
} as const;
export type StateTable = (typeof StateTable)[keyof typeof StateTable];

export interface ByNamespace {
  /** `*` for all. Default `*`. */
  readonly namespace?: string;
  readonly prefix?: string;
}

/**
 * A consistent view at one index. Rows may be shared by those who ask for the same, and rows share parts (resources,
 * metrics) with each other: copy what you want to change. Allocations come as stored, with `Job: null`; `allocationJob`
 * joins. Close it when done (it pins old pages); `using` works.
 */
export interface StateSnapshot extends Disposable {
  /** Index of the last applied entry that this view contains. */
  readonly index: number;
  /** Highest index at which any of the tables changed; 0 where none ever did. */
  tableIndex(...tables: StateTable[]): number;

  job(namespace: string, id: string): Job | null;
  jobVersion(namespace: string, id: string, version: number): Job | null;
  /** All kept versions, newest first. */
  jobVersions(namespace: string, id: string): Job[];
  /** In order of namespace and id. */
  jobs(filter?: ByNamespace): Iterable<Job>;
  /** Jobs of type `system` and `sysbatch`, by index. */
  systemJobs(): Job[];
  jobSummary(namespace: string, id: string): JobSummary | null;

  node(id: string): Node | null;
  /** In order of id. */
  nodes(prefix?: string): Iterable<Node>;
  nodeCount(): number;

  allocation(id: string): Allocation | null;
  /** The job version that an allocation was made from. */
  allocationJob(allocation: Allocation): Job | null;
  allocations(filter?: ByNamespace): Iterable<Allocation>;
  allocationsByJob(namespace: string, jobId: string): Allocation[];
  /** The same allocations in no particular order, at a small part of the cost while only outlines are looked at. */
  allocationOutlines(namespace: string, jobId: string): readonly AllocationOutline[];
  allocationsByNode(nodeId: string): Allocation[];
  allocationsByEvaluation(evaluationId: string): Allocation[];
  allocationsByDeployment(deploymentId: string): Allocation[];

  evaluation(id: string): Evaluation | null;
  evaluations(filter?: ByNamespace): Iterable<Evaluation>;
  evaluationsByJob(namespace: string, jobId: string): Evaluation[];

  deployment(id: string): Deployment | null;
  deployments(filter?: ByNamespace): Iterable<Deployment>;
  deploymentsByJob(namespace: string, jobId: string): Deployment[];
  /** The newest deployment of a job. */
  latestDeployment(namespace: string, jobId: string): Deployment | null;

  schedulerConfiguration(): SchedulerConfiguration;
  autopilotConfiguration(): AutopilotConfiguration;
  /** Null until the first leader has made it. */
  clusterMetadata(): ClusterMetadata | null;
  /** A row of a plugin's own table. */
  pluginRow(plugin: string, table: string, key: string): unknown;
  pluginRows(
    plugin: string,
    table: string,
    prefix?: string,
  ): Iterable<{ readonly key: string; readonly value: unknown }>;

  close(): void;
}

/** Reading side of the state store; all that HTTP handlers, schedulers and watchers need. */
export interface StateReader {
  /** Index of the last applied entry. */
  index(): number;
  snapshot(): StateSnapshot;
  /**
   * Resolves once entry `index` is applied. Rejects with a timeout error after `timeout` milliseconds, or when
   * `signal` aborts.
   */
  waitForIndex(index: number, timeout: number, signal?: AbortSignal): Promise<void>;
  /**
   * Resolves once one of `tables` changes after `index` (at once, where it already has). Rejects only when `signal`
   * aborts; bounding the wait is the caller's.
   */
  waitForChange(tables: readonly StateTable[], index: number, signal: AbortSignal): Promise<void>;
  /** Calls back after every applied batch with its last index and the tables that changed. */
  onApplied(listener: (index: number, tables: ReadonlySet<StateTable>) => void): () => void;
}
export const StateReader = createToken<StateReader>("StateReader");

/** Rows of a plugin that survive leader changes and land in snapshots: writes go through the log. */
export interface ReplicatedTable<Row> {
  get(key: string): Row | undefined;
  list(prefix?: string): { readonly key: string; readonly value: Row }[];
  /** Resolves with the index of the write. Rows are bounded at 1 MiB, keys at 400 bytes. */
  put(key: string, value: Row): Promise<number>;
  delete(key: string): Promise<number>;
}

export interface ReplicatedState {
  /** Declares a table; `plugin` is the caller's name, so that two plugins can't meet in one table. */
  table<Row>(plugin: string, table: string): ReplicatedTable<Row>;
}
export const ReplicatedState = createToken<ReplicatedState>("ReplicatedState");
