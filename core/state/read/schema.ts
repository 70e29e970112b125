/** Tables of the state store and how their LMDB databases are laid out. Changing either raises SCHEMA_VERSION. */
import type {
  AutopilotConfiguration,
  ClusterMetadata,
  Deployment,
  Evaluation,
  Job,
  JobSummary,
  Node,
  SchedulerConfiguration,
  StateTable,
} from "@drover/plugin-sdk";
import type { Database, RootDatabase } from "lmdb";
import type { StoredAllocation } from "./allocation-rows.js";
import { idKeys, type KeyEncoder, textKeys } from "./keys.js";
import { PlanBlockCache } from "./plan-blocks.js";
import type { RowEncoder } from "./row-encoder.js";
import { createRowEncoders } from "./rows.js";
import type { ThreadFence } from "./thread-fence.js";

/**
 * Version of the layout below. A store of a newer version is refused; one of an older version is read as it is.
 * 1: every allocation is a row of its own. 2: placements refer to the block of their plan. 3: blocks have the states of
 * their allocations, and are found by their job. 4: the settings of autopilot and the cluster's identity.
 */
export const SCHEMA_VERSION = 4;

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

/** The placements of a plan, as the log carried them. */
export interface StoredBlock {
  /** Unix nanoseconds of the commit. */
  readonly Time: number;
  readonly Block: Uint8Array;
}

export interface MetaRows {
  schema: number;
  /** Set once another environment has taken the place of this one. */
  left: boolean;
  region: string;
  /** Index of the last applied entry. */
  applied: number;
  /** Index at which a copy of another time or cluster was last put in force; missing where none ever was. */
  restored: number;
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
  readonly allocations: Rows<StoredAllocation>;
  /** By `indexKey` of the log entry. */
  readonly planBlocks: Rows<StoredBlock>;
  /** Of each allocation of a block its `stateByte`; of blocks of schema 2 how many allocations refer to them. */
  readonly blockStates: Rows<Uint8Array | number>;
  /** Keys of blocks. */
  readonly blocksByJob: IdIndex;
  readonly evaluations: Rows<Evaluation>;
  readonly deployments: Rows<Deployment>;
  readonly schedulerConfig: Rows<SchedulerConfiguration>;
  readonly autopilotConfig: Rows<AutopilotConfiguration>;
  readonly clusterMetadata: Rows<ClusterMetadata>;
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

/** The databases, and what this thread remembers of them. */
export interface OpenTables extends Tables {
  readonly blocks: PlanBlockCache;
  /** Within which snapshots are read; null where nobody ends the thread. */
  readonly fence: ThreadFence | null;
}

/** How one database is opened. `ids` are sorted duplicates, `uuids` such of one length, `keys` has empty values. */
type Layout = {
  readonly name: string;
  readonly key: "id" | "text";
  readonly value: "row" | "allocation" | "evaluation" | "ids" | "uuids" | "keys";
};

export const LAYOUTS: Readonly<Record<keyof Tables, Layout>> = {
  meta: { name: "meta", key: "text", value: "row" },
  jobs: { name: "jobs", key: "text", value: "row" },
  jobVersions: { name: "job_versions", key: "text", value: "row" },
  jobSummaries: { name: "job_summary", key: "text", value: "row" },
  jobReferences: { name: "job_references", key: "text", value: "row" },
  nodes: { name: "nodes", key: "id", value: "row" },
  allocations: { name: "allocs", key: "id", value: "allocation" },
  planBlocks: { name: "plan_blocks", key: "text", value: "row" },
  blockStates: { name: "plan_block_uses", key: "text", value: "row" },
  blocksByJob: { name: "plan_blocks_by_job", key: "text", value: "ids" },
  evaluations: { name: "evals", key: "id", value: "evaluation" },
  deployments: { name: "deployment", key: "id", value: "row" },
  schedulerConfig: { name: "scheduler_config", key: "text", value: "row" },
  autopilotConfig: { name: "autopilot_config", key: "text", value: "row" },
  clusterMetadata: { name: "cluster_meta", key: "text", value: "row" },
  agentKeys: { name: "agent_keys", key: "id", value: "row" },
  joinTokens: { name: "join_tokens", key: "text", value: "row" },
  pluginRows: { name: "plugin_rows", key: "text", value: "row" },
  allocationsByNode: { name: "allocs_by_node", key: "id", value: "uuids" },
  allocationsByJob: { name: "allocs_by_job", key: "text", value: "uuids" },
  allocationsByEvaluation: { name: "allocs_by_eval", key: "id", value: "uuids" },
  allocationsByDeployment: { name: "allocs_by_deployment", key: "id", value: "uuids" },
  evaluationsByJob: { name: "evals_by_job", key: "text", value: "ids" },
  deploymentsByJob: { name: "deployment_by_job", key: "text", value: "ids" },
  jobsByParent: { name: "jobs_by_parent", key: "text", value: "keys" },
  systemJobs: { name: "system_jobs", key: "text", value: "keys" },
};

/** The same databases with keys and values as bytes, for copying. */
export function openRawTables(env: RootDatabase): Record<keyof Tables, Database<Uint8Array, Uint8Array>> {
  return Object.fromEntries(
    Object.entries(LAYOUTS).map(([table, { name, value }]) => {
      const options = { keyEncoding: "binary", encoding: "binary", ...duplicates(value) };
      return [table, env.openDB(name, options as object)];
    }),
  ) as unknown as Record<keyof Tables, Database<Uint8Array, Uint8Array>>;
}

/** Value of a key in a database that holds keys alone. */
export const NO_VALUE = Buffer.alloc(0);

/** Opens every database of an environment (and makes those that are missing, unless it is read-only). */
export function openTables(env: RootDatabase): OpenTables {
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
      ...(value === "ids" || value === "uuids" || value === "keys"
        ? { encoding: "binary" as const, ...duplicates(value) }
        : { encoder: encoderOf[value] }),
    };
    const database = env.openDB(name, options as object);
    if (database === undefined)
      throw new Error(`state at ${(env as { path?: string }).path ?? "?"}: no table ${name}`);
    tables[table as keyof Tables] = database;
  }
  return { ...(tables as unknown as Tables), blocks: new PlanBlockCache(), fence: null };
}

/** The table of the store's own facts alone; the environment may be one of an older version, which lacks others. */
export function openMeta(env: RootDatabase): Tables["meta"] {
  const options = { keyEncoder: textKeys, encoder: createRowEncoders().plain };
  return env.openDB(LAYOUTS.meta.name, options as object);
}

function duplicates(value: Layout["value"]): { readonly dupSort: boolean; readonly dupFixed: boolean } {
  return { dupSort: value === "ids" || value === "uuids", dupFixed: value === "uuids" };
}
