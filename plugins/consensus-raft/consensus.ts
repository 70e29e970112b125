import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type AgentInfo,
  type Consensus,
  type LeadershipListener,
  type LogEntry,
  type Logger,
  type Metrics,
  NotLeaderError,
  type Peer,
  type PeerProgress,
  type Proposed,
  type SnapshotInfo,
  type StateMachine,
} from "@drover/plugin-sdk";
import {
  DiskFullError,
  LogDamagedError,
  loadNodeId,
  OutcomeUnknownError,
  Proposals,
  SnapshotStore,
} from "@drover/plugin-sdk/consensus";
import type { RaftConfig } from "./config.js";
import { parseConfiguration, voters } from "./core/configuration.js";
import { RaftCore } from "./core/raft-core.js";
import type { Effects, Entry, SnapshotMeta } from "./core/types.js";
import { LmdbLogStore } from "./lmdb-log-store.js";
import type { LogStore } from "./log-store.js";
import { MemoryLogStore } from "./memory-log-store.js";
import { recover } from "./recovery.js";

export interface RaftDependencies {
  readonly agent: Pick<AgentInfo, "dataDir" | "devMode" | "advertise">;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly config: RaftConfig;
  /** Replaces the log that the agent's mode calls for. */
  readonly logStore?: LogStore;
}

/** Snapshots kept. */
const RETAIN = 2;
/** Bytes of committed entries taken from the core at once. */
const APPLY_BYTES = 4 * 1024 * 1024;
/** Entries and bytes given to the state machine at once; between two batches the event loop has its turn. */
const APPLY_ENTRIES = 256;
const APPLY_BATCH_BYTES = 12 * 1024;
const NO_DATA = new Uint8Array(0);

interface Waiter {
  resolve(index: number): void;
  reject(error: Error): void;
}

/** Everything that exists between `start` and `stop`. */
interface Running {
  readonly machine: StateMachine;
  readonly core: RaftCore;
  readonly store: LogStore;
  readonly ticks: NodeJS.Timeout;
}

/**
 * The shell around the Raft core: it gives the core time, writes what the core wants durable, applies what the core has
 * committed, and answers proposals. One server today; the core's messages to others have no network yet, so a log that
 * names other servers is refused at start.
 */
