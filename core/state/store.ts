/** The state store: owner of the LMDB environment, of what is derived from it in memory, and of those who watch it. */
import { statSync } from "node:fs";
import { join } from "node:path";
import {
  type ColumnBuffers,
  type Logger,
  type StateReader,
  type StateSnapshot,
  StateTable,
} from "@drover/plugin-sdk";
import type { RootDatabase } from "lmdb";
import { NodeColumnsWriter, type NodeUsage } from "./columns.js";
import { storageError } from "./errors.js";
import { DATA_FILE } from "./read/environment.js";
import {
  type JoinTokenRow,
  type OpenTables,
  SCHEMA_VERSION,
  type TableIndexes,
  type Tables,
} from "./read/schema.js";
import { LmdbSnapshot } from "./read/snapshot.js";
import { StateEnvironment } from "./state-environment.js";
import { StateFolder } from "./state-folder.js";
import { type AssignmentChanges, type Effects, StateTransaction } from "./transaction.js";
import { Watchers } from "./watchers.js";

export interface StateStoreOptions {
  /** Folder of the LMDB environment, `<data_dir>/server/state`. */
  readonly path: string;
  /** Region of the servers; a folder of another region is refused. Default `global`. */
  readonly region?: string;
  readonly log?: Logger;
  /** Wait for the disk at every commit. Default false: the raft log is the durable truth. */
  readonly durable?: boolean;
  /** Id of the machine's boot, for tests. Default: the kernel's. */
  readonly bootId?: string;
}

/** Told of nodes whose assignment changed, after the commit; null: of any node. Must not throw. */
export type AssignmentListener = (changed: AssignmentChanges | null) => void;

export class StateStore implements StateReader {
  /** Shared memory of the node columns, for worker threads. */
  readonly columns: ColumnBuffers;
  private readonly watchers = new Watchers();
  private readonly columnsWriter: NodeColumnsWriter;
  private applied = 0;
  private restored = 0;
  private tableIndexes: TableIndexes = {};
  private keys = new Map<string, Uint8Array>();
  private tokens = new Map<string, JoinTokenRow>();
  private assignmentListener: AssignmentListener = () => undefined;
  /** Snapshots of this thread that are still open. */
  private readonly snapshots = new Set<LmdbSnapshot>();
  /** Environments that were left, until they are closed. */
  private closing: Promise<void> = Promise.resolve();
  private closed = false;

  private constructor(
    readonly path: string,
    readonly region: string,
    /**
     * True when the state had to be dropped because the machine stopped while it was written: `index()` is 0, and
     * consensus restores the last snapshot and the log.
     */
    readonly needsRebuild: boolean,
    private readonly folder: StateFolder,
    private environment: StateEnvironment,
    private readonly durable: boolean,
    private readonly log: Logger | undefined,
  ) {
    this.columnsWriter = new NodeColumnsWriter(log);
    this.columns = this.columnsWriter.buffers;
    this.reload();
  }

  /** Throws with folder, what was found and what was expected for a folder of another region or a newer version. */
  static open(options: StateStoreOptions): StateStore {
    const { path, region = "global", log, durable = false } = options;
    const folder =
      options.bootId === undefined ? new StateFolder(path) : new StateFolder(path, options.bootId);
    const whole = folder.prepare();
    if (!whole) {
      log?.warn(
        { path },
        "the machine stopped while the state was written; rebuilding it from snapshot and log",
      );
    }
    let environment: StateEnvironment | undefined;
    try {
      environment = StateEnvironment.open(folder.environment, durable);
      initialize(environment.env, environment.tables, path, region);
      folder.markOpen();
      return new StateStore(path, region, !whole, folder, environment, durable, log);
    } catch (error) {
      void environment?.close();
      throw storageError(error, path);
    }
  }

  /** Of the environment in force. */
  get env(): RootDatabase {
    return this.environment.env;
  }

  get tables(): OpenTables {
    return this.environment.tables;
  }

  index(): number {
    return this.applied;
  }

