/** Reads rows as domain objects, inside one read transaction or inside the write transaction under way. */
import {
  type Allocation,
  type AllocationOutline,
  type AutopilotConfiguration,
  type ByNamespace,
  type ClusterMetadata,
  DEFAULT_AUTOPILOT_SETTINGS,
  DEFAULT_SCHEDULER_SETTINGS,
  type Deployment,
  type Evaluation,
  JOB_TRACKED_VERSIONS,
  type Job,
  type JobSummary,
  type Node,
  type SchedulerConfiguration,
  StateTable,
} from "@drover/plugin-sdk";
import type { Database, Transaction } from "lmdb";
import { allocationOf, PlacedRow, type StoredAllocation } from "./allocation-rows.js";
import { GONE, isLive } from "./block-states.js";
import { compositeKey, decodeId, idScanStarts, indexKey, jobKey, jobVersionKey } from "./keys.js";
import { OutlineSource, PlacedOutline } from "./placed-outline.js";
import { PlanBlock } from "./plan-block.js";
import type { CommittedBlock } from "./plan-blocks.js";
import type { AgentKeyRow, JobReferences, JoinTokenRow, OpenTables, TableIndexes } from "./schema.js";
import type { ThreadFence } from "./thread-fence.js";

/** Rows fetched at once: a scan holds no cursor while its consumer works, so it may be dropped or outlive a close. */
const SCAN_CHUNK = 256;

/** Where scans of a whole table begin; `lmdb` would leave out keys that begin with a byte below 5. */
const FIRST_KEY = Buffer.from([0]);

export const SINGLETON = "current";

interface Options {
  transaction?: Transaction;
}

export class RowReader {
  protected readonly tables: OpenTables;
  private readonly options: Options;
  private readonly fence: ThreadFence | null;

  /** Without a transaction it reads in the write transaction under way, or else the newest state. */
  constructor(tables: OpenTables, transaction?: Transaction) {
    this.tables = tables;
    this.fence = tables.fence;
    this.options = transaction === undefined ? {} : { transaction };
  }

  /** Called before every read; a closed snapshot throws here. */
  protected check(): void {}

  /** Index of the last applied entry; 0 in an empty store. */
  appliedIndex(): number {
    return (this.get(this.tables.meta, "applied") as number | undefined) ?? 0;
  }

  /** Whether another environment has taken the place of this one. */
  left(): boolean {
    return this.get(this.tables.meta, "left") === true;
  }

  restoredIndex(): number {
    return (this.get(this.tables.meta, "restored") as number | undefined) ?? 0;
  }

  tableIndexes(): TableIndexes {
    return (this.get(this.tables.meta, "tables") as TableIndexes | undefined) ?? {};
  }

  tableIndex(...tables: StateTable[]): number {
    const indexes = this.tableIndexes();
    return tables.reduce((highest, table) => Math.max(highest, indexes[table] ?? 0), 0);
  }

  job(namespace: string, id: string): Job | null {
    return this.get(this.tables.jobs, jobKey(namespace, id)) ?? null;
  }

  jobVersion(namespace: string, id: string, version: number): Job | null {
    return this.jobVersions(namespace, id).find((job) => job.Version === version) ?? null;
  }

  jobVersions(namespace: string, id: string): Job[] {
    const current = this.job(namespace, id);
    if (current === null) return [];
    const all = this.versionsOf(namespace, id, current.CreateIndex);
    const newest = all.slice(0, JOB_TRACKED_VERSIONS);
    const stable = all.find((job) => job.Stable);
    return stable === undefined || newest.includes(stable) ? newest : [...newest, stable];
  }

  /** Every version still stored of the job that was created at that index, newest first. */
  versionsOf(namespace: string, id: string, createIndex: number): Job[] {
    const first = jobVersionKey(namespace, id, createIndex, 0);
    const last = jobVersionKey(namespace, id, createIndex, Number.MAX_SAFE_INTEGER);
    const rows: Job[] = [];
    for (const { value } of this.range(this.tables.jobVersions, first, last)) rows.push(value);
    return rows.reverse();
  }

  *jobs(filter?: ByNamespace): Generator<Job> {
    const namespace = filter?.namespace ?? "*";
    const prefix = filter?.prefix ?? "";
    const start = namespace === "*" ? "" : jobKey(namespace, prefix);
    for (const { key, value } of this.scan(this.tables.jobs, start)) {
      if (namespace === "*") {
        if (value.ID.startsWith(prefix)) yield value;
      } else {
        if (!key.startsWith(start)) return;
        yield value;
      }
    }
  }