export class RaftConsensus implements Consensus {
  readonly membership = undefined;
  #id: string | undefined;
  #fatal: (error: Error) => void = (error) => {
    throw error;
  };
  #running: Running | undefined;
  #failure: Error | undefined;
  #stopping = false;
  #pump: Promise<void> | undefined;
  readonly #proposals: Proposals;
  readonly #listeners = new Set<LeadershipListener>();
  /** Reads that the core has not answered yet, by context. */
  readonly #reads = new Map<number, Waiter>();
  #readContext = 0;
  /** Answered reads whose index is not applied yet. */
  #applyWaiters: { readonly index: number; readonly waiter: Waiter }[] = [];
  /** `start`, until this server leads. */
  #leadWaiter: Waiter | undefined;
  #leading = false;
  #diskFull = false;

  readonly #snapshots: SnapshotStore<SnapshotMeta>;
  #snapshotting: Promise<void> | undefined;
  #snapshot: SnapshotMeta | null = null;
  #entriesSinceSnapshot = 0;
  #bytesSinceSnapshot = 0;
  #snapshotAt = Number.NEGATIVE_INFINITY;
  /** New start of the log, to be written with the next change. */
  #pendingBase: SnapshotMeta | null = null;

  constructor(private readonly deps: RaftDependencies) {
    this.#proposals = new Proposals(deps.config);
    this.#snapshots = new SnapshotStore(
      join(this.#folder, "snapshots"),
      RETAIN,
      deps.log,
      ({ index, term, configuration }): SnapshotMeta => ({
        index,
        term,
        configuration: parseConfiguration(configuration),
      }),
    );
  }

  get #folder(): string {
    return join(this.deps.agent.dataDir, "server");
  }

  /** Reads or makes this server's id; `fatal` is told of errors after which the server can't go on. */
  async prepare(fatal: (error: Error) => void): Promise<void> {
    this.#fatal = fatal;
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    this.#id = await loadNodeId(join(this.#folder, "node-id"));
  }

  get id(): string {
    if (this.#id === undefined) throw new Error("consensus-raft has no id before its plugin has started");
    return this.#id;
  }

  async start(machine: StateMachine): Promise<void> {
    if (this.#running !== undefined) throw new Error("consensus-raft is already started");
    const { config, log, agent } = this.deps;
    const store = this.deps.logStore ?? this.#createStore();
    const self = { id: this.id, address: agent.advertise.rpc, voter: true };
    try {
      const stored = await store.open({ index: 0, term: 0, configuration: { servers: [self] } });
      await this.#snapshots.open();
      const snapshot = await recover(machine, stored, store, this.#snapshots, log);
      this.#snapshot = snapshot?.meta ?? null;
      const applied = machine.lastApplied();
      const core = new RaftCore(
        {
          id: this.id,
          electionTicks: config.election_ticks,
          heartbeatTicks: config.heartbeat_ticks,
          maxAppendBytes: 1024 * 1024,
          maxInflightAppends: 64,
          maxApplyBytes: APPLY_BYTES,
          random: Math.random,
        },
        { ...stored, snapshot: this.#snapshot, applied },
      );
      this.#checkConfiguration(core, store);
      for (const entry of stored.entries) {
        if (entry.index > (this.#snapshot?.index ?? 0) && entry.index <= applied) this.#countApplied(entry);
      }
      // Timers are monotonic: a clock that is set back changes nothing here.
      const ticks = setInterval(() => this.#tick(), config.tick_interval);
      ticks.unref();
      this.#running = { machine, core, store, ticks };
      // Nobody else can lead, so there is no election timeout to wait for.
      core.campaign();
      const led = new Promise<number>((resolve, reject) => {
        this.#leadWaiter = { resolve, reject };
      });
      this.#wake();
      await led;
      await this.barrier();
      log.info(
        { id: this.id, term: core.term, index: core.commit },
        "raft log is open and this server leads",
      );
    } catch (error) {
      if (this.#running === undefined) await store.close();
      else await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    const running = this.#running;
    if (running === undefined || this.#stopping) return;
    this.#stopping = true;
    clearInterval(running.ticks);
    // What is under way ends in its own way; nothing new is let in.
    while (this.#pump !== undefined) await this.#pump;
    await this.#snapshotting;
    this.#rejectAll(new OutcomeUnknownError("the server stopped before the command was committed"));
    this.#setLeading(false, running.core.term);
    if (this.#failure === undefined) {
      try {
        await running.store.write({
          hardState: running.core.hardState,
          entries: [],
          base: this.#pendingBase,
        });
      } catch (error) {
        this.deps.log.warn(
          { error: (error as Error).message },
          "commit index was not saved; it is found again at start",
        );
      }
    }
    await running.store.close();
    this.#pendingBase = null;
    this.#failure = undefined;
    this.#running = undefined;
    this.#stopping = false;
  }

  async propose(command: Uint8Array): Promise<Proposed> {
    const core = this.#leaderCore();
    this.#proposals.admit(command.length);
    const outcome = core.propose([command]);
    if ("refused" in outcome) throw new NotLeaderError(this.leader());
    this.deps.metrics.increment("nomad.raft.apply");
    const proposed = this.#proposals.add(outcome.index, command.length);
    this.#wake();
    return proposed;
  }

  async barrier(): Promise<number> {
    if (this.#running === undefined || this.#stopping) throw new NotLeaderError(undefined);
    if (this.#failure !== undefined) throw this.#failure;
    const context = ++this.#readContext;
    const answered = new Promise<number>((resolve, reject) => this.#reads.set(context, { resolve, reject }));
    this.#running.core.readIndex(context);
    this.#wake();
    return answered;
  }

  isLeader(): boolean {
    return this.#leading;
  }

  leader(): Peer | undefined {
    return this.peers().find((peer) => peer.leader);
  }

  term(): number {
    return this.#running?.core.term ?? 0;
  }

  peers(): readonly Peer[] {
    const { agent } = this.deps;
    const servers = this.#running?.core.configuration.servers ?? [];
    return servers.map(({ id, address, voter }) => ({
      id,
      // The log keeps the address of the day the server joined; its own is known better.
      address: id === this.#id ? agent.advertise.rpc : address,
      voter,
      leader: this.#leading && id === this.#id,
    }));
  }

  progress(): readonly PeerProgress[] {
    const running = this.#running;
    if (running === undefined || !this.#leading) return [];
    const { core } = running;
    const { lastIndex } = core;
    return [{ id: this.id, lastContact: 0, lastIndex, lastTerm: core.entryTerm(lastIndex) ?? 0 }];
  }

  async transferLeadership(): Promise<void> {
    this.#leaderCore();
    throw new Error("there is no other voter to hand leadership to");
  }

  async saveSnapshot(folder: string): Promise<SnapshotInfo> {
    const running = this.#running;
    if (running === undefined || this.#stopping) throw new NotLeaderError(undefined);
    const index = await running.machine.snapshot(folder);
    const { term, configuration } = running.core.describe(index);
    return { index, term, peers: configuration.servers };
  }

  async restoreSnapshot(): Promise<number> {
    this.#leaderCore();
    throw new Error("consensus-raft restores a snapshot at start only");
  }

  onLeadership(listener: LeadershipListener): () => void {
    this.#listeners.add(listener);
    this.#notify(listener, this.#leading, this.term());
    return () => this.#listeners.delete(listener);
  }

  /** The keys of Nomad's `raft` stats. */
  stats(): Readonly<Record<string, string | number>> {
    const running = this.#running;
    if (running === undefined) return { state: "Shutdown" };
    const { core, machine } = running;
    const applied = machine.lastApplied();
    return {
      applied_index: applied,
      commit_index: core.commit,
      fsm_pending: Math.max(0, core.commit - applied),
      last_contact: this.#leading ? 0 : "never",
      last_log_index: core.lastIndex,
      last_log_term: core.entryTerm(core.lastIndex) ?? 0,
      last_snapshot_index: this.#snapshot?.index ?? 0,
      last_snapshot_term: this.#snapshot?.term ?? 0,
      num_peers: Math.max(0, voters(core.configuration).length - 1),
      proposals_pending: this.#proposals.count,
      state: this.#leading ? "Leader" : core.role === "follower" ? "Follower" : "Candidate",
      term: core.term,
    };
  }

  // --- the loop -----------------------------------------------------------------------------------------------------

  #createStore(): LogStore {
    const { agent, config } = this.deps;
    if (agent.devMode) return new MemoryLogStore();
    return new LmdbLogStore({ folder: join(this.#folder, "raft"), minFreeBytes: config.min_free_bytes });
  }

  /** The log must be this server's own: alone in its configuration, with a vote. */
  #checkConfiguration(core: RaftCore, store: LogStore): void {
    const { servers } = core.configuration;
    if (servers.length === 1 && servers[0]!.id === this.id && servers[0]!.voter) return;
    const names = servers.map((server) => server.id).join(", ") || "nobody";
    throw new LogDamagedError(
      `the raft log in ${store.location} belongs to ${names}, and this server is ${this.id} (${join(this.#folder, "node-id")}); restore the node-id that belongs to the log`,
    );
  }

  #leaderCore(): RaftCore {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#running === undefined || this.#stopping || !this.#leading)
      throw new NotLeaderError(this.leader());
    return this.#running.core;
  }

  #tick(): void {
    this.#running?.core.tick();
    if (this.#hasWork()) this.#wake();
  }

  #hasWork(): boolean {
    return this.#running !== undefined && (this.#running.core.hasEffects || this.#pendingBase !== null);
  }

  /** Runs the loop unless it runs already; proposals of one turn of the event loop go into one write. */
  #wake(): void {
    if (this.#pump !== undefined || this.#failure !== undefined || this.#running === undefined) return;
    this.#pump = this.#loop(this.#running);
  }

  async #loop(running: Running): Promise<void> {
    try {
      await Promise.resolve();
      while (this.#hasWork()) await this.#turn(running);
    } catch (error) {
      if (error instanceof DiskFullError) this.#onDiskFull(running, error);
      else this.#fail(error as Error);
    } finally {
      // In the same step as the last look for work, so that nothing can be proposed in between and wait for a tick.
      this.#pump = undefined;
    }
  }

  /** One round: the disk writes the new entries while the machine applies what the last round made durable. */
  async #turn(running: Running): Promise<void> {
    const { core, store } = running;
    const effects = core.takeEffects();
    if (effects.messages.length > 0 || effects.messagesAfterPersist.length > 0 || effects.snapshot !== null) {
      throw new Error("raft: a message to another server, and this server is alone");
    }
    const written = this.#write(store, effects).then(
      () => undefined,
      (error: Error) => error,
    );
    try {
      await this.#apply(running, effects.committed);
      if (effects.leadership !== null) {
        this.#setLeading(effects.leadership.role === "leader", effects.leadership.term);
      }
      for (const { context, index } of effects.reads) this.#answerRead(running, context, index);
    } finally {
      // Never leave a write behind: the log is used by one at a time.
      await written;
    }
    const error = await written;
    if (error !== undefined) throw error;
    core.persisted();
    this.#considerSnapshot(running);
  }

  async #write(store: LogStore, effects: Effects): Promise<void> {
    const base = this.#pendingBase;
    if (effects.entries.length === 0 && !effects.hardStateMustSync && base === null) return;
    const started = performance.now();
    await store.write({ hardState: effects.hardState, entries: effects.entries, base });
    if (this.#pendingBase === base) this.#pendingBase = null;
    if (this.#diskFull) {
      this.#diskFull = false;
      this.deps.log.info({ folder: store.location }, "raft log is written again");
    }
    this.deps.metrics.sample("nomad.raft.leader.dispatchLog", performance.now() - started);
    this.deps.metrics.sample("nomad.raft.leader.dispatchNumLogs", effects.entries.length);
  }

  async #apply(running: Running, entries: readonly Entry[]): Promise<void> {
    for (let from = 0, to = 0; from < entries.length; from = to) {
      if (from > 0) await nextTurn();
      to = batchEnd(entries, from);
      const batch = entries.slice(from, to);
      const started = performance.now();
      const results = running.machine.apply(
        batch.map(
          ({ index, term, kind, data }): LogEntry => ({
            index,
            term,
            data: kind === "command" ? data : NO_DATA,
          }),
        ),
      );
      if (results.length !== batch.length) {
        throw new Error(`the state machine gave ${results.length} results for ${batch.length} entries`);
      }
      this.deps.metrics.sample("nomad.raft.fsm.apply", performance.now() - started);
      batch.forEach((entry, position) => {
        this.#countApplied(entry);
        const took = this.#proposals.settle(entry.index, results[position]);
        if (took !== undefined) this.deps.metrics.sample("nomad.raft.commitTime", took);
      });
      this.#releaseWaiters(batch.at(-1)!.index);
    }
  }

  #answerRead(running: Running, context: number, index: number | null): void {
    const waiter = this.#reads.get(context);
    if (waiter === undefined) return;
    this.#reads.delete(context);
    if (index === null) waiter.reject(new NotLeaderError(this.leader()));
    else if (index <= running.machine.lastApplied()) waiter.resolve(index);
    else this.#applyWaiters.push({ index, waiter });
  }

  #releaseWaiters(applied: number): void {
    if (this.#applyWaiters.length === 0) return;
    const waiting = this.#applyWaiters;
    this.#applyWaiters = waiting.filter(({ index }) => index > applied);
    for (const { index, waiter } of waiting) if (index <= applied) waiter.resolve(index);
  }

  // --- leadership ---------------------------------------------------------------------------------------------------

  #setLeading(leading: boolean, term: number): void {
    if (leading === this.#leading) return;
    this.#leading = leading;
    if (leading) {
      this.#leadWaiter?.resolve(term);
      this.#leadWaiter = undefined;
    }
    this.deps.metrics.increment(leading ? "nomad.raft.state.leader" : "nomad.raft.state.follower");
    for (const listener of [...this.#listeners]) this.#notify(listener, leading, term);
  }

  #notify(listener: LeadershipListener, leading: boolean, term: number): void {
    try {
      listener(leading, term);
    } catch (error) {
      this.deps.log.error({ error: (error as Error).stack }, "a leadership listener failed");
    }
  }

  // --- failures -----------------------------------------------------------------------------------------------------

  /** Nothing of the write is on disk and nobody else has seen it, so its proposals are refused for certain. */
  #onDiskFull(running: Running, error: DiskFullError): void {
    if (!this.#diskFull) {
      this.#diskFull = true;
      this.deps.log.error({ folder: running.store.location }, error.message);
    }
    this.deps.metrics.increment("nomad.raft.disk_full");
    running.core.rollback();
    this.#proposals.rejectAfter(running.core.stableIndex, error);
    // Without leadership no read can be answered before the disk has room.
    if (running.core.role !== "leader") this.#rejectReads(error);
  }

  /** The log or the state can't be trusted any more: no command is answered from here on, and the server goes down. */
  #fail(error: Error): void {
    this.#failure = error;
    this.deps.log.error({ error: error.stack }, "raft can't go on");
    this.#rejectAll(new OutcomeUnknownError(`raft can't go on: ${error.message}`, { cause: error }));
    this.#setLeading(false, this.term());
    this.#fatal(error);
  }

  #rejectAll(error: Error): void {
    this.#proposals.rejectAfter(0, error);
    this.#rejectReads(error);
  }

  #rejectReads(error: Error): void {
    const waiters = [...this.#reads.values(), ...this.#applyWaiters.map(({ waiter }) => waiter)];
    this.#reads.clear();
    this.#applyWaiters = [];
    if (this.#leadWaiter !== undefined) waiters.push(this.#leadWaiter);
    this.#leadWaiter = undefined;
    for (const waiter of waiters) waiter.reject(error);
  }

  // --- snapshots ----------------------------------------------------------------------------------------------------

  #countApplied(entry: Entry): void {
    this.#entriesSinceSnapshot++;
    this.#bytesSinceSnapshot += entry.data.length;
  }

  #considerSnapshot(running: Running): void {
    const { snapshot_threshold, snapshot_bytes, snapshot_interval } = this.deps.config;
    if (this.#snapshotting !== undefined || this.#stopping) return;
    const many = this.#entriesSinceSnapshot >= snapshot_threshold;
    const due = many && performance.now() - this.#snapshotAt >= snapshot_interval;
    if (!due && this.#bytesSinceSnapshot < snapshot_bytes) return;
    this.#entriesSinceSnapshot = 0;
    this.#bytesSinceSnapshot = 0;
    this.#snapshotAt = performance.now();
    this.#snapshotting = this.#takeSnapshot(running).finally(() => {
      this.#snapshotting = undefined;
    });
  }

  async #takeSnapshot({ machine, core }: Running): Promise<void> {
    const { log, metrics, config } = this.deps;
    const started = performance.now();
    try {
      const snapshot = await this.#snapshots.create(
        (folder) => machine.snapshot(folder),
        (index) => core.describe(index),
      );
      const point = core.compactionPoint(snapshot.index, config.trailing_logs, config.trailing_bytes);
      if (point > core.baseIndex) this.#pendingBase = core.describe(point);
      core.compact(snapshot, point);
      this.#snapshot = snapshot;
      const took = performance.now() - started;
      metrics.sample("nomad.raft.snapshot.persist", took);
      log.info(
        { index: snapshot.index, log_start: core.baseIndex + 1, milliseconds: Math.round(took) },
        "took a snapshot",
      );
      this.#wake();
    } catch (error) {
      // The log still has everything; the next threshold tries again.
      log.error({ error: (error as Error).message }, "snapshot failed; the log is kept until one succeeds");
      metrics.increment("nomad.raft.snapshot.failed");
    }
  }
}

/** Where a batch that begins at `from` ends: it has one entry at least. */
function batchEnd(entries: readonly Entry[], from: number): number {
  let to = from;
  for (let bytes = 0; to < entries.length && to - from < APPLY_ENTRIES; to++) {
    bytes += entries[to]!.data.length;
    if (bytes > APPLY_BATCH_BYTES && to > from) break;
  }
  return to;
}
