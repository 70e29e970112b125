/** A server with the real state store and scheduling pool, over a consensus and a transport that tests hold in hand. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type {
  AdmissionHook,
  AgentInfo,
  AgentServerHandler,
  AgentTransport,
  Allocation,
  AllocationUpdate,
  AssignmentDelta,
  ClusterKeyPair,
  Consensus,
  EventSink,
  Gossip,
  Logger,
  Metrics,
  Node,
  SchedulerRules,
  ServerConfiguration,
  ServerDiscovery,
  ServerNetwork,
} from "@drover/plugin-sdk";
import { DEFAULT_AUTOPILOT_SETTINGS, DEFAULT_SCHEDULER_SETTINGS } from "@drover/plugin-sdk";
import { MemoryNetwork, makeNode, quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import type { CheckedScheduler } from "../../../core/kernel/index.js";
import { SchedulerCatalog } from "../../../core/server/scheduler-catalog.js";
import { Server, type ServerParts } from "../../../core/server/server.js";
import { StateStore } from "../../../core/state/index.js";
import { SingleConsensus } from "./single-consensus.js";

/** Agents that exist in name only: they are told their assignment and say what the test makes them say. */
export class PaperTransport implements AgentTransport {
  shared = false;
  handler: AgentServerHandler | undefined;
  readonly assigned = new Map<string, Map<string, Allocation>>();

  async serve(handler: AgentServerHandler): Promise<void> {
    this.handler = handler;
  }

  isConnected(): boolean {
    return true;
  }

  async call(nodeId: string, _method: string, delta: unknown): Promise<never> {
    this.take(nodeId, delta as AssignmentDelta);
    return { index: (delta as AssignmentDelta).index } as never;
  }

  take(nodeId: string, delta: AssignmentDelta): void {
    const node = this.assigned.get(nodeId) ?? new Map<string, Allocation>();
    this.assigned.set(nodeId, node);
    for (const allocation of delta.upserts) node.set(allocation.ID, allocation);
    for (const id of delta.removed) node.delete(id);
  }

  // biome-ignore lint/correctness/useYield: no paper agent has files
  async *stream(): AsyncIterable<never> {
    throw new Error("paper agents have no files");
  }

  async unserve(): Promise<void> {
    this.handler = undefined;
  }

  clusterKeyPair(): ClusterKeyPair {
    return { publicKey: new Uint8Array(32), secretKey: new Uint8Array(32) };
  }

  async createClusterKey(): Promise<ClusterKeyPair> {
    return this.clusterKeyPair();
  }

  async adoptClusterKey(): Promise<void> {}

  brokerUrls(): readonly string[] {
    return [];
  }

  stats(): ReturnType<AgentTransport["stats"]> {
    return { connected: 0, received: 0, sent: 0, refused: {} };
  }
}

/** What a server under measurement has in place of the parts of a test. */
export interface BenchServerParts<C extends Consensus> {
  readonly folder: string;
  readonly consensus: C;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Keys of the `server` block. */
  readonly settings: Partial<ServerConfiguration>;
}

/** How a server differs from that of most tests. */
export interface BenchServerOptions {
  /** Scheduler plugins beside the built-in ones. */
  readonly plugins?: readonly CheckedScheduler[];
  readonly rules?: SchedulerRules;
  /** In place of the usual class. */
  readonly catalog?: typeof SchedulerCatalog;
  /** Of the agent's `server` block. */
  readonly server?: Partial<ServerConfiguration>;
  /** What else of the agent differs. */
  readonly agent?: Partial<Pick<AgentInfo, "nodeName" | "region" | "advertise">>;
  /** In the place of paper agents. */
  readonly agents?: AgentTransport;
  /** One that reaches other servers. */
  readonly network?: ServerNetwork;
  readonly gossip?: Gossip;
  readonly discoveries?: readonly ServerDiscovery[];
  readonly memberTimes?: ServerParts["memberTimes"];
  readonly autopilotInterval?: number;
  fatal?(error: Error): void;
}

function builtIn(type: string): CheckedScheduler {
  const module = new URL(`../../../plugins/scheduler-${type}/plugin.js`, import.meta.url).href;
  return {
    plugin: `scheduler-${type}`,
    module: { module, config: {} },
    types: [type],
    filters: [],
    scorers: [],
  };
}

export class BenchServer<C extends Consensus = SingleConsensus> {
  readonly folder: string;
  readonly consensus: C;
  readonly transport = new PaperTransport();
  readonly state: StateStore;
  readonly server: Server;

