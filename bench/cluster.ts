/** A server with its durable log and scheduling threads, and nodes on paper: what the scheduling benchmarks measure. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Allocation, AllocationUpdate, Consensus, Logger, Metrics, Node } from "@drover/plugin-sdk";
import { eventually, MemoryNetwork, quietMetrics } from "@drover/plugin-sdk/testing";
import { defaultSchedulers } from "../core/config/index.js";
import { SharedNodeColumns } from "../core/state/read/index.js";
import { RaftConfig } from "../plugins/consensus-raft/config.js";
import { RaftConsensus } from "../plugins/consensus-raft/consensus.js";
import { BenchServer, paperJob, paperNode } from "../test/core/server/bench-server.js";

const RACKS = 50;
/** MHz of a node, where the benchmark asks for no other size. */
const NODE_CPU = 64_000;
/** What a node has besides, and what a task takes. */
const NODE = { memory: 131_072, disk: 1_000_000 } as const;
const TASK = { cpu: 100, memory: 64, disk: 150 } as const;
/** Registrations under way at once. */
const REGISTERING = 64;
const SUBMITTING = 16;
/** Of 100 allocations each, with and without a spread, before anything is measured. */
const WARM_UP_JOBS = 20;
/** Milliseconds without a placement after which the benchmark gives up. */
const STALLED = 60_000;

const RUNNING: Omit<AllocationUpdate, "ID" | "NodeID"> = {
  ClientStatus: "running",
  ClientDescription: "Tasks are running",
  TaskStates: {},
  DeploymentStatus: null,
  NetworkStatus: null,
};

/** What became of the allocations of a node that died. */
export interface NodeLoss {
  readonly lost: number;
  /** Jobs that they belonged to: an evaluation each. */
  readonly jobs: number;
  readonly replaced_ms: number;
  readonly loop_delay_max_ms: number;
}

const ignore = (): void => undefined;
const log: Logger = {
  trace: ignore,
  debug: ignore,
  info: ignore,
  warn: (fields, message) => console.error("warn", message, fields),
  error: (fields, message) => console.error("error", message, fields),
  child: () => log,
};

/** Keeps the durations of evaluations. */
class EvaluationTimes implements Metrics {
  readonly values: number[] = [];
  /** Told when a node missed its heartbeat. */
  onInvalidate: () => void = ignore;
  gauge = ignore;
  onCollect = quietMetrics.onCollect;
  toJSON = quietMetrics.toJSON;
  toPrometheus = quietMetrics.toPrometheus;

  increment(name: string): void {
    if (name === "nomad.heartbeat.invalidate") this.onInvalidate();
  }

  sample(name: string, value: number): void {
    if (name.startsWith("nomad.worker.invoke_scheduler")) this.values.push(value);
  }

  quantile(part: number): number {
    const sorted = [...this.values].sort((a, b) => a - b);
    return round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0, 1);
  }
}

export interface Load {
  readonly jobs: number;
  /** Allocations of each job; of a type that runs on every node there are as many as nodes. */
  readonly count: number;
  readonly type: string;
  /** Attribute of the nodes' metadata. */
  readonly spread?: string;
  /** Dynamic ports of each group. */
  readonly ports?: number;
}

/** What a load took. Times in milliseconds unless named otherwise. */
export interface Scheduled {
  readonly placements: number;
  readonly seconds: number;
  readonly placements_per_s: number;
  readonly submit_ms: number;
  readonly evaluation_p50_ms: number;
  readonly evaluation_p99_ms: number;
  readonly evaluations: number;
  readonly loop_delay_max_ms: number;
  readonly loop_delay_p99_ms: number;
  readonly rss_mb: number;
  readonly log_bytes_per_placement: number;
  /** Speed of the last tenth of the placements, as a part of the speed of the first. */
  readonly last_tenth_to_first: number;
}