  systemJobs(): Job[] {
    const jobs: Job[] = [];
    for (const { key } of this.range(this.tables.systemJobs)) {
      const job = this.get(this.tables.jobs, key);
      if (job !== undefined) jobs.push(job);
    }
    return jobs.sort((a, b) => a.CreateIndex - b.CreateIndex);
  }

  /** Children that the periodic dispatcher or a dispatch made of a job, in order of id. */
  jobsByParent(namespace: string, parentId: string): Job[] {
    const start = `${jobKey(namespace, parentId)}\0`;
    const jobs: Job[] = [];
    for (const { key } of this.range(this.tables.jobsByParent, start, `${start}\u{10ffff}`)) {
      const job = this.job(namespace, key.slice(start.length));
      if (job !== null) jobs.push(job);
    }
    return jobs;
  }

  jobSummary(namespace: string, id: string): JobSummary | null {
    return this.get(this.tables.jobSummaries, jobKey(namespace, id)) ?? null;
  }

  jobReferences(namespace: string, id: string): JobReferences | null {
    return this.get(this.tables.jobReferences, jobKey(namespace, id)) ?? null;
  }

  node(id: string): Node | null {
    return this.get(this.tables.nodes, id) ?? null;
  }

  nodes(prefix = ""): Generator<Node> {
    return this.scanIds(this.tables.nodes, prefix);
  }

  nodeCount(): number {
    this.check();
    const all = { start: FIRST_KEY as unknown as string, ...this.options };
    return this.within(() => this.tables.nodes.getKeysCount(all));
  }

  allocation(id: string): Allocation | null {
    const stored = this.get(this.tables.allocations, id);
    return stored === undefined ? null : this.whole(stored);
  }

  allocationJob(allocation: Allocation): Job | null {
    const { Namespace, JobID, JobVersion, JobCreateIndex } = allocation;
    const current = this.job(Namespace, JobID);
    const createIndex = JobCreateIndex ?? current?.CreateIndex;
    if (createIndex === undefined) return null;
    if (current?.CreateIndex === createIndex && current.Version === JobVersion) return current;
    return (
      this.get(this.tables.jobVersions, jobVersionKey(Namespace, JobID, createIndex, JobVersion)) ?? null
    );
  }

  allocations(filter?: ByNamespace): Generator<Allocation> {
    return inNamespace(this.wholes(this.scanIds(this.tables.allocations, filter?.prefix ?? "")), filter);
  }

  allocationsByJob(namespace: string, jobId: string): Allocation[] {
    return this.allocationsBy(this.tables.allocationsByJob, jobKey(namespace, jobId));
  }

  /** In no particular order. */
  allocationOutlines(namespace: string, jobId: string): readonly AllocationOutline[] {
    return this.outlinesInBlocks(jobKey(namespace, jobId)) ?? this.allocationsByJob(namespace, jobId);
  }

  /** The job's allocations by the states of its blocks; null where some are not in a block that has states. */
  private outlinesInBlocks(job: string): AllocationOutline[] | null {
    this.check();
    const { allocationsByJob, blockStates, blocksByJob } = this.tables;
    const read = (id: string): Allocation => {
      const allocation = this.allocation(id);
      if (allocation === null) throw new Error(`allocation ${id} has a place in a block and no row`);
      return allocation;
    };
    const outlines: AllocationOutline[] = [];
    const keys = this.within(() =>
      Array.from(blocksByJob.getValues(job, { ...this.options }), (bytes) => Buffer.from(bytes).toString()),
    );
    for (const key of keys) {
      const states = this.get(blockStates, key);
      if (states === undefined || typeof states === "number") return null;
      const index = Number(key);
      const source = new OutlineSource(this.block(index).block, index, read);
      for (const [position, state] of states.entries())
        if (state !== GONE) outlines.push(new PlacedOutline(source, position, state));
    }
    const all = this.within(() => allocationsByJob.getValuesCount(job, { ...this.options }));
    return outlines.length === all ? outlines : null;
  }

  /** Blocks that have states, each with the positions of its allocations that aren't terminal. */
  *liveInBlocks(): Generator<{ readonly block: PlanBlock; readonly positions: readonly number[] }> {
    for (const { key, value: states } of this.scan(this.tables.blockStates)) {
      if (typeof states === "number") continue;
      const positions: number[] = [];
      for (let at = 0; at < states.length; at++) if (isLive(states[at]!)) positions.push(at);
      if (positions.length === 0) continue;
      // Not by the cache: who asks goes over all of them once.
      const stored = this.get(this.tables.planBlocks, key);
      if (stored === undefined) throw new Error(`block ${key} of a plan has states and is not stored`);
      yield { block: new PlanBlock(stored.Block), positions };
    }
  }

