/**
 * Writing side of the tables, for the length of one batch of log entries: keeps secondary indexes, job accounts, the
 * last-changed index of each table and the list of what the node columns must learn once the batch is committed.
 */
import {
  type Allocation,
  type AutopilotConfiguration,
  allocIsTerminal,
  type ClusterMetadata,
  type Deployment,
  type Evaluation,
  type Job,
  type JobSummary,
  type Node,
  type SchedulerConfiguration,
  StateTable,
} from "@drover/plugin-sdk";
import type { Database } from "lmdb";
import { BlockStates } from "./block-states.js";
import { DeploymentAccounts } from "./deployment-accounts.js";
import { JobAccounts } from "./job-accounts.js";
import { outlineChanged, PlacedRow, placedRow } from "./read/allocation-rows.js";
import { stateByte } from "./read/block-states.js";
import { encodeId, indexKey, jobKey, jobVersionKey, UUID_BYTES } from "./read/keys.js";
import type { Commit, PlanBlock } from "./read/plan-block.js";
import { pluginRowKey, RowReader, SINGLETON } from "./read/row-reader.js";
import {
  type AgentKeyRow,
  type JobReferences,
  type JoinTokenRow,
  NO_VALUE,
  type OpenTables,
  type TableIndexes,
} from "./read/schema.js";
import { CommandRefused } from "./refusal.js";

/** What changed outside of LMDB's reach; applied once the transaction is committed. */
export interface Effects {
  /** New row of each node that was written; null where it was removed. */
  readonly nodes: Map<string, Node | null>;
  /** Allocations before and after, for usage. */
  readonly usage: { readonly before: Allocation | null; readonly after: Allocation | null }[];
  /** New allocations of plans, by their position in the plan's block. */
  readonly placed: { readonly block: PlanBlock; readonly positions: readonly number[] }[];
  readonly agentKeys: Map<string, AgentKeyRow>;
  /** Null where it was removed. */
  readonly joinTokens: Map<string, JoinTokenRow | null>;
  /** What changed of what nodes should run. */
  readonly assigned: AssignmentChanges;
}

/** Nodes that should run something else than before; iterating may give one several times. */
export class AssignmentChanges implements Iterable<string> {
  readonly #nodes = new Set<string>();
  readonly #blocks: PlanBlock[] = [];

  get isEmpty(): boolean {
    return this.#nodes.size === 0 && this.#blocks.length === 0;
  }

  add(nodeId: string): void {
    this.#nodes.add(nodeId);
  }

  /** All that a plan placed. */
  addBlock(block: PlanBlock): void {
    this.#blocks.push(block);
  }

  /** Blocks are looked into here: where no agent is connected nobody iterates. */
  *[Symbol.iterator](): Generator<string> {
    yield* this.#nodes;
    for (const block of this.#blocks) yield* block.placedNodes();
  }
}

const NEW_ONLY = { noOverwrite: true };

/** Job types that have an own index, because every node that joins needs their jobs evaluated. */
function isSystemType(type: string): boolean {
  return type === "system" || type === "sysbatch";
}

export class StateTransaction extends RowReader {
  readonly effects: Effects = {
    nodes: new Map(),
    usage: [],
    placed: [],
    agentKeys: new Map(),
    joinTokens: new Map(),
    assigned: new AssignmentChanges(),
  };
  private readonly rollouts: DeploymentAccounts;
  private readonly blockStates: BlockStates;
  /** Indexes of the blocks that this batch wrote. */
  private readonly newBlocks: number[] = [];
  readonly accounts: JobAccounts;
  private readonly changed = new Map<StateTable, number>();
  private entryIndex = 0;

  constructor(tables: OpenTables) {
    super(tables);
    this.accounts = new JobAccounts(this);
    this.rollouts = new DeploymentAccounts(this);
    this.blockStates = new BlockStates(tables, (index) => this.block(index).block);
  }

  /** Index of the entry being applied. */
  get index(): number {
    return this.entryIndex;
  }

  /** Starts on the next entry. */
  begin(index: number): void {
    this.entryIndex = index;
  }

  /** Ends an entry: writes what was gathered over it. */
  end(): void {
    this.blockStates.flush();
    this.rollouts.flush();
    this.accounts.flush();
  }

  /** Ends the batch: writes its last index and the indexes of the tables it changed. */
  finish(index: number): void {
    this.tables.meta.putSync("applied", index);
    if (this.changed.size === 0) return;
    const indexes: TableIndexes = { ...this.tableIndexes(), ...Object.fromEntries(this.changed) };
    this.tables.meta.putSync("tables", indexes);
  }