export interface ClusterOptions {
  readonly nodes: number;
  /** MHz of each. */
  readonly nodeCpu?: number;
  readonly algorithm?: string;
  /** Scheduling threads; else the product's default. */
  readonly threads?: number;
  /** How many heartbeats a second the server asks for; with many nodes it else waits minutes for a lost one. */
  readonly heartbeatsPerSecond?: number;
}

export class ClusterUnderLoad {
  /** Ids in the order of registration. */
  readonly #nodes: string[] = [];
  readonly #heartbeats = new Map<string, NodeJS.Timeout>();
  readonly #columns: SharedNodeColumns;
  #logBytes = 0;
  #serial = 0;
  #placedBefore = 0;

  private constructor(
    readonly server: BenchServer<RaftConsensus>,
    readonly times: EvaluationTimes,
  ) {
    this.#columns = new SharedNodeColumns(server.state.columns);
  }

  static async start(options: ClusterOptions): Promise<ClusterUnderLoad> {
    const folder = await mkdtemp(join(tmpdir(), "drover-bench-"));
    const advertise = { http: "", rpc: "127.0.0.1:4647", serf: "" };
    const consensus = new RaftConsensus({
      agent: { dataDir: folder, devMode: false, region: "global", advertise },
      network: new MemoryNetwork().join(advertise.rpc),
      log,
      metrics: quietMetrics,
      config: RaftConfig.parse({}),
    });
    await consensus.prepare((error) => {
      throw error;
    });
    const times = new EvaluationTimes();
    const cluster = new ClusterUnderLoad(
      new BenchServer([], [], {
        folder,
        consensus,
        log,
        metrics: times,
        settings: {
          num_schedulers: options.threads ?? defaultSchedulers(),
          ...(options.heartbeatsPerSecond === undefined
            ? {}
            : { max_heartbeats_per_second: options.heartbeatsPerSecond }),
        },
      }),
      times,
    );
    cluster.#countLog(consensus);
    await cluster.server.start();
    if (options.algorithm !== undefined) {
      const { operator } = cluster.server.server.endpoints;
      await operator.setSchedulerConfiguration({ SchedulerAlgorithm: options.algorithm });
    }
    await cluster.#registerNodes(options.nodes, options.nodeCpu ?? NODE_CPU);
    await cluster.#warmUp();
    return cluster;
  }

