import { randomUUID } from "node:crypto";
import { join } from "node:path";
import {
  type AgentInfo,
  type LogEntry,
  type Logger,
  type Metrics,
  NotLeaderError,
  type Peer,
  type PeerProgress,
  type Proposed,
  type ServerNetwork,
  type SnapshotInfo,
  type StateMachine,
} from "@drover/plugin-sdk";
import type { RestoreReference } from "@drover/plugin-sdk/consensus";
import { Applier } from "./applier.js";
import { EtcdClient } from "./client.js";
import { compactionPoint, TrailingSizes } from "./compaction.js";
import type { EtcdConfig } from "./config.js";
import { ControlView } from "./control-view.js";
import { EtcdFailure } from "./failures.js";
import { joinCluster, type Mark, writeMark } from "./identity.js";
import { Keys } from "./keys.js";
import { Leadership } from "./leadership.js";
import { LogReader } from "./log-reader.js";
import type { ServerRecord } from "./records.js";
import { type Beat, Registration } from "./registration.js";
import { Restoring } from "./restoring.js";
import { SnapshotExchange } from "./snapshot-exchange.js";
import { SnapshotSchedule } from "./snapshot-schedule.js";
import { Snapshots } from "./snapshots.js";

export interface EngineParts {
  readonly id: string;
  readonly agent: Pick<AgentInfo, "dataDir" | "region" | "advertise">;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly config: EtcdConfig;
  /** Undefined where servers have no network among themselves: then none can give another one a snapshot. */
  readonly network: ServerNetwork | undefined;
  readonly machine: StateMachine;
  notify(leader: boolean, term: number): void;
  /** Told once, when this server can't go on. */
  onFatal(error: Error): void;
}

/** Everything that exists between `start` and `stop`. */
export class Engine {
  readonly #folder: string;
  readonly #self: Pick<ServerRecord, "id" | "address" | "instance">;
  readonly #snapshots: Snapshots;
  readonly #schedule: SnapshotSchedule;
  readonly #sizes = new TrailingSizes();
  readonly #applier: Applier;
  readonly #reader: LogReader;
  readonly #view: ControlView;
  readonly #registration: Registration;
  readonly #leadership: Leadership;
  readonly #restoring: Restoring;
  readonly #exchange: SnapshotExchange | undefined;
  readonly #ended = new AbortController();
  readonly #tasks: Promise<void>[] = [];
  #unserve: () => void = () => undefined;
  #compacting: Promise<void> | undefined;
  #compacted = 0;
  #last: Beat | undefined;
  #failure: Error | undefined;
  #term = 0;
  /** Rejects `start` while that waits for the first catching up. */
  #failStart: ((error: Error) => void) | undefined;
  #started: () => void = () => undefined;