  /** Tables that changed, with the index of their last change. */
  changedTables(): ReadonlyMap<StateTable, number> {
    return this.changed;
  }

  private touch(table: StateTable): void {
    this.changed.set(table, this.entryIndex);
  }

  private write<Row>(table: StateTable, database: Database<Row, string>, key: string, row: Row): void {
    database.putSync(key, row);
    this.touch(table);
  }

  private erase<Row>(table: StateTable, database: Database<Row, string>, key: string): void {
    database.removeSync(key);
    this.touch(table);
  }

  /** Writes the current row of a job; its versions are rows of their own. */
  putJob(job: Job, previous: Job | null): void {
    const key = jobKey(job.Namespace, job.ID);
    this.write(StateTable.Jobs, this.tables.jobs, key, job);
    if (previous?.ParentID !== job.ParentID) {
      if (previous !== null) this.tables.jobsByParent.removeSync(childKey(previous));
      if (job.ParentID !== "") this.tables.jobsByParent.putSync(childKey(job), NO_VALUE);
    }
    if (previous?.Type !== job.Type) {
      if (isSystemType(job.Type)) this.tables.systemJobs.putSync(key, NO_VALUE);
      else this.tables.systemJobs.removeSync(key);
    }
  }

  removeJob(job: Job): void {
    const key = jobKey(job.Namespace, job.ID);
    this.erase(StateTable.Jobs, this.tables.jobs, key);
    this.tables.systemJobs.removeSync(key);
    this.tables.jobsByParent.removeSync(childKey(job));
  }

  putJobVersion(job: Job): void {
    const key = jobVersionKey(job.Namespace, job.ID, job.CreateIndex, job.Version);
    this.write(StateTable.JobVersions, this.tables.jobVersions, key, job);
  }

  removeJobVersion(namespace: string, id: string, createIndex: number, version: number): void {
    const key = jobVersionKey(namespace, id, createIndex, version);
    this.erase(StateTable.JobVersions, this.tables.jobVersions, key);
  }

  putJobSummary(summary: JobSummary): void {
    const key = jobKey(summary.Namespace, summary.JobID);
    this.write(StateTable.JobSummaries, this.tables.jobSummaries, key, summary);
  }

  removeJobSummary(namespace: string, id: string): void {
    this.erase(StateTable.JobSummaries, this.tables.jobSummaries, jobKey(namespace, id));
  }

  putJobReferences(namespace: string, id: string, references: JobReferences | null): void {
    const key = jobKey(namespace, id);
    if (references === null) this.tables.jobReferences.removeSync(key);
    else this.tables.jobReferences.putSync(key, references);
  }

  putNode(node: Node): void {
    this.write(StateTable.Nodes, this.tables.nodes, node.ID, node);
    this.effects.nodes.set(node.ID, node);
  }

  removeNode(id: string): void {
    this.erase(StateTable.Nodes, this.tables.nodes, id);
    this.effects.nodes.set(id, null);
  }

  /** Writes an allocation; `previous` is its row so far, whose index entries are kept where they still hold. */
  putAllocation(row: Allocation, previous: Allocation | null): void {
    const stored = previous === null ? undefined : this.tables.allocations.get(row.ID);
    if (!(stored instanceof PlacedRow)) {
      this.write(StateTable.Allocations, this.tables.allocations, row.ID, row);
    } else if (row.AllocatedResources === previous?.AllocatedResources) {
      const { block, time } = this.block(stored.index);
      const changed = placedRow(row, block, stored.position, { index: stored.index, time });
      this.write(StateTable.Allocations, this.tables.allocations, row.ID, changed);
      this.noteState(row, block, changed);
    } else {
      this.blockStates.release(stored.index, stored.position);
      this.write(StateTable.Allocations, this.tables.allocations, row.ID, row);
    }
    this.moveAllocation(row, previous);
  }

  /** Keeps the placements of a plan for the rows that will refer to them. */
  putBlock(block: PlanBlock, commit: Commit): void {
    const stored = { Time: commit.time, Block: block.bytes };
    this.write(StateTable.Allocations, this.tables.planBlocks, indexKey(commit.index), stored);
    this.tables.blocks.set(commit.index, { block, time: commit.time });
    this.newBlocks.push(commit.index);
    this.blockStates.begin(commit.index, block);
    this.effects.assigned.addBlock(block);
  }

  /** After the batch was undone: what it put into the cache of blocks never was. */
  forgetBlocks(): void {
    for (const index of this.newBlocks) this.tables.blocks.delete(index);
  }