  /** Allocations that `liveInBlocks` doesn't tell of: rows of their own, and those in blocks of schema 2. */
  *allocationsElsewhere(): Generator<Allocation> {
    const inBlocks = new Set<number>();
    let told = 0;
    for (const { key, value: states } of this.scan(this.tables.blockStates)) {
      if (typeof states === "number") continue;
      inBlocks.add(Number(key));
      for (const state of states) if (state !== GONE) told++;
    }
    const { entryCount } = this.within(() => this.tables.allocations.getStats() as { entryCount: number });
    if (told === entryCount) return;
    for (const row of this.scanIds(this.tables.allocations, ""))
      if (!(row instanceof PlacedRow && inBlocks.has(row.index))) yield this.whole(row);
  }

  /** Ids alone: for who reads the rows bit by bit. */
  allocationIdsByJob(namespace: string, jobId: string): string[] {
    this.check();
    return this.within(() => {
      const ids = this.tables.allocationsByJob.getValues(jobKey(namespace, jobId), { ...this.options });
      return Array.from(ids, (id) => decodeId(id));
    });
  }

  allocationsByNode(nodeId: string): Allocation[] {
    return this.allocationsBy(this.tables.allocationsByNode, nodeId);
  }

  allocationsByEvaluation(evaluationId: string): Allocation[] {
    return this.allocationsBy(this.tables.allocationsByEvaluation, evaluationId);
  }

  allocationsByDeployment(deploymentId: string): Allocation[] {
    return this.allocationsBy(this.tables.allocationsByDeployment, deploymentId);
  }

  evaluation(id: string): Evaluation | null {
    return this.get(this.tables.evaluations, id) ?? null;
  }

  evaluations(filter?: ByNamespace): Generator<Evaluation> {
    return inNamespace(this.scanIds(this.tables.evaluations, filter?.prefix ?? ""), filter);
  }

  evaluationsByJob(namespace: string, jobId: string): Evaluation[] {
    return this.byIndex(this.tables.evaluationsByJob, jobKey(namespace, jobId), this.tables.evaluations);
  }

  deployment(id: string): Deployment | null {
    return this.get(this.tables.deployments, id) ?? null;
  }

  deployments(filter?: ByNamespace): Generator<Deployment> {
    return inNamespace(this.scanIds(this.tables.deployments, filter?.prefix ?? ""), filter);
  }

  deploymentsByJob(namespace: string, jobId: string): Deployment[] {
    return this.byIndex(this.tables.deploymentsByJob, jobKey(namespace, jobId), this.tables.deployments);
  }

  latestDeployment(namespace: string, jobId: string): Deployment | null {
    let latest: Deployment | null = null;
    for (const deployment of this.deploymentsByJob(namespace, jobId)) {
      if (latest === null || deployment.CreateIndex > latest.CreateIndex) latest = deployment;
    }
    return latest;
  }

  schedulerConfiguration(): SchedulerConfiguration {
    const row = this.get(this.tables.schedulerConfig, SINGLETON);
    // A row may have been written before there were as many settings.
    return {
      ...DEFAULT_SCHEDULER_SETTINGS,
      CreateIndex: 0,
      ModifyIndex: 0,
      ...row,
      PreemptionConfig: { ...DEFAULT_SCHEDULER_SETTINGS.PreemptionConfig, ...row?.PreemptionConfig },
    };
  }

  autopilotConfiguration(): AutopilotConfiguration {
    const row = this.get(this.tables.autopilotConfig, SINGLETON);
    return { ...DEFAULT_AUTOPILOT_SETTINGS, CreateIndex: 0, ModifyIndex: 0, ...row };
  }

  clusterMetadata(): ClusterMetadata | null {
    return this.get(this.tables.clusterMetadata, SINGLETON) ?? null;
  }

  agentKey(nodeId: string): AgentKeyRow | null {
    return this.get(this.tables.agentKeys, nodeId) ?? null;
  }

  agentKeys(): Generator<{ readonly key: string; readonly value: AgentKeyRow }> {
    return this.scan(this.tables.agentKeys);
  }

  joinToken(hash: string): JoinTokenRow | null {
    return this.get(this.tables.joinTokens, hash) ?? null;
  }

  joinTokens(): Generator<{ readonly key: string; readonly value: JoinTokenRow }> {
    return this.scan(this.tables.joinTokens);
  }

  pluginRow(plugin: string, table: string, key: string): unknown {
    return this.get(this.tables.pluginRows, pluginRowKey(plugin, table, key));
  }

