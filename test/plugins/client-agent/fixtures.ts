/** A job's allocation, an agent's configuration and a link without a network, for the client agent's tests. */
import {
  type AgentClientHandler,
  type AgentInfo,
  type AgentLink,
  type AgentLinkOptions,
  type AllocationUpdate,
  type AssignedAllocation,
  type AssignmentDelta,
  DEFAULT_AUTOPILOT_SETTINGS,
  DEFAULT_SCHEDULER_SETTINGS,
  generateUUID,
  type Job,
  type Node,
  RemoteError,
  type ServerMethods,
  type Task,
  type TaskGroup,
} from "@drover/plugin-sdk";
import { makeGroup, makeJob, makeTask } from "@drover/plugin-sdk/testing";

/** Waits for a condition; rejects with what was waited for after `seconds`. */
export async function until(what: string, condition: () => unknown, seconds = 15): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The servers' side of a link, in memory. */
export class FakeLink implements AgentLink {
  nodes: Node[] = [];
  heartbeats = 0;
  updates: AllocationUpdate[] = [];
  batches: number[] = [];
  assigned = new Map<string, AssignedAllocation>();
  /** Error that the named method answers next, once. */
  failNext: { method: keyof ServerMethods; error: Error } | undefined;
  heartbeatTTL = 60_000;
  private handler: AgentClientHandler | undefined;
  private index = 1;
  private up = false;

  constructor(private readonly connectsAtOnce = true) {}

  async open(options: AgentLinkOptions): Promise<void> {
    this.handler = options.handler;
    if (this.connectsAtOnce) this.setConnected(true);
  }

  setConnected(up: boolean): void {
    this.up = up;
    this.agent.connection(up);
  }

  get agent(): AgentClientHandler {
    if (this.handler === undefined) throw new Error("the link was not opened");
    return this.handler;
  }

  async call<M extends keyof ServerMethods>(
    method: M,
    request: ServerMethods[M]["request"],
  ): Promise<ServerMethods[M]["answer"]> {
    if (!this.up) throw new RemoteError("unreachable", "the link is down");
    if (this.failNext?.method === method) {
      const { error } = this.failNext;
      this.failNext = undefined;
      throw error;
    }
    const copy = structuredClone(request) as never;
    const handlers: {
      [K in keyof ServerMethods]: (r: ServerMethods[K]["request"]) => ServerMethods[K]["answer"];
    } = {
      "node.register": ({ node }) => {
        this.nodes.push(node);
        return { heartbeatTTL: this.heartbeatTTL, index: this.index };
      },
      "node.heartbeat": () => {
        this.heartbeats += 1;
        return { heartbeatTTL: this.heartbeatTTL, index: this.index };
      },
      "assignment.pull": ({ known }) => ({
        index: this.index,
        upserts: [...this.assigned.values()].filter(
          (allocation) => (known[allocation.ID] ?? -1) < allocation.AllocModifyIndex,
        ),
        removed: Object.keys(known).filter((id) => !this.assigned.has(id)),
      }),
      "allocation.update": ({ updates }) => {
        this.batches.push(updates.length);
        this.updates.push(...updates);
        return { index: this.index };
      },
    };
    return handlers[method](copy);
  }

  async close(): Promise<void> {
    this.up = false;
  }

  /** Assigns or changes allocations and tells the agent. */
  async push(...allocations: AssignedAllocation[]): Promise<void> {
    this.index += 1;
    for (const allocation of allocations) this.assigned.set(allocation.ID, allocation);
    await this.deliver({ index: this.index, upserts: allocations, removed: [] });
  }

  async remove(...removed: string[]): Promise<void> {
    this.index += 1;
    for (const id of removed) this.assigned.delete(id);
    await this.deliver({ index: this.index, upserts: [], removed });
  }

  /** Asks for the end of an allocation, as servers do. */
  async stop(id: string): Promise<void> {
    const allocation = this.assigned.get(id)!;
    await this.push({
      ...allocation,
      DesiredStatus: "stop",
      AllocModifyIndex: allocation.AllocModifyIndex + 1,
    });
  }

  /** The newest report of an allocation. */
  last(id: string): AllocationUpdate | undefined {
    return this.updates.findLast((update) => update.ID === id);
  }

  private async deliver(delta: AssignmentDelta): Promise<void> {
    await this.agent.handle("assignment.changed", structuredClone(delta));
  }
}

export interface AgentOverrides {
  readonly devMode?: boolean;
  readonly client?: Partial<AgentInfo["config"]["client"]>;
}

