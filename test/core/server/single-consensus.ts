import {
  type Consensus,
  type LeadershipListener,
  type LogEntry,
  NotLeaderError,
  type Peer,
  type PeerProgress,
  type Proposed,
  type SnapshotInfo,
  type StateMachine,
} from "@drover/plugin-sdk";

interface Waiting {
  readonly data: Uint8Array;
  readonly resolve: (proposed: Proposed) => void;
  readonly reject: (error: Error) => void;
}

/** Consensus of one server that remembers nothing: applies what is proposed in batches, and leads while it is told to. */
export class SingleConsensus implements Consensus {
  readonly membership = undefined;
  readonly id = "00000000-0000-4000-8000-000000000001";
  readonly #listeners = new Set<LeadershipListener>();
  #machine: StateMachine | undefined;
  #waiting: Waiting[] = [];
  #index = 0;
  #term = 1;
  #leading = true;
  /** Nothing is applied while the state is replaced. */
  #restoring = false;
  #elsewhere = false;

  async start(machine: StateMachine): Promise<void> {
    this.#machine = machine;
    this.#index = machine.lastApplied();
    for (const listener of this.#listeners) listener(this.isLeader(), this.#term);
  }

  async stop(): Promise<void> {
    this.#machine = undefined;
  }

  /** Ends this server's leadership, or gives it a new term of it. */
  lead(leading: boolean): void {
    this.#leading = leading;
    if (leading) this.#term++;
    for (const listener of this.#listeners) listener(this.isLeader(), this.#term);
  }

  /** Does `work` as another server that leads would: it is written, and what this server tracks as a leader learns nothing. */
  async elsewhere<T>(work: () => Promise<T>): Promise<T> {
    this.#elsewhere = true;
    try {
      return await work();
    } finally {
      this.#elsewhere = false;
    }
  }

  propose(data: Uint8Array): Promise<Proposed> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ data, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#flush());
    });
  }

  async barrier(): Promise<number> {
    return this.#index;
  }

  isLeader(): boolean {
    return (this.#leading || this.#elsewhere) && this.#machine !== undefined;
  }

  leader(): Peer | undefined {
    return { id: this.id, address: "127.0.0.1:4647", voter: true, leader: true };
  }

  term(): number {
    return this.#term;
  }

  peers(): readonly Peer[] {
    return [this.leader()!];
  }

  progress(): readonly PeerProgress[] {
    return [{ id: this.id, lastContact: 0, lastIndex: this.#index, lastTerm: this.#term }];
  }

  transferLeadership(): Promise<void> {
    return Promise.reject(new Error("this consensus is alone"));
  }

  async saveSnapshot(folder: string): Promise<SnapshotInfo> {
    const index = await this.#started().snapshot(folder);
    return { index, term: this.#term, peers: this.peers() };
  }

  async restoreSnapshot(folder: string): Promise<number> {
    const machine = this.#started();
    this.#restoring = true;
    try {
      const index = ++this.#index;
      await machine.restore(folder, index);
      return index;
    } finally {
      this.#restoring = false;
      this.#flush();
    }
  }

  #started(): StateMachine {
    if (this.#machine === undefined) throw new NotLeaderError(undefined);
    return this.#machine;
  }

  onLeadership(listener: LeadershipListener): () => void {
    this.#listeners.add(listener);
    listener(this.isLeader(), this.#term);
    return () => this.#listeners.delete(listener);
  }

  stats(): Readonly<Record<string, string | number>> {
    return { term: this.#term, applied_index: this.#index };
  }

  #flush(): void {
    if (this.#restoring) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    if (this.#machine === undefined) {
      for (const each of waiting) each.reject(new Error("stopped"));
      return;
    }
    const entries = waiting.map(({ data }): LogEntry => ({ index: ++this.#index, term: this.#term, data }));
    const results = this.#machine.apply(entries);
    for (const [at, each] of waiting.entries()) {
      const result = results[at];
      if (result instanceof Error) each.reject(result);
      else each.resolve({ index: entries[at]!.index, result });
    }
  }
}
