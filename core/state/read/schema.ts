/** Tables of the state store and how their LMDB databases are laid out. Changing either raises SCHEMA_VERSION. */
import type {
  Allocation,
  Deployment,
  Evaluation,
  Job,
  JobSummary,
  Node,
  SchedulerConfiguration,
  StateTable,
} from "@drover/plugin-sdk";
import type { Database, RootDatabase } from "lmdb";
import { idKeys, type KeyEncoder, textKeys } from "./keys.js";
import { createRowEncoders, type RowEncoder } from "./rows.js";

/** Version of the layout below. A store of a newer version is refused. */
export const SCHEMA_VERSION = 1;

/** Databases in the environment, with room for later schema versions. */
export const MAX_DATABASES = 48;
/** Read transactions open at the same time, over all threads. */
export const MAX_READERS = 2_048;

/** Index of the last change by table. */
export type TableIndexes = Partial<Record<StateTable, number>>;

/**
 * What a job's status and the lifetime of its versions depend on, counted so that no write scans the job's
 * allocations. There is a row as long as anything refers to the job, whether the job exists or not.
 */
export interface JobReferences {
  /** Allocations, and those of them that are not terminal. */
  Allocations: number;
  LiveAllocations: number;
  /** Evaluations, and those of them that are not terminal. */
  Evaluations: number;
  LiveEvaluations: number;
  /** Allocations by `<create index>/<version>` of the job they were made from. */
  Versions: Record<string, number>;
}

/** The key that an agent enrolled with. */
export interface AgentKeyRow {
  /** Base64. */
  PublicKey: string;
  /** Index of the enrolment. */
  EnrolledIndex: number;
}

/** A join token; the secret itself is never stored. */
export interface JoinTokenRow {
  /** Unix nanoseconds. */
  Expires: number;
  /** Node and key that used it up; null while unused. */
  UsedBy: { readonly NodeID: string; readonly PublicKey: string } | null;
  CreateIndex: number;
}

export interface MetaRows {
  schema: number;
  region: string;
  /** Index of the last applied entry. */
  applied: number;
  tables: TableIndexes;
}

type Rows<Row> = Database<Row, string>;
/** Ids (as `encodeId` writes them) by a key: LMDB's sorted duplicates. */
type IdIndex = Database<Uint8Array, string>;
/** Keys alone; the values are empty. */
type KeyIndex = Database<Uint8Array, string>;

export interface Tables {
  readonly meta: Database<MetaRows[keyof MetaRows], string>;
  readonly jobs: Rows<Job>;
  /** By `jobVersionKey`. Holds the current version too. */
  readonly jobVersions: Rows<Job>;
  readonly jobSummaries: Rows<JobSummary>;
  readonly jobReferences: Rows<JobReferences>;
  readonly nodes: Rows<Node>;
  readonly allocations: Rows<Allocation>;
  readonly evaluations: Rows<Evaluation>;
  readonly deployments: Rows<Deployment>;
  readonly schedulerConfig: Rows<SchedulerConfiguration>;
  readonly agentKeys: Rows<AgentKeyRow>;
  readonly joinTokens: Rows<JoinTokenRow>;
  /** By plugin, table and key. */
  readonly pluginRows: Rows<unknown>;
  readonly allocationsByNode: IdIndex;
  readonly allocationsByJob: IdIndex;
  readonly allocationsByEvaluation: IdIndex;
  readonly allocationsByDeployment: IdIndex;
  readonly evaluationsByJob: IdIndex;
  readonly deploymentsByJob: IdIndex;
  /** By namespace, parent and id. */
  readonly jobsByParent: KeyIndex;
  /** Jobs of type `system` and `sysbatch`. */
  readonly systemJobs: KeyIndex;
}

/** How one database is opened. `ids` are sorted duplicates, `keys` has empty values. */
type Layout = {
  readonly name: string;
  readonly key: "id" | "text";
  readonly value: "row" | "allocation" | "evaluation" | "ids" | "keys";
};

export const LAYOUTS: Readonly<Record<keyof Tables, Layout>> = {
  meta: { name: "meta", key: "text", value: "row" },
  jobs: { name: "jobs", key: "text", value: "row" },
  jobVersions: { name: "job_versions", key: "text", value: "row" },
  jobSummaries: { name: "job_summary", key: "text", value: "row" },
  jobReferences: { name: "job_references", key: "text", value: "row" },
  nodes: { name: "nodes", key: "id", value: "row" },
  allocations: { name: "allocs", key: "id", value: "allocation" },
  evaluations: { name: "evals", key: "id", value: "evaluation" },
  deployments: { name: "deployment", key: "id", value: "row" },
  schedulerConfig: { name: "scheduler_config", key: "text", value: "row" },
  agentKeys: { name: "agent_keys", key: "id", value: "row" },
  joinTokens: { name: "join_tokens", key: "text", value: "row" },
  pluginRows: { name: "plugin_rows", key: "text", value: "row" },
  allocationsByNode: { name: "allocs_by_node", key: "id", value: "ids" },
  allocationsByJob: { name: "allocs_by_job", key: "text", value: "ids" },
  allocationsByEvaluation: { name: "allocs_by_eval", key: "id", value: "ids" },
  allocationsByDeployment: { name: "allocs_by_deployment", key: "id", value: "ids" },
  evaluationsByJob: { name: "evals_by_job", key: "text", value: "ids" },
  deploymentsByJob: { name: "deployment_by_job", key: "text", value: "ids" },
  jobsByParent: { name: "jobs_by_parent", key: "text", value: "keys" },
  systemJobs: { name: "system_jobs", key: "text", value: "keys" },
};

/** The same databases with keys and values as bytes, for copying. */
export function openRawTables(env: RootDatabase): Record<keyof Tables, Database<Uint8Array, Uint8Array>> {
  return Object.fromEntries(
    Object.entries(LAYOUTS).map(([table, { name, value }]) => {
      const options = { keyEncoding: "binary", encoding: "binary", dupSort: value === "ids" };
      return [table, env.openDB(name, options as object)];
    }),
  ) as unknown as Record<keyof Tables, Database<Uint8Array, Uint8Array>>;
}

/** Value of a key in a database that holds keys alone. */
export const NO_VALUE = Buffer.alloc(0);

/** Opens every database of an environment (and makes those that are missing, unless it is read-only). */
export function openTables(env: RootDatabase): Tables {
  const encoders = createRowEncoders();
  const encoderOf: Record<"row" | "allocation" | "evaluation", RowEncoder> = {
    row: encoders.plain,
    allocation: encoders.allocation,
    evaluation: encoders.evaluation,
  };
  const keyEncoderOf: Record<Layout["key"], KeyEncoder> = { id: idKeys, text: textKeys };
  const tables: Partial<Record<keyof Tables, unknown>> = {};
  for (const [table, { name, key, value }] of Object.entries(LAYOUTS)) {
    const options = {
      keyEncoder: keyEncoderOf[key],
      ...(value === "ids" || value === "keys"
        ? { encoding: "binary" as const, dupSort: value === "ids" }
        : { encoder: encoderOf[value] }),
    };
    const database = env.openDB(name, options as object);
    if (database === undefined)
      throw new Error(`state at ${(env as { path?: string }).path ?? "?"}: no table ${name}`);
    tables[table as keyof Tables] = database;
  }
  return tables as unknown as Tables;
}
