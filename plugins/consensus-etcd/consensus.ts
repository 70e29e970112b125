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
import { loadNodeId } from "@drover/plugin-sdk/consensus";
import type { EtcdConfig } from "./config.js";
import { Engine } from "./engine.js";

export interface EtcdDependencies {
  readonly agent: Pick<AgentInfo, "dataDir" | "region" | "advertise">;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly config: EtcdConfig;
  /** Undefined where servers have no network among themselves: then none can give another one a snapshot. */
  readonly network: ServerNetwork | undefined;
}

/** `Consensus` on an etcd cluster: etcd orders the log, and its leases say who leads. */
export class EtcdConsensus implements Consensus {
  /** Servers take part by being connected to etcd. */
  readonly membership = undefined;
  #id: string | undefined;
  #fatal: (error: Error) => void = (error) => {
    throw error;
  };
  #engine: Engine | undefined;
  #starting: { readonly abort: AbortController; readonly done: Promise<Engine> } | undefined;
  #stopping: Promise<void> | undefined;
  /** Of the last run. */
  #term = 0;
  readonly #listeners = new Set<LeadershipListener>();

  constructor(private readonly deps: EtcdDependencies) {}

  /** Reads or makes this server's id; `fatal` is told of errors after which the server can't go on. */
  async prepare(fatal: (error: Error) => void): Promise<void> {
    this.#fatal = fatal;
    const folder = join(this.deps.agent.dataDir, "server");
    await mkdir(folder, { recursive: true, mode: 0o700 });
    this.#id = await loadNodeId(join(folder, "node-id"));
  }

  get id(): string {
    if (this.#id === undefined) throw new Error("consensus-etcd has no id before its plugin has started");
    return this.#id;
  }

  async start(machine: StateMachine): Promise<void> {
    if (this.#engine !== undefined || this.#starting !== undefined) {
      throw new Error("consensus-etcd is already started");
    }
    const abort = new AbortController();
    const done = Engine.start(
      {
        ...this.deps,
        id: this.id,
        machine,
        notify: (leader, term) => this.#onLeadership(leader, term),
        onFatal: (error) => this.#fatal(error),
      },
      abort.signal,
    );
    this.#starting = { abort, done };
    try {
      this.#engine = await done;
    } finally {
      this.#starting = undefined;
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop().finally(() => {
      this.#stopping = undefined;
    });
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    if (this.#starting !== undefined) {
      const { abort, done } = this.#starting;
      abort.abort(new Error("consensus-etcd was stopped while it started"));
      // Its caller is told how it ended.
      await done.catch(() => undefined);
    }
    const engine = this.#engine;
    if (engine === undefined) return;
    await engine.stop();
    this.#term = engine.term;
    this.#engine = undefined;
  }

  async propose(command: Uint8Array): Promise<Proposed> {
    return this.#present().propose(command);
  }

  async barrier(): Promise<number> {
    return this.#present().barrier();
  }

  isLeader(): boolean {
    return this.#engine?.leads === true;
  }

  leader(): Peer | undefined {
    return this.#engine?.leader();
  }

  term(): number {
    return this.#engine?.term ?? this.#term;
  }

  peers(): readonly Peer[] {
    return this.#engine?.peers() ?? [];
  }

  progress(): readonly PeerProgress[] {
    return this.#engine?.progress() ?? [];
  }

  async transferLeadership(id?: string): Promise<void> {
    await this.#present().transferLeadership(id);
  }

  async saveSnapshot(folder: string): Promise<SnapshotInfo> {
    return this.#present().saveSnapshot(folder);
  }

  async restoreSnapshot(folder: string): Promise<number> {
    return this.#present().restoreSnapshot(folder);
  }

  onLeadership(listener: LeadershipListener): () => void {
    this.#listeners.add(listener);
    this.#notify(listener, this.isLeader(), this.term());
    return () => this.#listeners.delete(listener);
  }

  /** The keys of Nomad's `raft` stats. */
  stats(): Readonly<Record<string, string | number>> {
    return this.#engine?.stats() ?? { state: "Shutdown" };
  }

  #present(): Engine {
    if (this.#engine === undefined || this.#stopping !== undefined) throw new NotLeaderError(undefined);
    if (this.#engine.failure !== undefined) throw this.#engine.failure;
    return this.#engine;
  }

  #onLeadership(leader: boolean, term: number): void {
    this.deps.metrics.increment(leader ? "nomad.raft.state.leader" : "nomad.raft.state.follower");
    for (const listener of [...this.#listeners]) this.#notify(listener, leader, term);
  }

  #notify(listener: LeadershipListener, leader: boolean, term: number): void {
    try {
      listener(leader, term);
    } catch (error) {
      this.deps.log.error({ error: (error as Error).stack }, "a leadership listener failed");
    }
  }
}
