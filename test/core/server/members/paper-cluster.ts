/**
 * Consensus of several servers inside one process, without elections and disks: what is proposed is applied everywhere at
 * once, and who leads is the test's to say.
 */
import type {
  Consensus,
  LeadershipListener,
  LogEntry,
  Membership,
  Peer,
  PeerProgress,
  Proposed,
  SnapshotInfo,
  StateMachine,
} from "@drover/plugin-sdk";
import { NotLeaderError } from "@drover/plugin-sdk";

interface PaperLog {
  readonly entries: LogEntry[];
  readonly servers: Map<string, { address: string; voter: boolean }>;
  leader: string | undefined;
  term: number;
}

/** All servers that a test has started, of whatever cluster. */
export class PaperWorld {
  readonly servers = new Set<PaperConsensus>();
  /** Servers by id that the leader does not hear. */
  readonly silent = new Set<string>();

  /** Gives servers the log that they are named in. */
  spread(log: PaperLog): void {
    for (const server of this.servers) {
      const named = log.servers.get(server.id);
      if (named?.address === server.address && server.running) server.attach(log);
    }
  }
}

export class PaperConsensus implements Consensus {
  readonly membership: Membership;
  readonly #listeners = new Set<LeadershipListener>();
  #machine: StateMachine | undefined;
  #log: PaperLog | undefined;
  #told = { leader: false, term: 0 };
  /** Resolves barriers; a test holds them back. */
  gate: Promise<void> = Promise.resolve();
  /** Whether leadership can be handed to others. */
  canTransfer = true;

  constructor(
    private readonly world: PaperWorld,
    readonly id: string,
    readonly address: string,
  ) {
    world.servers.add(this);
    this.membership = {
      bootstrapped: () => this.#log !== undefined,
      bootstrap: async (servers) => {
        if (this.#log !== undefined) throw new Error(`${id} is bootstrapped`);
        if (!servers.some((server) => server.id === id)) throw new Error(`${id} is not among the servers`);
        this.#log = {
          entries: [],
          servers: new Map(servers.map((server) => [server.id, { address: server.address, voter: true }])),
          leader: undefined,
          term: 0,
        };
        this.world.spread(this.#log);
        this.lead();
      },
      addNonvoter: (server, where) =>
        this.#change((log) => {
          const known = log.servers.get(server);
          log.servers.set(server, { address: where, voter: known?.voter ?? false });
          this.world.spread(log);
        }),
      promote: (server) => this.#change((log) => Object.assign(log.servers.get(server)!, { voter: true })),
      demote: (server) => this.#change((log) => Object.assign(log.servers.get(server)!, { voter: false })),
      remove: (server) =>
        this.#change((log) => {
          log.servers.delete(server);
          if (log.leader === server) log.leader = undefined;
        }),
    };
  }

  get running(): boolean {
    return this.#machine !== undefined;
  }

  async start(machine: StateMachine): Promise<void> {
    this.#machine = machine;
    if (this.#log !== undefined) this.attach(this.#log);
  }

  async stop(): Promise<void> {
    this.#machine = undefined;
    if (this.#log?.leader === this.id) this.#log.leader = undefined;
    this.world.servers.delete(this);
    this.#tell();
  }

  /** @internal Takes the log and applies what it holds. */
  attach(log: PaperLog): void {
    this.#log = log;
    const machine = this.#machine!;
    const missing = log.entries.filter(({ index }) => index > machine.lastApplied());
    if (missing.length > 0) machine.apply(missing);
    this.#tell();
  }

  /** Makes this server the leader of a new term. */
  lead(): void {
    const log = this.#log!;
    log.leader = this.id;
    log.term++;
    this.#tellAll();
  }

  /** Ends its leadership; nobody leads then. */
  stepDown(): void {
    const log = this.#log!;
    if (log.leader === this.id) log.leader = undefined;
    this.#tellAll();
  }

  async propose(data: Uint8Array): Promise<Proposed> {
    const log = this.#leading();
    const entry: LogEntry = { index: log.entries.length + 1, term: log.term, data: data.slice() };
    await Promise.resolve();
    log.entries.push({ ...entry, index: log.entries.length + 1 });
    const { index } = log.entries.at(-1)!;
    let result: unknown;
    for (const server of this.world.servers) {
      if (server.#log !== log || server.#machine === undefined || !log.servers.has(server.id)) continue;
      const missing = log.entries.filter((one) => one.index > server.#machine!.lastApplied());
      const results = server.#machine.apply(missing);
      if (server === this) result = results.at(-1);
    }
    if (result instanceof Error) throw result;
    return { index, result };
  }

  async barrier(): Promise<number> {
    await this.gate;
    return this.#log?.entries.length ?? 0;
  }

  isLeader(): boolean {
    return this.running && this.#log?.leader === this.id;
  }

  leader(): Peer | undefined {
    return this.peers().find((peer) => peer.leader);
  }

  term(): number {
    return this.#log?.term ?? 0;
  }

  peers(): readonly Peer[] {
    const log = this.#log;
    return [...(log?.servers ?? [])].map(([id, server]) => ({ id, ...server, leader: log?.leader === id }));
  }

  progress(): readonly PeerProgress[] {
    if (!this.isLeader()) return [];
    const { entries, term } = this.#log!;
    return this.peers().map(({ id }) => ({
      id,
      lastContact: this.world.silent.has(id) ? 60_000 : 0,
      lastIndex: entries.length,
      lastTerm: term,
    }));
  }

  async transferLeadership(id?: string): Promise<void> {
    const log = this.#leading();
    const other = [...this.world.servers].find(
      (server) =>
        server.#log === log &&
        server !== this &&
        log.servers.get(server.id)?.voter === true &&
        (id === undefined || server.id === id),
    );
    if (other === undefined || !this.canTransfer) throw new Error("nobody took leadership in time");
    other.lead();
  }

  saveSnapshot(): Promise<SnapshotInfo> {
    return Promise.reject(new Error("this consensus takes no snapshots"));
  }

  restoreSnapshot(): Promise<number> {
    return Promise.reject(new Error("this consensus restores no snapshots"));
  }

  onLeadership(listener: LeadershipListener): () => void {
    this.#listeners.add(listener);
    listener(this.isLeader(), this.term());
    return () => this.#listeners.delete(listener);
  }

  stats(): Readonly<Record<string, string | number>> {
    return { term: this.term() };
  }

  #leading(): PaperLog {
    if (!this.isLeader()) throw new NotLeaderError(this.leader());
    return this.#log!;
  }

  async #change(change: (log: PaperLog) => unknown): Promise<number> {
    const log = this.#leading();
    change(log);
    this.#tellAll();
    return log.entries.length;
  }

  #tellAll(): void {
    for (const server of this.world.servers) if (server.#log === this.#log) server.#tell();
  }

  #tell(): void {
    const now = { leader: this.isLeader(), term: this.term() };
    const isNews = now.leader !== this.#told.leader || (now.leader && now.term !== this.#told.term);
    this.#told = now;
    if (isNews) for (const listener of this.#listeners) listener(now.leader, now.term);
  }
}