  /**
   * Index at which an operator put a copy of another time in force, 0 where nobody did. Rows are older than that, and what
   * others took down of the state before it may be newer.
   */
  restoredIndex(): number {
    return this.restored;
  }

  snapshot(): StateSnapshot {
    return this.view();
  }

  /** A snapshot with the reads that only servers need. */
  view(): LmdbSnapshot {
    if (this.closed) throw new Error(`the state store at ${this.path} is closed`);
    const { env, tables } = this.environment;
    const release = this.environment.hold();
    try {
      const snapshot = LmdbSnapshot.take(env, tables, (gone) => {
        this.snapshots.delete(gone);
        release();
      });
      this.snapshots.add(snapshot);
      return snapshot;
    } catch (error) {
      release();
      throw error;
    }
  }

  async waitForIndex(index: number, timeout: number, signal?: AbortSignal): Promise<void> {
    if (this.applied >= index) return;
    await this.watchers.wait((applied) => applied >= index, {
      signal,
      timeout,
      what: `index ${index} of the state (it is at ${this.applied})`,
    });
  }

  async waitForChange(tables: readonly StateTable[], index: number, signal: AbortSignal): Promise<void> {
    const changed = (): boolean => tables.some((table) => (this.tableIndexes[table] ?? 0) > index);
    if (changed()) return;
    await this.watchers.wait((_, touched) => tables.some((table) => touched.has(table)) && changed(), {
      signal,
      what: `a change of ${tables.join(", ")}`,
    });
  }

  onApplied(listener: (index: number, tables: ReadonlySet<StateTable>) => void): () => void {
    return this.watchers.onApplied(listener);
  }

  /** Bytes that the state takes on disk. */
  bytesOnDisk(): number {
    return statSync(join(this.environment.path, DATA_FILE)).size;
  }

  /**
   * On every server, whichever one wrote: what a batch changed of what nodes should run. The batch itself knows, so that
   * nothing is read or decoded again for it.
   */
  onAssignments(listener: AssignmentListener): void {
    this.assignmentListener = listener;
  }

  /** What the nodes have and what is taken of it, as of the last commit; the arrays change with each one. */
  get usage(): NodeUsage {
    return this.columnsWriter;
  }

  /** Public key that a node enrolled with. In memory: it is asked for with every payload. */
  nodeKey(nodeId: string): Uint8Array | undefined {
    return this.keys.get(nodeId);
  }

  /** A join token by the SHA-256 of its secret, hex. */
  joinToken(hash: string): JoinTokenRow | undefined {
    return this.tokens.get(hash);
  }

  /**
   * Runs `work` in one LMDB transaction, all or nothing, and then brings everything derived in step. `index` is the
   * last one that the batch applies.
   */
  commit<T>(index: number, work: (txn: StateTransaction) => T): T {
    const txn = new StateTransaction(this.tables);
    let result: T;
    try {
      result = this.env.transactionSync(() => {
        const value = work(txn);
        txn.finish(index);
        return value;
      });
    } catch (error) {
      // Blocks of plans that were undone must not be found under the index that comes next.
      txn.forgetBlocks();
      throw storageError(error, this.path);
    }
    this.applied = index;
    const changed = txn.changedTables();
    for (const [table, at] of changed) this.tableIndexes[table] = at;
    this.takeOver(txn.effects);
    this.tell(new Set(changed.keys()));
    const { assigned } = txn.effects;
    if (!assigned.isEmpty) this.assignmentListener(assigned);
    return result;
  }

  /** Writes a compact copy of the environment to `folder`, at one index, while the state goes on changing. */
  async copyTo(folder: string): Promise<void> {
    const release = this.environment.hold();
    try {
      await this.env.backup(folder, true);
    } finally {
      release();
    }
  }

