import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  type AgentInfo,
  type Consensus,
  type LeadershipListener,
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
import { loadNodeId, OutcomeUnknownError, RestoreStore, SnapshotStore } from "@drover/plugin-sdk/consensus";
import type { RaftConfig } from "./config.js";
import { Copies } from "./copies.js";
import { voters } from "./core/configuration.js";
import { RaftCore, type RaftOptions } from "./core/raft-core.js";
import { decodeRestore } from "./core/restore.js";
import type { Entry, SnapshotMeta } from "./core/types.js";
import { Handover } from "./handover.js";
import { LeadershipState } from "./leadership.js";
import { LmdbLogStore } from "./lmdb-log-store.js";
import type { LogStore } from "./log-store.js";
import { RaftMembership } from "./membership.js";
import { MemoryLogStore } from "./memory-log-store.js";
import { Peers } from "./peers.js";
import { RaftLoop } from "./raft-loop.js";
import { openLog } from "./recovery.js";
import { snapshotMeta } from "./snapshot-meta.js";
import { Snapshotter } from "./snapshotter.js";
import { raftStats } from "./stats.js";

export interface RaftDependencies {
  readonly agent: Pick<AgentInfo, "dataDir" | "devMode" | "advertise" | "region">;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly config: RaftConfig;
  readonly network: ServerNetwork;
  /** Replaces the log that the agent's mode calls for. */
  readonly logStore?: LogStore;
}

/** Snapshots kept. */
const RETAIN = 2;
/** Bytes of committed entries taken from the core at once. */
const APPLY_BYTES = 4 * 1024 * 1024;
const MAX_APPEND_BYTES = 1024 * 1024;

/** Everything that exists between `start` and `stop`. */
interface Running {
  readonly machine: StateMachine;
  readonly store: LogStore;
  readonly loop: RaftLoop;
  readonly peers: Peers;
  readonly copies: Copies;
  readonly snapshotter: Snapshotter;
  readonly handover: Handover;
  readonly ticks: NodeJS.Timeout;
}

/**
 * The shell around the Raft core: it gives the core time and the other servers' messages, makes durable what the core wants
 * durable, applies what the core has committed, and answers proposals.
 */
