/** What the processes of the consensus benchmarks are started with, and what they are asked. */

/** Call of a server's network: proposes its body, answers once that is committed and applied. */
export const PROPOSE_METHOD = "Bench.Propose";

export interface ServerOptions {
  readonly dataDir: string;
  readonly port: number;
  /** `counter`: consensus alone. `state`: the state store, below the same folder as an agent's. */
  readonly machine: "counter" | "state";
  /** Settings of consensus-raft that differ from the defaults. */
  readonly config: Readonly<Record<string, number>>;
}

export interface Identity {
  readonly id: string;
  readonly address: string;
}

export interface ServerStatus {
  readonly leads: boolean;
  readonly term: number;
  readonly applied: number;
  readonly last: number;
  readonly snapshot: number;
}

/** Milliseconds that the event loop was late. */
export interface LoopDelay {
  readonly max: number;
  readonly p99: number;
}

export interface ServerCalls {
  /** Opens everything and gives who it is. */
  start(argument: null): Identity;
  bootstrap(servers: readonly Identity[]): void;
  status(argument: null): ServerStatus;
  /** Waits until this server leads, and has one command committed. */
  commitAsLeader(argument: null): void;
  addNonvoter(server: Identity): void;
  promote(id: string): void;
  /** Begins to measure the event loop. */
  watchLoop(argument: null): void;
  /** What it was since. */
  loopDelay(argument: null): LoopDelay;
  /** Commands that make a cluster with so many allocations. */
  fill(allocations: number): void;
  /** Begins to report allocations of `fill` anew, so many commands a second. */
  beginWrites(argument: { readonly allocations: number; readonly rate: number }): void;
  /** Ends that, and gives how many commands there were. */
  endWrites(argument: null): number;
  /** A snapshot as consensus takes it; gives its index. Only where `snapshot_threshold` is set for that. */
  takeSnapshot(argument: null): number;
  stop(argument: null): void;
}

export interface WritersOptions {
  readonly writers: number;
  readonly bytes: number;
  /** Leader's RPC address, or URL of etcd's leading member. */
  readonly target: { readonly drover: string } | { readonly etcd: string };
}

export interface Written {
  /** Milliseconds of each command. */
  readonly latencies: Float64Array;
  /** Seconds that it ran. */
  readonly seconds: number;
  /** CPU seconds that the process used for it. */
  readonly cpu: number;
}

export interface WriterCalls {
  /** Writes for so many seconds. */
  write(seconds: number): Written;
}