  /**
   * Puts a copy of an environment, the file `data`, in the place of the state, after `adapt` has changed its own facts. The
   * rows are not touched one by one, so that the event loop has its turns. Readers keep the snapshots that they have; the next
   * ones are of the copy. All tables count as changed. Nothing must be committed meanwhile. When this rejects because the disk
   * does, the state is as it was.
   */
  async replace(data: string, adapt: (meta: Tables["meta"]) => void): Promise<void> {
    const before = this.environment;
    let name: string | undefined;
    let next: StateEnvironment | undefined;
    try {
      name = await this.folder.copyIn(data);
      next = StateEnvironment.open(this.folder.pathOf(name), this.durable);
      const { meta } = next.tables;
      next.env.transactionSync(() => {
        // The copy may be one of an environment that was left just then.
        meta.removeSync("left");
        adapt(meta);
      });
      this.folder.switchTo(name);
    } catch (error) {
      await next?.close();
      if (name !== undefined) await this.folder.discard(name);
      throw storageError(error, this.path);
    }
    before.leave();
    this.environment = next;
    this.closing = this.closing.then(() => before.close());
    this.reload();
    this.tell(new Set(Object.values(StateTable)));
    this.assignmentListener(null);
    try {
      await this.folder.sweep();
    } catch (error) {
      this.log?.warn(
        { path: this.path, error },
        "the state that was replaced could not be removed from the disk",
      );
    }
  }

  /** Waits for the disk and closes, with the snapshots that this thread still has open; those of others must be closed. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.watchers.close();
    for (const snapshot of this.snapshots) snapshot.close();
    try {
      await this.closing;
      await synced(this.env);
      await this.environment.close();
      this.folder.markClean();
    } catch (error) {
      throw storageError(error, this.path);
    }
  }

  private reload(): void {
    const rows = this.environment.newest;
    this.applied = rows.appliedIndex();
    this.restored = rows.restoredIndex();
    this.tableIndexes = { ...rows.tableIndexes() };
    this.keys = new Map([...rows.agentKeys()].map(({ key, value }) => [key, decodeKey(value.PublicKey)]));
    this.tokens = new Map([...rows.joinTokens()].map(({ key, value }) => [key, value]));
    this.columnsWriter.rebuild(rows.nodes(), rows.liveInBlocks(), rows.allocationsElsewhere());
  }

  private takeOver(effects: Effects): void {
    for (const [nodeId, row] of effects.agentKeys) this.keys.set(nodeId, decodeKey(row.PublicKey));
    for (const [hash, row] of effects.joinTokens) {
      if (row === null) this.tokens.delete(hash);
      else this.tokens.set(hash, row);
    }
    this.columnsWriter.apply(effects, (nodeId) => this.environment.newest.allocationsByNode(nodeId));
  }

  private tell(changed: ReadonlySet<StateTable>): void {
    this.watchers.notify(this.applied, changed, (error) => {
      this.log?.error({ error }, "a listener of state changes failed");
    });
  }
}

function decodeKey(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, "base64"));
}

/** Writes schema version and region into a new store, and checks those of an old one. */
function initialize(env: RootDatabase, tables: Tables, path: string, region: string): void {
  env.transactionSync(() => {
    const schema = tables.meta.get("schema");
    if (schema === undefined) {
      tables.meta.putSync("schema", SCHEMA_VERSION);
      tables.meta.putSync("region", region);
      tables.meta.putSync("applied", 0);
      return;
    }
    if (typeof schema !== "number" || schema > SCHEMA_VERSION) {
      throw new Error(
        `state at ${path} has schema version ${String(schema)}, expected ${SCHEMA_VERSION}: it was written by a newer version of Drover`,
      );
    }
    // What an older version wrote is read as it is; from here on it may hold rows that the older version can't read.
    if (schema < SCHEMA_VERSION) tables.meta.putSync("schema", SCHEMA_VERSION);
    const found = tables.meta.get("region");
    if (found !== region) {
      throw new Error(
        `state at ${path} belongs to region "${String(found)}", expected "${region}": use another data_dir or correct the region`,
      );
    }
  });
}

function synced(env: RootDatabase): Promise<void> {
  return new Promise((resolve, reject) => {
    const { sync } = env as RootDatabase & { sync(done: (error?: Error) => void): void };
    sync.call(env, (error) => (error ? reject(storageErrorOf(error)) : resolve()));
  });
}

function storageErrorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