export class RaftConsensus implements Consensus {
  readonly membership: RaftMembership;
  #id: string | undefined;
  #fatal: (error: Error) => void = (error) => {
    throw error;
  };
  #running: Running | undefined;
  #stopping = false;
  readonly #leadership: LeadershipState;
  /** Whether the address of a server is being changed. */
  #relocating = false;
  readonly #snapshots: SnapshotStore<SnapshotMeta>;
  readonly #restores: RestoreStore;

  constructor(private readonly deps: RaftDependencies) {
    this.#leadership = new LeadershipState(deps.log, deps.metrics);
    this.#snapshots = new SnapshotStore(join(this.#folder, "snapshots"), RETAIN, deps.log, snapshotMeta);
    this.#restores = new RestoreStore(join(this.#folder, "restores"));
    this.membership = new RaftMembership({
      self: () => this.id,
      running: () => this.#running,
      leading: () => this.#leading(),
      leader: () => this.leader(),
      changed: () => this.#followConfiguration(),
    });
  }

  get #folder(): string {
    return join(this.deps.agent.dataDir, "server");
  }

  get #options(): RaftOptions {
    const { config } = this.deps;
    return {
      id: this.id,
      electionTicks: config.election_ticks,
      heartbeatTicks: config.heartbeat_ticks,
      maxAppendBytes: MAX_APPEND_BYTES,
      maxInflightAppends: 64,
      maxInflightBytes: 16 * 1024 * 1024,
      maxApplyBytes: APPLY_BYTES,
      random: Math.random,
    };
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
    const { config, log, metrics } = this.deps;
    const store = this.deps.logStore ?? this.#createStore();
    try {
      const { state, since } = await openLog(this.id, machine, store, this.#snapshots, this.#restores, log);
      const core = new RaftCore(this.#options, state);
      const peers = this.#createPeers();
      const handover = new Handover(config.election_ticks);
      const loop = new RaftLoop({
        machine,
        core,
        store,
        limits: config,
        metrics,
        log,
        send: (messages) => peers.send(messages),
        leader: () => this.leader(),
        fetch: (fetch) => copies.fetch(fetch),
        snapshotFolder: (meta) => this.#snapshots.stateOf(meta),
        restoreFolder: (restore) => this.#restores.verified(restore),
        installed: (meta) => {
          snapshotter.installed(meta);
          void this.#compacted(meta.index);
        },
        led: (leadership) => {
          const { role, term } = leadership;
          this.#leadership.set(role === "leader" ? term : null, term);
          handover.led(leadership);
        },
        handoverAborted: (to) => handover.aborted(to),
        applied: (entry) => {
          snapshotter.applied(entry);
          this.#noteRestore(entry);
        },
        turned: () => {
          if (!this.#stopping) snapshotter.consider();
        },
        failed: (error) => {
          this.#leadership.set(null, loop.core.term);
          this.#fatal(error);
        },
      });
      const copies = this.#createCopies(loop, peers);
      const parts = {
        machine,
        loop,
        store: this.#snapshots,
        config,
        log,
        metrics,
        compacted: (base: number) => this.#compacted(base),
      };
      const snapshotter = new Snapshotter(parts, state.snapshot, since);
      // Timers are monotonic: a clock that is set back changes nothing here.
      const ticks = setInterval(() => this.#tick(), config.tick_interval);
      this.#running = { machine, store, loop, peers, copies, snapshotter, handover, ticks };
      const all = voters(core.configuration);
      // Nobody else can lead, so there is no election timeout to wait for.
      if (all.length === 1 && all[0] === this.id) core.campaign();
      this.#followConfiguration();
      loop.wake();
      log.info(
        { id: this.id, term: core.term, index: core.lastIndex, servers: core.configuration.servers.length },
        "raft log is open",
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
    running.peers.close();
    await running.copies.close();
    await running.loop.stop();
    running.handover.stop(new NotLeaderError(undefined));
    await running.snapshotter.idle();
    this.#leadership.set(null, running.loop.core.term);
    await running.store.close();
    this.#running = undefined;
    this.#stopping = false;
  }

  async propose(command: Uint8Array): Promise<Proposed> {
    return this.#leading().propose(command);
  }

  async barrier(): Promise<number> {
    const loop = this.#running?.loop;
    if (loop === undefined || this.#stopping) throw new NotLeaderError(undefined);
    if (loop.failure !== undefined) throw loop.failure;
    return loop.barrier();
  }

  isLeader(): boolean {
    return this.#leadership.leading;
  }

  leader(): Peer | undefined {
    return this.peers().find((peer) => peer.leader);
  }

  term(): number {
    return this.#running?.loop.core.term ?? 0;
  }

  peers(): readonly Peer[] {
    const { agent } = this.deps;
    const core = this.#running?.loop.core;
    if (core === undefined) return [];
    return core.configuration.servers.map(({ id, address, voter }) => ({
      id,
      // The log keeps the address of the day the server joined; its own is known better.
      address: id === this.#id ? agent.advertise.rpc : address,
      voter,
      leader: id === this.#id ? this.isLeader() : id === core.leader,
    }));
  }

  progress(): readonly PeerProgress[] {
    const running = this.#running;
    if (running === undefined || !this.isLeader()) return [];
    const { core } = running.loop;
    const { lastIndex } = core;
    const own = { id: this.id, lastContact: 0, lastIndex, lastTerm: core.entryTerm(lastIndex) ?? 0 };
    const others = core.contacts().map(({ id, match, matchTerm }) => ({
      id,
      lastContact: running.peers.lastContact(id),
      lastIndex: match,
      lastTerm: matchTerm,
    }));
    return [own, ...others];
  }

  async transferLeadership(id?: string): Promise<void> {
    const loop = this.#leading();
    const done = this.#running!.handover.begin(loop.core, id, this.leader());
    loop.wake();
    await done;
  }

  async saveSnapshot(folder: string): Promise<SnapshotInfo> {
    const running = this.#running;
    if (running === undefined || this.#stopping) throw new NotLeaderError(undefined);
    const index = await running.machine.snapshot(folder);
    const { term, configuration } = running.loop.core.describe(index);
    return { index, term, peers: configuration.servers };
  }

  async restoreSnapshot(folder: string): Promise<number> {
    const loop = this.#leading();
    const { machine } = this.#running!;
    // A copy that a machine can't take must not get into the log, where every server would meet it.
    const index = await machine.verify(folder);
    const reference = await this.#restores.create(randomUUID(), folder);
    try {
      // Rows of the copy carry indexes up to its own; what comes after it must have higher ones.
      await this.#leading().fill(index);
      this.deps.log.info(
        { folder, index, at: loop.core.lastIndex + 1 },
        "putting a copy of the state in force",
      );
      return await this.#leading().proposeRestore(reference);
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) await this.#restores.remove(reference.id);
      throw error;
    }
  }

  onLeadership(listener: LeadershipListener): () => void {
    return this.#leadership.listen(listener, this.term());
  }

  /** The keys of Nomad's `raft` stats. */
  stats(): Readonly<Record<string, string | number>> {
    const running = this.#running;
    if (running === undefined) return { state: "Shutdown" };
    const { machine, loop, peers, snapshotter } = running;
    const { core } = loop;
    return raftStats({
      core,
      leading: this.isLeader(),
      applied: machine.lastApplied(),
      proposals: loop.proposals.count,
      snapshot: snapshotter.meta,
      leaderContact: core.leader === null ? null : peers.lastContact(core.leader),
    });
  }

  // ------------------------------------------------------------------------------------------------------------------

  #createStore(): LogStore {
    const { agent, config } = this.deps;
    if (agent.devMode) return new MemoryLogStore();
    return new LmdbLogStore({ folder: join(this.#folder, "raft"), minFreeBytes: config.min_free_bytes });
  }

  #createPeers(): Peers {
    const { agent, config, log, network } = this.deps;
    return new Peers({
      network,
      log,
      self: { id: this.id, address: agent.advertise.rpc, region: agent.region },
      patience: 2 * config.election_ticks * config.tick_interval,
      maxFrameBytes: config.max_command_bytes + 2 * MAX_APPEND_BYTES,
      cluster: () => this.#running?.loop.core.configuration.cluster ?? null,
      receive: (message) => this.#running?.loop.step(message),
    });
  }

  #createCopies(loop: RaftLoop, peers: Peers): Copies {
    const { config, log, metrics, network } = this.deps;
    return new Copies({
      network,
      log,
      metrics,
      snapshots: this.#snapshots,
      restores: this.#restores,
      patience: 10_000,
      minFreeBytes: config.min_free_bytes,
      greet: (to) => peers.greet(to),
      check: (hello, caller) => peers.check(hello, caller),
      addressOf: (id) => peers.addressOf(id),
      snapshotFetched: (snapshot) => loop.snapshotFetched(snapshot),
      restoreFetched: (id) => loop.restoreFetched(id),
      fetchFailed: () => loop.fetchFailed(),
    });
  }

  /** Looks for the copy that an entry of the log names. */
  #noteRestore({ index, kind, data }: Entry): void {
    if (kind === "restore") this.#restores.note(index, decodeRestore(data).id);
  }

  async #compacted(base: number): Promise<void> {
    try {
      await this.#restores.compacted(base);
    } catch (error) {
      this.deps.log.warn(
        { error: (error as Error).message },
        "a copy of the state that is of no more use could not be removed",
      );
    }
  }

  #leading(): RaftLoop {
    const loop = this.#running?.loop;
    if (loop?.failure !== undefined) throw loop.failure;
    if (loop === undefined || this.#stopping || !this.isLeader()) throw new NotLeaderError(this.leader());
    return loop;
  }

  #tick(): void {
    this.#running?.loop.tick();
    this.#running?.handover.tick();
    this.#followConfiguration();
    this.#noteAddresses();
  }

  /** A server keeps its id and may come back at another address, which the configuration must tell the others. */
  #noteAddresses(): void {
    const running = this.#running;
    if (running === undefined || !this.isLeader() || this.#relocating) return;
    const { agent, log } = this.deps;
    for (const { id, address } of running.loop.core.configuration.servers) {
      const told = id === this.id ? agent.advertise.rpc : running.peers.announcedAddress(id);
      if (told === undefined || told === address) continue;
      this.#relocating = true;
      log.info({ server: id, from: address, to: told }, "a server has another address");
      this.membership
        .relocate(id, told)
        .catch((error: Error) =>
          log.warn({ server: id, error: error.message }, "its address is not noted yet"),
        )
        .finally(() => {
          this.#relocating = false;
        });
      return;
    }
  }

  #followConfiguration(): void {
    const running = this.#running;
    if (running !== undefined && !this.#stopping) running.peers.follow(running.loop.core.configuration);
  }
}