  *pluginRows(
    plugin: string,
    table: string,
    prefix = "",
  ): Generator<{ readonly key: string; readonly value: unknown }> {
    const stem = compositeKey(plugin, table, "");
    for (const { key, value } of this.scan(this.tables.pluginRows, stem + prefix)) {
      if (!key.startsWith(stem + prefix)) return;
      yield { key: key.slice(stem.length), value };
    }
  }

  /** The placements of the plan that log entry `index` committed. */
  protected block(index: number): CommittedBlock {
    const { blocks, planBlocks } = this.tables;
    let committed = blocks.get(index);
    if (committed === undefined) {
      const stored = this.get(planBlocks, indexKey(index));
      if (stored === undefined)
        throw new Error(`allocations refer to the plan at index ${index}, which is not stored`);
      committed = { block: new PlanBlock(stored.Block), time: stored.Time };
      blocks.set(index, committed);
    }
    return committed;
  }

  private whole(stored: StoredAllocation): Allocation {
    if (!(stored instanceof PlacedRow)) return stored;
    const { block, time } = this.block(stored.index);
    return allocationOf(stored, block, time);
  }

  private *wholes(rows: Iterable<StoredAllocation>): Generator<Allocation> {
    for (const row of rows) yield this.whole(row);
  }

  private allocationsBy(index: Database<Uint8Array, string>, key: string): Allocation[] {
    return this.byIndex(index, key, this.tables.allocations).map((stored) => this.whole(stored));
  }

  /** Does something with LMDB: in a thread that may be ended at any moment, within its fence. */
  protected within<T>(work: () => T): T {
    return this.fence === null ? work() : this.fence.within(work);
  }

  private get<Row>(table: Database<Row, string>, key: string): Row | undefined {
    this.check();
    return this.within(() => table.get(key, this.options));
  }

  private byIndex<Row>(
    index: Database<Uint8Array, string>,
    key: string,
    table: Database<Row, string>,
  ): Row[] {
    this.check();
    return this.within(() => {
      const rows: Row[] = [];
      for (const id of index.getValues(key, { ...this.options })) {
        // The id was written by encodeId, which is also what the table's key is: no detour over text.
        const row = table.get(id as unknown as string, this.options);
        if (row === undefined)
          throw new Error(`index entry of ${key} names ${decodeId(id)}, which has no row`);
        rows.push(row);
      }
      return rows;
    });
  }

  /** Rows of a bounded key range, read at once. */
  private range<Row>(
    table: Database<Row, string>,
    start?: string,
    end?: string,
  ): { key: string; value: Row }[] {
    this.check();
    return this.within(() => [
      ...table.getRange({
        start: start ?? (FIRST_KEY as unknown as string),
        ...(end === undefined ? {} : { end, inclusiveEnd: true }),
        ...this.options,
      }),
    ]);
  }

  /** All rows from `start` on. */
  private *scan<Row>(
    table: Database<Row, string>,
    start?: string | Uint8Array,
  ): Generator<{ readonly key: string; readonly value: Row }> {
    let from: string | Uint8Array = start === undefined || start.length === 0 ? FIRST_KEY : start;
    let exclusiveStart = false;
    for (;;) {
      this.check();
      const next = { start: from as string, exclusiveStart, limit: SCAN_CHUNK, ...this.options };
      const chunk = this.within(() => [...table.getRange(next)]);
      yield* chunk;
      const last = chunk.at(-1);
      if (last === undefined || chunk.length < SCAN_CHUNK) return;
      from = last.key;
      exclusiveStart = true;
    }
  }

  /** Rows in order of id whose id begins with `prefix`. */
  private *scanIds<Row>(table: Database<Row, string>, prefix: string): Generator<Row> {
    if (prefix === "") {
      for (const { value } of this.scan(table)) yield value;
      return;
    }
    const { uuid, text } = idScanStarts(prefix);
    for (const start of uuid === undefined ? [text] : [uuid, text]) {
      for (const { key, value } of this.scan(table, start)) {
        if (!key.startsWith(prefix)) break;
        yield value;
      }
    }
  }
}

export function pluginRowKey(plugin: string, table: string, key: string): string {
  return `${compositeKey(plugin, table)}\0${key}`;
}

function* inNamespace<Row extends { readonly Namespace: string }>(
  rows: Iterable<Row>,
  filter: ByNamespace | undefined,
): Generator<Row> {
  const namespace = filter?.namespace ?? "*";
  for (const row of rows) if (namespace === "*" || row.Namespace === namespace) yield row;
}