export function makeAgentInfo(
  dataDir: string,
  { devMode = false, client = {} }: AgentOverrides = {},
): AgentInfo {
  const addresses = { http: "127.0.0.1:4646", rpc: "127.0.0.1:4647", serf: "127.0.0.1:4648" };
  return {
    nodeName: "host-1",
    region: "global",
    datacenter: "dc1",
    version: "0.1.0",
    devMode,
    dataDir,
    serverEnabled: false,
    clientEnabled: true,
    selfConfig: {},
    advertise: addresses,
    config: {
      region: "global",
      datacenter: "dc1",
      name: "host-1",
      data_dir: dataDir,
      bind_addr: "127.0.0.1",
      log_level: "INFO",
      log_json: false,
      log_file: "",
      enable_debug: false,
      leave_on_interrupt: false,
      leave_on_terminate: false,
      disable_update_check: true,
      http_api_response_headers: {},
      ports: { http: 4646, rpc: 4647, serf: 4648 },
      addresses,
      advertise: addresses,
      autopilot: DEFAULT_AUTOPILOT_SETTINGS,
      tls: {
        http: false,
        rpc: false,
        ca_file: "",
        cert_file: "",
        key_file: "",
        rpc_upgrade_mode: false,
        tls_cipher_suites: "",
        tls_min_version: "tls12",
        tls_prefer_server_cipher_suites: false,
        verify_https_client: false,
        verify_server_hostname: false,
      },
      limits: {
        http_max_conns_per_client: 100,
        rpc_max_conns_per_client: 100,
        https_handshake_timeout: 5_000,
        rpc_handshake_timeout: 5_000,
      },
      server: {
        enabled: false,
        bootstrap_expect: 1,
        server_join: { start_join: [], retry_join: [], retry_max: 0, retry_interval: 30_000 },
        data_dir: "",
        heartbeat_grace: 10_000,
        min_heartbeat_ttl: 10_000,
        max_heartbeats_per_second: 50,
        num_schedulers: 1,
        enabled_schedulers: [],
        eval_nack_timeout: 60_000,
        eval_delivery_limit: 3,
        eval_gc_threshold: 3_600_000,
        job_gc_threshold: 14_400_000,
        node_gc_threshold: 86_400_000,
        deployment_gc_threshold: 3_600_000,
        job_gc_interval: 300_000,
        default_scheduler_config: DEFAULT_SCHEDULER_SETTINGS,
      },
      client: {
        enabled: true,
        state_dir: "",
        alloc_dir: "",
        servers: [],
        node_class: "",
        meta: {},
        options: {},
        network_interface: "lo",
        cpu_total_compute: 0,
        memory_total_mb: 0,
        min_dynamic_port: 20_000,
        max_dynamic_port: 32_000,
        max_kill_timeout: 30_000,
        gc_max_allocs: 50,
        gc_disk_usage_threshold: 100,
        gc_interval: 60_000,
        reserved: { cpu: 0, memory: 0, disk: 0, cores: "", reserved_ports: "" },
        host_volumes: {},
        ...client,
      },
      telemetry: {
        collection_interval: 1000,
        prometheus_metrics: false,
        publish_allocation_metrics: false,
        publish_node_metrics: false,
        disable_hostname: false,
      },
      schedulers: {},
      plugins: {},
      files: [],
    },
  };
}

/** A task that runs a text with /bin/sh under raw_exec. */
export function shellTask(name: string, script: string, overrides: Partial<Task> = {}): Task {
  return makeTask({ Name: name, Config: { command: "/bin/sh", args: ["-c", script] }, ...overrides });
}

export interface AllocationOverrides {
  readonly type?: string;
  readonly group?: Partial<TaskGroup>;
  readonly job?: Partial<Job>;
  readonly allocation?: Partial<AssignedAllocation>;
}

export function makeAllocation(tasks: Task[], overrides: AllocationOverrides = {}): AssignedAllocation {
  const group = makeGroup({
    Name: "app",
    ReschedulePolicy: null,
    RestartPolicy: { Attempts: 0, Delay: 0, Interval: 60e9, Mode: "fail" },
    Tasks: tasks,
    ...overrides.group,
  });
  const Job = makeJob({
    CreateIndex: 10,
    JobModifyIndex: 10,
    ModifyIndex: 10,
    Status: "running",
    SubmitTime: 1,
    TaskGroups: [group],
    Type: overrides.type ?? "service",
    ...overrides.job,
  });
  return {
    AllocModifyIndex: 10,
    AllocatedResources: {
      Shared: { DiskMB: 300, Networks: null, Ports: null },
      TaskLifecycles: Object.fromEntries(tasks.map((task) => [task.Name, task.Lifecycle])),
      Tasks: Object.fromEntries(
        tasks.map((task) => [
          task.Name,
          {
            Cpu: { CpuShares: 100, ReservedCores: null },
            Devices: null,
            Memory: { MemoryMB: 64, MemoryMaxMB: 0 },
            Networks: null,
          },
        ]),
      ),
    },
    ClientDescription: "",
    ClientStatus: "pending",
    CreateIndex: 10,
    CreateTime: 1,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredStatus: "run",
    EvalID: generateUUID(),
    ID: generateUUID(),
    Job,
    JobID: Job.ID,
    JobVersion: 0,
    Metrics: null,
    ModifyIndex: 10,
    ModifyTime: 1,
    Name: "web.app[0]",
    Namespace: "default",
    NetworkStatus: null,
    NodeID: "",
    NodeName: "host-1",
    TaskGroup: "app",
    TaskStates: null,
    ...overrides.allocation,
  };
}