  private constructor(
    private readonly parts: EngineParts,
    private readonly client: EtcdClient,
    private readonly joined: { readonly value: Buffer; readonly mark: Mark },
    keys: Keys,
  ) {
    const { agent, config, id, log, machine, metrics } = parts;
    this.#folder = folderOf(agent.dataDir);
    this.#self = { id, address: agent.advertise.rpc, instance: randomUUID() };
    const onFatal = (error: Error) => this.#fail(error);
    this.#snapshots = new Snapshots(this.#folder, log);
    this.#applier = new Applier({
      machine,
      metrics,
      restore: async (reference, index) => {
        await this.#restoring.restore(reference, index, this.#ended.signal);
        this.#schedule.force();
      },
      onApplied: (entry, result) => this.#onApplied(entry, result),
      onFatal,
    });
    const termOf = (index: number) => this.#applier.termOf(index);
    this.#schedule = new SnapshotSchedule({
      config,
      log,
      metrics,
      take: () => this.#snapshots.take(machine, termOf),
      onTaken: () => {
        this.#registration.hurry();
        return this.#remember();
      },
    });
    this.#view = new ControlView(client, keys, log, () => this.#onChange(), onFatal);
    this.#exchange =
      parts.network === undefined
        ? undefined
        : new SnapshotExchange({
            network: parts.network,
            snapshots: this.#snapshots,
            log,
            isServer: (address) => this.#view.servers.some((server) => server.address === address),
            machine,
            termOf,
          });
    this.#restoring = new Restoring({
      machine,
      snapshots: this.#snapshots,
      exchange: this.#exchange,
      log,
      others: () => this.#others(),
      onWaiting: () => this.#started(),
    });
    this.#reader = new LogReader(
      {
        client,
        keys,
        applier: this.#applier,
        log,
        recover: async (base, signal) => {
          this.#applier.jumpTo(await this.#restoring.recover(base.index, signal));
        },
        onFatal,
      },
      () => {
        this.#leadership.ready();
        this.#applier.untilApplied(this.#applier.enqueued, this.#ended.signal).then(
          () => this.#started(),
          // Stopped, or failed: then `start` is told of that.
          () => undefined,
        );
      },
    );
    this.#registration = new Registration({
      client,
      keys,
      log,
      leaseTtl: config.lease_ttl,
      cluster: joined.value,
      describe: () => this.#describe(),
      onWritten: (key, value, revision) => this.#view.learn(key, value, revision),
      onBeat: (beat) => this.#onBeat(beat),
      onExpired: () => this.#leadership.stepDown("the lease ran out"),
      onFatal,
    });
    this.#leadership = new Leadership({
      client,
      keys,
      config,
      log,
      metrics,
      self: this.#self,
      cluster: joined.value,
      view: this.#view,
      registration: this.#registration,
      reader: this.#reader,
      applier: this.#applier,
      leader: () => this.leader(),
      notify: (leader, term) => {
        this.#term = Math.max(this.#term, term);
        parts.notify(leader, term);
      },
      onFatal,
    });
  }

  /**
   * Connects, takes this server's place, and applies what the log has. Nothing is left behind where that fails, or is given up
   * because `signal` aborts.
   */
  static async start(parts: EngineParts, signal: AbortSignal): Promise<Engine> {
    const { config, agent, machine } = parts;
    const client = await EtcdClient.create(config);
    let engine: Engine | undefined;
    try {
      const keys = new Keys(config.prefix, agent.region);
      const joined = await client.persistently(
        config.start_timeout,
        () =>
          joinCluster({
            client,
            keys,
            region: agent.region,
            file: markFile(agent.dataDir),
            lastApplied: machine.lastApplied(),
          }),
        signal,
      );
      engine = new Engine(parts, client, joined, keys);
      await engine.#run(signal);
      return engine;
    } catch (error) {
      if (engine === undefined) client.close();
      else await engine.stop();
      throw explain(error as Error, config);
    }
  }

  async #run(startSignal: AbortSignal): Promise<void> {
    const { config } = this.parts;
    await this.#snapshots.open(this.#applier.applied);
    this.#schedule.begin((await this.#snapshots.newest())?.meta);
    await this.client.persistently(
      config.start_timeout,
      () => this.#registration.open(startSignal),
      startSignal,
    );
    if (this.#exchange !== undefined) this.#unserve = this.#exchange.serve();
    const { signal } = this.#ended;
    // A server that needs a copy of another one's state has started too: that one may start later.
    const started = new Promise<void>((resolve, reject) => {
      this.#failStart = reject;
      this.#started = resolve;
      startSignal.addEventListener("abort", () => reject(startSignal.reason as Error), { once: true });
    });
    this.#tasks.push(this.#view.run(signal), this.#registration.run(signal), this.#reader.run(signal));
    await started;
    this.#failStart = undefined;
  }

  async stop(): Promise<void> {
    await this.#leadership.stop();
    this.#ended.abort(new NotLeaderError(undefined));
    await this.#applier.stop();
    await Promise.all(this.#tasks);
    this.#unserve();
    // Before anything that may take long: others wait for the lease.
    await this.#registration.close();
    await Promise.all([this.#schedule.stop(), this.#compacting]);
    if (this.#failure === undefined) await this.#remember();
    this.client.close();
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  get leads(): boolean {
    return this.#failure === undefined && this.#leadership.leads;
  }

  get term(): number {
    return this.#term;
  }

  propose(command: Uint8Array): Promise<Proposed> {
    const { writer } = this.#leadership.current;
    const proposed = writer.propose(command);
    this.parts.metrics.increment("nomad.raft.apply");
    return proposed;
  }

  async barrier(): Promise<number> {
    const { signal } = this.#ended;
    const { lease_ttl } = this.parts.config;
    try {
      const index = await this.#reader.tailNow(() =>
        this.client.persistently(lease_ttl, () => this.#reader.bounds(), signal),
      );
      await this.#applier.untilApplied(index, signal);
      return index;
    } catch (error) {
      // Without etcd nobody can lead.
      if (error instanceof EtcdFailure && error.kind === "unavailable") throw new NotLeaderError(undefined);
      throw error;
    }
  }

  /** Undefined while this server is out of touch with etcd, for what it knows may be old. */
  leader(): Peer | undefined {
    if (!this.#registration.isValid) return undefined;
    const leader = this.#view.leader?.record;
    if (leader === undefined || (leader.id === this.#self.id && !this.leads)) return undefined;
    return { id: leader.id, address: leader.address, voter: true, leader: true };
  }

  peers(): readonly Peer[] {
    const leader = this.leader();
    return this.#view.servers.map(({ id, address }) => ({
      id,
      address,
      voter: true,
      leader: id === leader?.id,
    }));
  }

  progress(): readonly PeerProgress[] {
    if (!this.leads) return [];
    // A server is in the list while its lease lives: it was heard of, by etcd.
    return this.#view.servers.map(({ id, index, term }) =>
      id === this.#self.id
        ? { id, lastContact: 0, lastIndex: this.#applier.applied, lastTerm: this.#term }
        : { id, lastContact: 0, lastIndex: index, lastTerm: term },
    );
  }

  transferLeadership(id: string | undefined): Promise<void> {
    return this.#leadership.transfer(id);
  }

  async saveSnapshot(folder: string): Promise<SnapshotInfo> {
    const index = await this.parts.machine.snapshot(folder);
    const peers = this.peers().map(({ id, address, voter }) => ({ id, address, voter }));
    return { index, term: this.#applier.termOf(index), peers };
  }

  async restoreSnapshot(folder: string): Promise<number> {
    const { writer } = this.#leadership.current;
    // What no server could restore must not get into the log.
    const index = await this.parts.machine.verify(folder);
    const staged = await this.#snapshots.stage(folder, this.#applier.applied);
    await this.#spread(staged);
    // Rows of the copy carry indexes up to its own; what comes after it must have higher ones.
    await writer.fill(index);
    // Leadership may have been lost meanwhile; the writer then refuses.
    return (await writer.restore(staged)).index;
  }

  stats(): Readonly<Record<string, string | number>> {
    const { newest } = this.#schedule;
    const applied = this.#applier.applied;
    return {
      applied_index: applied,
      commit_index: Math.max(applied, this.#last?.tail.index ?? 0),
      etcd_revision: this.#registration.revision,
      fsm_pending: Math.max(0, this.#applier.enqueued - applied),
      last_contact: this.#registration.isValid ? 0 : "never",
      last_log_index: Math.max(applied, this.#last?.tail.index ?? 0),
      last_log_term: this.#applier.termOf(applied),
      last_snapshot_index: newest?.index ?? 0,
      last_snapshot_term: newest?.term ?? 0,
      num_peers: Math.max(0, this.#view.servers.length - 1),
      proposals_pending: this.#leadership.pending,
      state: this.leads ? "Leader" : "Follower",
      term: this.#term,
    };
  }

  /** Makes sure that a majority of the servers has the copy before the log names it: its loss would stop all of them. */
  async #spread(staged: RestoreReference): Promise<void> {
    const others = this.#view.servers.filter(({ id }) => id !== this.#self.id);
    const needed = Math.floor((others.length + 1) / 2);
    if (needed === 0) return;
    const exchange = this.#exchange;
    if (exchange === undefined) {
      throw new Error(
        "a snapshot can't be restored: this agent has no network to give it to the other servers",
      );
    }
    const outcomes = await Promise.allSettled(
      others.map(({ address }) => exchange.stageOn(address, staged, this.#self.address)),
    );
    const failures = outcomes.flatMap((outcome, position) =>
      outcome.status === "rejected" ? [`${others[position]!.id}: ${(outcome.reason as Error).message}`] : [],
    );
    if (others.length - failures.length >= needed) return;
    throw new Error(
      `a snapshot is not restored: ${needed} other servers must have it first, and did not take it (${failures.join("; ")})`,
    );
  }

  #describe(): ServerRecord {
    const index = this.#applier.applied;
    return {
      ...this.#self,
      index,
      term: this.#applier.termOf(index),
      snapshot: this.#schedule.newest?.index ?? 0,
    };
  }

  /** The leader's first. */
  #others(): string[] {
    const leader = this.#view.leader?.record.id;
    return this.#view.servers
      .filter(({ id }) => id !== this.#self.id)
      .sort((a, b) => Number(b.id === leader) - Number(a.id === leader))
      .map(({ address }) => address);
  }

  #onChange(): void {
    this.#term = Math.max(this.#term, this.#view.leader?.revision ?? 0);
    this.#leadership.consider();
    this.#compact();
  }

  #onApplied(entry: LogEntry, result: unknown): void {
    this.#sizes.note(entry.index, entry.data.length);
    this.#schedule.count(entry.data.length);
    this.#leadership.settle(entry.index, entry.term, result);
  }

  #onBeat(beat: Beat): void {
    const before = this.#last;
    this.#last = beat;
    // News come by watch. What an earlier beat saw and no watch told since was missed.
    if (before !== undefined) {
      if (this.#applier.enqueued < before.tail.index) this.#reader.restart();
      const known = this.#view.leader?.revision;
      if (before.leader?.revision === beat.leader?.revision && known !== beat.leader?.revision)
        this.#view.restart();
    }
    this.#leadership.consider();
    this.#compact();
  }

  #compact(): void {
    if (!this.leads || this.#compacting !== undefined) return;
    const point = compactionPoint(this.#view.servers, this.parts.config, this.#sizes);
    if (point <= this.#compacted) return;
    this.#compacting = this.#leadership.current.compaction
      .compactTo(point)
      .then(() => {
        this.#compacted = point;
      })
      .catch((error: Error) => {
        this.parts.log.warn({ error: error.message }, "the log in etcd was not compacted; trying again");
      })
      .finally(() => {
        this.#compacting = undefined;
      });
  }

  #remember(): Promise<void> {
    const { cluster, revision } = this.joined.mark;
    return writeMark(markFile(this.parts.agent.dataDir), {
      cluster,
      revision: Math.max(revision, this.#registration.revision),
    });
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = explain(error, this.parts.config);
    this.#leadership.stepDown("this server can't go on");
    if (this.#failStart !== undefined) this.#failStart(this.#failure);
    else {
      this.parts.log.error({ error: error.stack }, "consensus-etcd can't go on");
      this.parts.onFatal(this.#failure);
    }
  }
}

const folderOf = (dataDir: string) => join(dataDir, "server", "etcd");
const markFile = (dataDir: string) => join(folderOf(dataDir), "cluster");

/** What went wrong with etcd, for an operator. */
function explain(error: Error, config: EtcdConfig): Error {
  if (!(error instanceof EtcdFailure)) return error;
  const where = `etcd at ${config.endpoints.join(", ")}`;
  if (error.kind === "unavailable") {
    return new Error(
      `${where} does not answer (${error.message}); start it, or correct endpoints and certificates of consensus-etcd`,
      { cause: error },
    );
  }
  if (error.kind === "denied") {
    const who = config.username === undefined ? "this server without a user" : `user "${config.username}"`;
    return new Error(
      `${where} refuses ${who} (${error.message}); check username and password of consensus-etcd, and that the user's role may read and write below "${config.prefix}"`,
      { cause: error },
    );
  }
  if (error.kind === "no-space") {
    return new Error(
      `${where} has used up its quota (${error.message}); compact and defragment it, or raise --quota-backend-bytes, and disarm the alarm (etcdctl alarm disarm)`,
      { cause: error },
    );
  }
  return new Error(`${where}: ${error.message}`, { cause: error });
}