  /** Writes an allocation that a plan of `putBlock` updates in place; `row` is its whole new state. */
  putUpdated(
    block: PlanBlock,
    position: number,
    commit: Commit,
    row: Allocation,
    previous: Allocation,
  ): void {
    const stored = this.tables.allocations.get(row.ID);
    if (stored instanceof PlacedRow) this.blockStates.release(stored.index, stored.position);
    const changed = placedRow(row, block, position, commit);
    this.write(StateTable.Allocations, this.tables.allocations, row.ID, changed);
    this.noteState(row, block, changed);
    this.moveAllocation(row, previous);
  }

  /**
   * Writes the new allocations at these positions of a block of `putBlock`, all of one template. Gives the positions of
   * those that exist already, which are left alone.
   */
  putPlaced(block: PlanBlock, positions: readonly number[], commit: Commit): number[] {
    const template = block.templates[block.template(positions[0]!)]!;
    const {
      allocations,
      allocationsByNode,
      allocationsByJob,
      allocationsByEvaluation,
      allocationsByDeployment,
    } = this.tables;
    const job = Buffer.from(jobKey(template.Namespace, template.JobID)) as unknown as string;
    const evaluation = encodeId(template.EvalID) as unknown as string;
    const deployment =
      template.DeploymentID === "" ? null : (encodeId(template.DeploymentID) as unknown as string);
    const state = stateByte(template, false);
    const existing: number[] = [];
    const placed: number[] = [];
    for (const position of positions) {
      const id = block.idBytes(position);
      if (id.length !== UUID_BYTES)
        throw new CommandRefused(`allocation "${block.id(position)}": the id is no UUID`);
      if (!putNew(allocations, id as unknown as string, new PlacedRow(commit.index, position))) {
        const stored = allocations.get(id as unknown as string);
        if (stored instanceof PlacedRow && stored.index === commit.index)
          throw new CommandRefused(`plan of evaluation ${template.EvalID} places an allocation twice`);
        existing.push(position);
        continue;
      }
      allocationsByNode.putSync(block.nodeIdBytes(block.node(position)) as unknown as string, id);
      allocationsByJob.putSync(job, id);
      allocationsByEvaluation.putSync(evaluation, id);
      if (deployment !== null) allocationsByDeployment.putSync(deployment, id);
      this.blockStates.set(commit.index, position, state);
      placed.push(position);
    }
    if (placed.length === 0) return existing;
    this.touch(StateTable.Allocations);
    this.accounts.allocationsPlaced(template, placed.length);
    const canary = template.DeploymentStatus?.Canary === true;
    this.rollouts.allocationsPlaced(
      template,
      placed.length,
      commit.time,
      canary ? placed.map((at) => block.id(at)) : [],
    );
    if (!allocIsTerminal(template)) this.effects.placed.push({ block, positions: placed });
    return existing;
  }

  private noteState(row: Allocation, block: PlanBlock, { index, position, changes }: PlacedRow): void {
    const changed = outlineChanged(changes, block.isUpdate(position));
    this.blockStates.set(index, position, stateByte(row, changed));
  }

  private moveAllocation(row: Allocation, previous: Allocation | null): void {
    const { allocationsByNode, allocationsByJob, allocationsByEvaluation, allocationsByDeployment } =
      this.tables;
    const id = encodeId(row.ID);
    const jobOf = (a: Allocation): string => jobKey(a.Namespace, a.JobID);
    move(allocationsByNode, id, previous?.NodeID, row.NodeID);
    move(allocationsByJob, id, previous === null ? undefined : jobOf(previous), jobOf(row));
    move(allocationsByEvaluation, id, previous?.EvalID, row.EvalID);
    move(allocationsByDeployment, id, previous?.DeploymentID, row.DeploymentID);
    this.accounts.allocationChanged(row, previous);
    this.rollouts.allocationChanged(row, previous);
    this.noteUsage(row, previous);
  }

  removeAllocation(row: Allocation): void {
    const stored = this.tables.allocations.get(row.ID);
    if (stored instanceof PlacedRow) this.blockStates.release(stored.index, stored.position);
    this.erase(StateTable.Allocations, this.tables.allocations, row.ID);
    const { allocationsByNode, allocationsByJob, allocationsByEvaluation, allocationsByDeployment } =
      this.tables;
    const id = encodeId(row.ID);
    move(allocationsByNode, id, row.NodeID, undefined);
    move(allocationsByJob, id, jobKey(row.Namespace, row.JobID), undefined);
    move(allocationsByEvaluation, id, row.EvalID, undefined);
    move(allocationsByDeployment, id, row.DeploymentID, undefined);
    this.accounts.allocationRemoved(row);
    this.noteUsage(null, row);
    this.effects.assigned.add(row.NodeID);
  }