  /** Submits jobs and waits until everything they ask for is committed. */
  async schedule(load: Load): Promise<Scheduled> {
    const total = load.jobs * (isEverywhere(load.type) ? this.#nodes.length : load.count);
    const tenths: number[] = [];
    const delays = monitorEventLoopDelay({ resolution: 1 });
    this.times.values.length = 0;
    const logBefore = this.#logBytes;
    delays.enable();
    const begin = performance.now();
    const done = this.#reaches(total, (placed) => {
      while (tenths.length < 10 && placed >= ((tenths.length + 1) * total) / 10)
        tenths.push(performance.now());
    });
    await this.#submit(load);
    const submitted = performance.now();
    await done;
    const end = performance.now();
    delays.disable();
    this.#placedBefore += total;
    const spans = tenths.map((at, i) => at - (tenths[i - 1] ?? begin));
    return {
      placements: total,
      seconds: round((end - begin) / 1000, 3),
      placements_per_s: Math.round(total / ((end - begin) / 1000)),
      submit_ms: round(submitted - begin, 0),
      evaluation_p50_ms: this.times.quantile(0.5),
      evaluation_p99_ms: this.times.quantile(0.99),
      evaluations: this.times.values.length,
      loop_delay_max_ms: round(delays.max / 1e6, 1),
      loop_delay_p99_ms: round(delays.percentile(99) / 1e6, 1),
      rss_mb: Math.round(process.memoryUsage.rss() / 1e6),
      log_bytes_per_placement: round((this.#logBytes - logBefore) / total, 1),
      last_tenth_to_first: round((spans[0] ?? 0) / (spans[9] ?? 1), 2),
    };
  }

  /**
   * The node that holds the most is not heard of any more: milliseconds from the moment the server notices until what it ran
   * is placed elsewhere and committed.
   */
  async loseFullestNode(): Promise<NodeLoss> {
    const { state } = this.server;
    const node = this.#fullestNode();
    const running = (): Allocation[] => {
      using snapshot = state.snapshot();
      return snapshot.allocationsByNode(node).filter((one) => one.DesiredStatus === "run");
    };
    const lost = running();
    const jobs = new Set(lost.map(({ JobID }) => JobID)).size;
    clearTimeout(this.#heartbeats.get(node));
    this.#heartbeats.delete(node);
    const delays = monitorEventLoopDelay({ resolution: 1 });
    const noticed = new Promise<void>((resolve) => {
      this.times.onInvalidate = resolve;
    });
    // The server's timers keep no process alive; this one does until it notices.
    const alive = setInterval(ignore, 1_000);
    await noticed;
    clearInterval(alive);
    delays.enable();
    const begin = performance.now();
    const total = this.#placed();
    await this.#waitFor(() => this.#placed() >= total && running().length === 0);
    const milliseconds = round(performance.now() - begin, 1);
    delays.disable();
    return {
      lost: lost.length,
      jobs,
      replaced_ms: milliseconds,
      loop_delay_max_ms: round(delays.max / 1e6, 1),
    };
  }

  #fullestNode(): string {
    const { cpuUsed } = this.#columns;
    let fullest = 0;
    for (let row = 1; row < cpuUsed.length; row++) if (cpuUsed[row]! > cpuUsed[fullest]!) fullest = row;
    return this.#columns.nodeId(fullest) ?? "";
  }

  async stop(): Promise<void> {
    for (const timer of this.#heartbeats.values()) clearTimeout(timer);
    this.#heartbeats.clear();
    await this.server.stop();
    await rm(this.server.folder, { recursive: true, force: true });
  }

  /** Allocations that the columns hold, by the CPU they take: every task takes the same. */
  #placed(): number {
    const used = this.#columns.cpuUsed;
    let sum = 0;
    for (let row = 0; row < used.length; row++) sum += used[row]!;
    return Math.round(sum / TASK.cpu);
  }

  #reaches(total: number, progress: (placed: number) => void): Promise<void> {
    const before = this.#placedBefore;
    return this.#waitFor(() => {
      const placed = this.#placed() - before;
      progress(placed);
      return placed >= total;
    });
  }

  /** Resolves when `done`, which is asked after every commit. */
  #waitFor(done: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let moved = performance.now();
      const stalled = setInterval(() => {
        if (performance.now() - moved < STALLED) return;
        leave();
        reject(
          new Error(
            `nothing was committed for ${STALLED / 1000} s; ${this.#placed()} allocations are placed`,
          ),
        );
      }, 1_000);
      const off = this.server.state.onApplied((_, tables) => {
        if (!tables.has("allocs")) return;
        moved = performance.now();
        if (!done()) return;
        leave();
        resolve();
      });
      const leave = (): void => {
        clearInterval(stalled);
        off();
      };
    });
  }

  /**
   * Lets the threads start and the code become warm: a server that has been up for a while is what is measured. What was
   * placed for that is stopped again.
   */
  async #warmUp(): Promise<void> {
    const first = this.#serial;
    for (const spread of [undefined, "rack"]) {
      await this.schedule({
        jobs: WARM_UP_JOBS,
        count: 100,
        type: "service",
        ...(spread === undefined ? {} : { spread }),
      });
    }
    const { jobs } = this.server.server.endpoints;
    for (let i = first; i < this.#serial; i++)
      await jobs.deregister({ namespace: "default", jobId: `bench-${i}`, purge: true });
    await eventually("the server is at rest", () => {
      const { broker } = this.server.server.endpoints.status.stats();
      return (
        this.#placed() === 0 && broker?.ready === "0" && broker.unacked === "0" && broker.pending === "0"
      );
    });
    this.#placedBefore = 0;
  }

  async #submit(load: Load): Promise<void> {
    const first = this.#serial;
    this.#serial += load.jobs;
    await inParallel(SUBMITTING, load.jobs, async (i) => {
      await this.server.server.endpoints.jobs.register({
        job: benchJob(`bench-${first + i}`, load),
        namespace: "default",
        region: "global",
        enforceIndex: false,
        jobModifyIndex: 0,
        preserveCounts: false,
      });
    });
  }

  /** Every node reports that what it was given runs. */
  async reportRunning(): Promise<void> {
    await inParallel(REGISTERING, this.#nodes.length, async (i) => {
      const node = this.#nodes[i]!;
      let updates: AllocationUpdate[];
      {
        using snapshot = this.server.state.snapshot();
        updates = snapshot.allocationsByNode(node).map(({ ID }) => ({ ...RUNNING, ID, NodeID: node }));
      }
      if (updates.length > 0) await this.server.handler.handle(node, "allocation.update", { updates });
    });
  }

  async #registerNodes(count: number, cpu: number): Promise<void> {
    await inParallel(REGISTERING, count, async (i) => {
      const node = benchNode(i, cpu);
      this.#nodes.push(node.ID);
      const { heartbeatTTL } = await this.server.handler.handle(node.ID, "node.register", { node });
      this.#heartbeatLater(node.ID, heartbeatTTL);
    });
  }

  #heartbeatLater(nodeId: string, ttl: number): void {
    const timer = setTimeout(() => {
      this.server.handler.handle(nodeId, "node.heartbeat", { status: "ready" }).then(
        ({ heartbeatTTL }) => {
          if (this.#heartbeats.has(nodeId)) this.#heartbeatLater(nodeId, heartbeatTTL);
        },
        (error: unknown) => console.error("heartbeat", nodeId, error),
      );
    }, ttl / 2);
    timer.unref();
    this.#heartbeats.set(nodeId, timer);
  }

  #countLog(consensus: Consensus): void {
    const propose = consensus.propose.bind(consensus);
    consensus.propose = (command) => {
      this.#logBytes += command.length;
      return propose(command);
    };
  }
}

