/** Consensus among servers of one process: one log, and a leader that the test names. */
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

/** What is proposed is committed at once; followers apply it a moment later, unless they are held back. */
export class ReplicaGroup {
  readonly replicas: Replica[] = [];
  readonly log: LogEntry[] = [];
  term = 0;
  leader: Replica | undefined;

  join(address: string): Replica {
    const replica = new Replica(this, `server-${this.replicas.length + 1}`, address);
    this.replicas.push(replica);
    return replica;
  }

  /** Ends the present leadership and begins that of `replica`, if any. */
  elect(replica: Replica | undefined): void {
    const former = this.leader;
    this.leader = undefined;
    former?.tell();
    if (replica === undefined) return;
    this.term++;
    this.leader = replica;
    // As Raft's leaders do: an entry of its own term.
    this.log.push({ index: this.log.length + 1, term: this.term, data: new Uint8Array() });
    replica.tell();
    for (const each of this.replicas) each.wake();
  }
}

export class Replica implements Consensus {
  readonly membership = undefined;
  readonly #listeners = new Set<LeadershipListener>();
  readonly #barriers: { readonly index: number; readonly resolve: (index: number) => void }[] = [];
  #machine: StateMachine | undefined;
  #waiting: Waiting[] = [];
  /** In the log, by index, until they are applied here. */
  readonly #proposed = new Map<number, Waiting>();
  #turn: NodeJS.Immediate | undefined;
  #held = false;

  constructor(
    private readonly group: ReplicaGroup,
    readonly id: string,
    readonly address: string,
  ) {}

  /** Applies nothing until `release`. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.wake();
  }

  get applied(): number {
    return this.#machine?.lastApplied() ?? 0;
  }

  async start(machine: StateMachine): Promise<void> {
    this.#machine = machine;
    this.wake();
    this.tell();
  }

  async stop(): Promise<void> {
    if (this.group.leader === this) this.group.elect(undefined);
    this.#machine = undefined;
    clearImmediate(this.#turn);
    for (const each of this.#waiting.splice(0)) each.reject(new NotLeaderError(undefined));
  }

  propose(data: Uint8Array): Promise<Proposed> {
    if (!this.isLeader()) return Promise.reject(new NotLeaderError(this.leader()));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ data, resolve, reject });
      this.wake();
    });
  }

  barrier(): Promise<number> {
    const { group } = this;
    if (group.leader === undefined || this.#machine === undefined)
      return Promise.reject(new NotLeaderError(undefined));
    const index = group.log.length;
    return new Promise((resolve) => {
      this.#barriers.push({ index, resolve });
      this.wake();
    });
  }

  isLeader(): boolean {
    return this.group.leader === this && this.#machine !== undefined;
  }

  leader(): Peer | undefined {
    return this.peers().find(({ leader }) => leader);
  }

  term(): number {
    return this.group.term;
  }

  peers(): readonly Peer[] {
    const { leader, replicas } = this.group;
    return replicas.map(({ id, address }) => ({ id, address, voter: true, leader: leader?.id === id }));
  }

  progress(): readonly PeerProgress[] {
    return [];
  }

  transferLeadership(): Promise<void> {
    return Promise.reject(new Error("the test names the leader"));
  }

  saveSnapshot(): Promise<SnapshotInfo> {
    return Promise.reject(new Error("no snapshots here"));
  }

  restoreSnapshot(): Promise<number> {
    return Promise.reject(new Error("no snapshots here"));
  }

  onLeadership(listener: LeadershipListener): () => void {
    this.#listeners.add(listener);
    listener(this.isLeader(), this.group.term);
    return () => this.#listeners.delete(listener);
  }

  stats(): Readonly<Record<string, string | number>> {
    const contact = this.group.leader === undefined ? "never" : "7ms";
    return { last_contact: this.isLeader() ? 0 : contact };
  }

  tell(): void {
    for (const listener of this.#listeners) listener(this.isLeader(), this.group.term);
  }

  wake(): void {
    this.#turn ??= setImmediate(() => this.#work());
  }

  #work(): void {
    this.#turn = undefined;
    const waiting = this.#waiting.splice(0);
    if (!this.isLeader()) for (const each of waiting) each.reject(new NotLeaderError(this.leader()));
    const { log, term } = this.group;
    if (this.isLeader()) {
      for (const each of waiting) {
        log.push({ index: log.length + 1, term, data: each.data });
        this.#proposed.set(log.length, each);
      }
      if (waiting.length > 0) for (const each of this.group.replicas) each.wake();
    }
    for (const [index, result] of this.#apply()) {
      const each = this.#proposed.get(index);
      this.#proposed.delete(index);
      if (result instanceof Error) each?.reject(result);
      else each?.resolve({ index, result });
    }
    const passed = this.#barriers.filter(({ index }) => index <= this.applied);
    for (const barrier of passed) {
      this.#barriers.splice(this.#barriers.indexOf(barrier), 1);
      barrier.resolve(this.applied);
    }
  }

  #apply(): Map<number, unknown> {
    const machine = this.#machine;
    if (machine === undefined || this.#held) return new Map();
    const entries = this.group.log.slice(machine.lastApplied());
    const results = machine.apply(entries);
    return new Map(entries.map(({ index }, at) => [index, results[at]]));
  }
}