  /** Usage moves only when an allocation appears, ends, or changes what it holds. */
  private noteUsage(after: Allocation | null, before: Allocation | null): void {
    const live = (row: Allocation | null): Allocation | null =>
      row === null || allocIsTerminal(row) ? null : row;
    const [from, to] = [live(before), live(after)];
    if (from === null && to === null) return;
    if (from?.AllocatedResources === to?.AllocatedResources && from?.NodeID === to?.NodeID) return;
    this.effects.usage.push({ before: from, after: to });
  }

  putEvaluation(row: Evaluation, previous: Evaluation | null): void {
    this.write(StateTable.Evaluations, this.tables.evaluations, row.ID, row);
    const jobOf = (e: Evaluation): string => jobKey(e.Namespace, e.JobID);
    move(
      this.tables.evaluationsByJob,
      encodeId(row.ID),
      previous === null ? undefined : jobOf(previous),
      jobOf(row),
    );
    this.accounts.evaluationChanged(row, previous);
  }

  removeEvaluation(row: Evaluation): void {
    this.erase(StateTable.Evaluations, this.tables.evaluations, row.ID);
    move(this.tables.evaluationsByJob, encodeId(row.ID), jobKey(row.Namespace, row.JobID), undefined);
    this.accounts.evaluationRemoved(row);
  }

  putDeployment(row: Deployment, previous: Deployment | null): void {
    this.write(StateTable.Deployments, this.tables.deployments, row.ID, row);
    if (previous === null) {
      this.tables.deploymentsByJob.putSync(jobKey(row.Namespace, row.JobID), encodeId(row.ID));
    }
  }

  removeDeployment(row: Deployment): void {
    this.erase(StateTable.Deployments, this.tables.deployments, row.ID);
    move(this.tables.deploymentsByJob, encodeId(row.ID), jobKey(row.Namespace, row.JobID), undefined);
  }

  /** Writes what was counted so far, for a command that then changes the same rows itself. */
  flushDeployments(): void {
    this.rollouts.flush();
  }

  putSchedulerConfiguration(row: SchedulerConfiguration): void {
    this.write(StateTable.SchedulerConfig, this.tables.schedulerConfig, SINGLETON, row);
  }

  putAutopilotConfiguration(row: AutopilotConfiguration): void {
    this.write(StateTable.AutopilotConfig, this.tables.autopilotConfig, SINGLETON, row);
  }

  putClusterMetadata(row: ClusterMetadata): void {
    this.write(StateTable.ClusterMetadata, this.tables.clusterMetadata, SINGLETON, row);
  }

  putAgentKey(nodeId: string, row: AgentKeyRow): void {
    this.write(StateTable.AgentKeys, this.tables.agentKeys, nodeId, row);
    this.effects.agentKeys.set(nodeId, row);
  }

  putJoinToken(hash: string, row: JoinTokenRow): void {
    this.write(StateTable.JoinTokens, this.tables.joinTokens, hash, row);
    this.effects.joinTokens.set(hash, row);
  }

  removeJoinToken(hash: string): void {
    this.erase(StateTable.JoinTokens, this.tables.joinTokens, hash);
    this.effects.joinTokens.set(hash, null);
  }

  putPluginRow(plugin: string, table: string, key: string, value: unknown): void {
    this.write(StateTable.PluginRows, this.tables.pluginRows, pluginRowKey(plugin, table, key), value);
  }

  removePluginRow(plugin: string, table: string, key: string): void {
    this.erase(StateTable.PluginRows, this.tables.pluginRows, pluginRowKey(plugin, table, key));
  }
}

/** Writes a row under a key that has none; false where there is one. */
function putNew<Row>(database: Database<Row, string>, key: string, row: Row): boolean {
  return database.putSync(key, row, NEW_ONLY) as unknown as boolean;
}

function childKey(job: Job): string {
  return `${jobKey(job.Namespace, job.ParentID)}\0${job.ID}`;
}

/** Moves an id from one key of an index to another; an empty key has no entries. */
function move(
  index: Database<Uint8Array, string>,
  id: Uint8Array,
  from: string | undefined,
  to: string | undefined,
): void {
  if (from === to) return;
  if (from !== undefined && from !== "") index.removeSync(from, id);
  if (to !== undefined && to !== "") index.putSync(to, id);
}