function isEverywhere(type: string): boolean {
  return type === "system" || type === "sysbatch";
}

function benchNode(i: number, cpu: number): Node {
  const node = paperNode({ Meta: { rack: `r${i % RACKS}` } });
  return {
    ...node,
    NodeResources: {
      ...node.NodeResources,
      Cpu: { ...node.NodeResources.Cpu, CpuShares: cpu },
      Memory: { MemoryMB: NODE.memory },
      Disk: { DiskMB: NODE.disk },
    },
  };
}

function benchJob(id: string, load: Load): object {
  const count = isEverywhere(load.type) ? 1 : load.count;
  return paperJob(id, count, TASK.cpu, {
    Type: load.type,
    Constraints: [
      { LTarget: "${attr.kernel.name}", Operand: "=", RTarget: "linux" },
      { LTarget: "${attr.cpu.arch}", Operand: "=", RTarget: "amd64" },
    ],
    ...(load.spread === undefined
      ? {}
      : { Spreads: [{ Attribute: `\${meta.${load.spread}}`, Weight: 100 }] }),
    TaskGroups: [
      {
        Name: "g",
        Count: count,
        EphemeralDisk: { SizeMB: TASK.disk },
        ...(load.ports === undefined || load.ports === 0
          ? {}
          : {
              Networks: [
                { DynamicPorts: Array.from({ length: load.ports }, (_, i) => ({ Label: `p${i}` })) },
              ],
            }),
        Tasks: [
          {
            Name: "t",
            Driver: "raw_exec",
            Config: { command: "/bin/true" },
            Resources: { CPU: TASK.cpu, MemoryMB: TASK.memory },
          },
        ],
      },
    ],
  });
}

/** Runs `work` for 0 to `count` - 1, `width` at a time. */
async function inParallel(width: number, count: number, work: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await work(i);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, lane));
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