  constructor(
    hooks: readonly AdmissionHook[] = [],
    sinks: readonly EventSink[] = [],
    parts?: Partial<BenchServerParts<C>>,
    options: BenchServerOptions = {},
  ) {
    this.folder = parts?.folder ?? mkdtempSync(join(tmpdir(), "drover-server-"));
    this.consensus = parts?.consensus ?? (new SingleConsensus() as unknown as C);
    this.state = StateStore.open({
      path: join(this.folder, "state"),
      ...(options.agent?.region === undefined ? {} : { region: options.agent.region }),
    });
    const agent = {
      nodeName: "test",
      region: "global",
      datacenter: "dc1",
      version: "0.0.0",
      advertise: { http: "127.0.0.1:4646", rpc: "127.0.0.1:4647", serf: "127.0.0.1:4648" },
      ...options.agent,
      config: {
        autopilot: DEFAULT_AUTOPILOT_SETTINGS,
        server: {
          bootstrap_expect: 1,
          server_join: { start_join: [], retry_join: [], retry_max: 0, retry_interval: 30_000 },
          heartbeat_grace: 10_000,
          min_heartbeat_ttl: 10_000,
          max_heartbeats_per_second: 50,
          num_schedulers: 1,
          eval_nack_timeout: 60_000,
          eval_delivery_limit: 3,
          eval_gc_threshold: 3_600_000,
          job_gc_threshold: 14_400_000,
          node_gc_threshold: 86_400_000,
          deployment_gc_threshold: 3_600_000,
          job_gc_interval: 300_000,
          default_scheduler_config: DEFAULT_SCHEDULER_SETTINGS,
          ...parts?.settings,
          ...options.server,
        },
      },
    } as unknown as AgentInfo;
    const plugins = [...["service", "batch", "system", "sysbatch"].map(builtIn), ...(options.plugins ?? [])];
    this.server = new Server({
      agent,
      consensus: this.consensus,
      transport: options.agents ?? this.transport,
      network: options.network ?? new MemoryNetwork().join("127.0.0.1:4647"),
      gossip: options.gossip,
      discoveries: options.discoveries ?? [],
      ...(options.memberTimes === undefined ? {} : { memberTimes: options.memberTimes }),
      ...(options.autopilotInterval === undefined ? {} : { autopilotInterval: options.autopilotInterval }),
      state: this.state,
      hooks,
      sinks,
      schedulers: new (options.catalog ?? SchedulerCatalog)(plugins, options.rules ?? {}),
      types: plugins.flatMap(({ types }) => types),
      log: parts?.log ?? quietLogger,
      metrics: parts?.metrics ?? quietMetrics,
      fatal:
        options.fatal ??
        ((error) => {
          throw error;
        }),
    });
  }

  start(): Promise<void> {
    return this.server.start();
  }

  async stop(): Promise<void> {
    await this.server.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  get handler(): AgentServerHandler {
    return this.transport.handler!;
  }

  async register(node: Node): Promise<void> {
    await this.handler.handle(node.ID, "node.register", { node });
    this.transport.take(node.ID, await this.handler.handle(node.ID, "assignment.pull", { known: {} }));
  }

  /** Live allocations of a job. */
  live(job: string): Allocation[] {
    using snapshot = this.state.snapshot();
    return snapshot
      .allocationsByJob("default", job)
      .filter(
        (each) => each.DesiredStatus === "run" && !["complete", "failed", "lost"].includes(each.ClientStatus),
      );
  }

  async report(allocation: Allocation, ClientStatus: Allocation["ClientStatus"]): Promise<void> {
    const update: AllocationUpdate = {
      ID: allocation.ID,
      NodeID: allocation.NodeID,
      ClientStatus,
      ClientDescription: "",
      TaskStates: {},
      DeploymentStatus: null,
      NetworkStatus: null,
    };
    await this.handler.handle(allocation.NodeID, "allocation.update", { updates: [update] });
  }
}

let serial = 0;

/** A node that can run raw_exec, with an address of its own, as its agent registers it. */
export function paperNode(extra: Partial<Node> = {}): Node {
  serial++;
  return makeNode({
    ID: `00000000-0000-4000-8000-${String(serial).padStart(12, "0")}`,
    Name: `node-${serial}`,
    Status: "initializing",
    ...extra,
  });
}

/** A job of one group as an API client posts it. */
export function paperJob(id: string, count: number, cpu = 100, extra: object = {}): object {
  return {
    ID: id,
    Name: id,
    Type: "service",
    Datacenters: ["dc1"],
    TaskGroups: [
      {
        Name: "g",
        Count: count,
        Tasks: [
          {
            Name: "t",
            Driver: "raw_exec",
            Config: { command: "/bin/true" },
            Resources: { CPU: cpu, MemoryMB: 32 },
          },
        ],
      },
    ],
    ...extra,
  };
}
