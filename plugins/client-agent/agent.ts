/** The client agent: runs what the servers assign to this node, and tells them how it goes. */
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  type AgentClientHandler,
  type AgentInfo,
  type AgentLink,
  type AgentMethods,
  type AgentStreams,
  AllocClientStatus,
  type AssignedAllocation,
  type AssignmentDelta,
  type ClientStatus,
  clientTerminal,
  type FileFrame,
  isUUID,
  type Logger,
  lookupTaskGroup,
  type Metrics,
  type Node,
  RemoteError,
  type TaskDriver,
  type TaskStats,
  TaskStatus,
} from "@drover/plugin-sdk";
import { AllocationRunner } from "./alloc/runner.js";
import { formatDuration, sleep } from "./clock.js";
import { FileService } from "./files/service.js";
import { chooseGarbage } from "./gc.js";
import { recordGauges } from "./metrics.js";
import { buildNode, refreshDrivers } from "./node.js";
import { loadIdentity } from "./state/identity.js";
import { type AllocationStatus, AllocationStore } from "./state/store.js";
import { diskUsage, HostStatsReader } from "./stats/host.js";
import { allocationUsage } from "./stats/usage.js";
import { ServerSession } from "./sync/session.js";
import { UpdateQueue } from "./sync/updates.js";

/** How often drivers are asked whether they still work, milliseconds. */
const DRIVER_CHECK = 30_000;
/** How often cut-off groups are looked at (`stop_after_client_disconnect`), milliseconds. */
const DISCONNECT_CHECK = 1000;
/** Between signal and kill when a development agent ends, milliseconds: all of it must fit into three seconds. */
const DEV_KILL_LIMIT = 1000;

export interface ClientAgentOptions {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly agent: AgentInfo;
  readonly link: AgentLink;
  readonly drivers: readonly TaskDriver[];
}

export class ClientAgent implements ClientStatus, AgentClientHandler {
  private readonly log: Logger;
  private readonly runners = new Map<string, AllocationRunner>();
  /** Allocations that ended before this agent knew them: id to AllocModifyIndex. */
  private readonly ignored = new Map<string, number>();
  private readonly removing = new Map<string, Promise<void>>();
  private readonly files = new FileService((id) => this.fileOwner(id));
  private readonly stateDir: string;
  private readonly allocDir: string;
  private readonly closed = new AbortController();
  private readonly cleanups: (() => void)[] = [];
  private readonly updates: UpdateQueue;
  private readonly session: ServerSession;
  private node: Node | undefined;
  private store: AllocationStore | undefined;
  private hostStats: HostStatsReader | undefined;
  private applying: Promise<void> = Promise.resolve();
  private opened = false;

  constructor(private readonly options: ClientAgentOptions) {
    const { agent, link, metrics } = options;
    this.log = options.log;
    this.stateDir = agent.config.client.state_dir || join(agent.dataDir, "client");
    this.allocDir = agent.config.client.alloc_dir || join(agent.dataDir, "alloc");
    this.updates = new UpdateQueue({
      log: this.log,
      send: async (updates) => void (await link.call("allocation.update", { updates })),
      acknowledged: (update) => this.runners.get(update.ID)?.acknowledged(update),
    });
    this.session = new ServerSession({
      link,
      log: this.log,
      metrics,
      node: () => this.self,
      known: () => this.known(),
      apply: (delta) => this.apply(delta),
    });
  }

  /** Empty before the agent started. */
  get nodeId(): string {
    return this.node?.ID ?? "";
  }

  health(): { readonly ok: boolean; readonly message: string } {
    const failure = this.store?.failure();
    if (failure !== undefined)
      return { ok: false, message: `the client's state can't be written: ${failure}` };
    return this.session.registered
      ? { ok: true, message: "ok" }
      : { ok: false, message: this.session.problem };
  }

  stats(): Readonly<Record<string, string>> {
    const silence = this.session.silence;
    return {
      node_id: this.nodeId,
      known_servers: this.session.registered ? "1" : "0",
      num_allocations: String(this.runners.size),
      last_heartbeat: silence === undefined ? "" : formatDuration(Math.round(silence) * 1e6),
      heartbeat_ttl: formatDuration(this.session.heartbeatTtl * 1e6),
    };
  }

  /** Makes the node, goes on with what ran before, and connects; it does not wait for a server. */
  async start(): Promise<void> {
    const { agent, drivers, link, metrics } = this.options;
    await mkdir(this.stateDir, { recursive: true, mode: 0o700 });
    await chmod(this.stateDir, 0o700);
    await mkdir(this.allocDir, { recursive: true });
    // Tasks of any user must get to their own folder, and nobody should list the others.
    await chmod(this.allocDir, 0o711);
    const identity = await loadIdentity(this.stateDir);
    this.node = await buildNode({
      agent,
      identity,
      allocDir: this.allocDir,
      drivers,
      warn: (message) => this.log.warn({}, message),
    });
    const { CpuShares, TotalCpuCores } = this.node.NodeResources.Cpu;
    this.hostStats = new HostStatsReader(this.allocDir, CpuShares / TotalCpuCores);
    this.store = await AllocationStore.open(this.stateDir, this.log);
    for (const { allocation, status } of await this.store.load()) this.adopt(allocation, status);
    for (const runner of this.runners.values()) {
      if (runner.terminal && !runner.reported) this.updates.push(runner.currentUpdate());
      void this.runAllocation(runner);
    }
    this.opened = true;
    await link.open({ nodeId: identity.id, stateDir: this.stateDir, region: agent.region, handler: this });
    this.every(DRIVER_CHECK, () => this.checkDrivers());
    this.every(agent.config.client.gc_interval, () => this.collectGarbage());
    this.every(DISCONNECT_CHECK, () => this.stopCutOff());
    this.cleanups.push(metrics.onCollect(() => recordGauges(metrics, this.self, [...this.runners.values()])));
  }

  /** Leaves the tasks running; in development mode ends them. Also after a `start` that failed half-way. */
  async stop(): Promise<void> {
    const { agent, drivers, link } = this.options;
    this.closed.abort();
    for (const cleanup of this.cleanups) cleanup();
    this.session.close();
    this.updates.close();
    const runners = [...this.runners.values()];
    const end = agent.devMode
      ? runners.map((runner) => runner.kill(DEV_KILL_LIMIT))
      : runners.map((runner) => runner.detach());
    await settleAll([...end], this.log);
    await settleAll(
      drivers.map((driver) => driver.shutdown({ killTasks: agent.devMode })),
      this.log,
    );
    if (this.opened) await link.close();
    this.store?.close();
  }

  connection(connected: boolean): void {
    this.session.connection(connected);
    this.updates.setConnected(connected);
  }

  async handle<M extends keyof AgentMethods>(
    method: M,
    request: AgentMethods[M]["request"],
  ): Promise<AgentMethods[M]["answer"]> {
    const methods: {
      [K in keyof AgentMethods]: (r: AgentMethods[K]["request"]) => Promise<AgentMethods[K]["answer"]>;
    } = {
      "assignment.changed": async (delta) => {
        await this.session.pushed(delta);
        return { index: delta.index };
      },
      "fs.list": (r) => this.files.list(r.allocId, r.path),
      "fs.stat": (r) => this.files.stat(r.allocId, r.path),
      "allocation.stats": (r) => this.allocationStats(r.allocId, r.task),
      "allocation.restart": async (r) => {
        await this.runner(r.allocId).restart(r.task);
        return { Index: 0 };
      },
      "allocation.signal": async (r) => {
        await this.runner(r.allocId).signal(r.signal, r.task);
        return { Index: 0 };
      },
      "node.stats": () => this.hostStats!.read(),
    };
    if (!Object.hasOwn(methods, method)) {
      throw new RemoteError("bad_request", `this agent has no method "${String(method)}"`);
    }
    try {
      return await methods[method](request);
    } catch (error) {
      if (error instanceof RemoteError) throw error;
      throw new RemoteError("internal", error instanceof Error ? error.message : String(error));
    }
  }

  stream<M extends keyof AgentStreams>(
    method: M,
    request: AgentStreams[M]["request"],
    signal: AbortSignal,
  ): AsyncIterable<FileFrame> {
    const streams: {
      [K in keyof AgentStreams]: (r: AgentStreams[K]["request"]) => AsyncIterable<FileFrame>;
    } = {
      "fs.read": (r) => this.files.read(r, signal),
      "fs.logs": (r) => this.files.logs(r, signal),
    };
    if (!Object.hasOwn(streams, method)) {
      throw new RemoteError("bad_request", `this agent has no stream "${String(method)}"`);
    }
    return streams[method](request);
  }

  private get self(): Node {
    if (this.node === undefined) throw new Error("the client agent has not started");
    return this.node;
  }

  private known(): Record<string, number> {
    const known = Object.fromEntries(this.ignored);
    for (const [id, runner] of this.runners) known[id] = runner.allocation.AllocModifyIndex;
    return known;
  }

  /** One delta after the other, so that an older one never overtakes. */
  private apply(delta: AssignmentDelta): Promise<void> {
    const next = this.applying.then(() => this.applyNow(delta));
    this.applying = next.catch((error: unknown) => {
      this.log.error({ error: String(error) }, "an assignment could not be applied");
    });
    return next;
  }

  private async applyNow(delta: AssignmentDelta): Promise<void> {
    if (this.closed.signal.aborted) return;
    const started: AllocationRunner[] = [];
    for (const allocation of delta.upserts) {
      if (this.removing.has(allocation.ID)) continue;
      const runner = this.runners.get(allocation.ID);
      if (runner !== undefined) {
        await runner.update(allocation);
      } else if (clientTerminal(allocation)) {
        // It ended here in an earlier life of this node, or was collected: it never runs twice.
        this.ignored.set(allocation.ID, allocation.AllocModifyIndex);
      } else {
        const adopted = this.adopt(allocation, undefined);
        if (adopted !== undefined) started.push(adopted);
      }
    }
    for (const runner of started) void this.runAllocation(runner);
    for (const id of delta.removed) {
      this.ignored.delete(id);
      void this.remove(id, "the servers no longer know it");
    }
  }

  private adopt(
    allocation: AssignedAllocation,
    status: AllocationStatus | undefined,
  ): AllocationRunner | undefined {
    const store = this.store;
    if (store === undefined) throw new Error("the client agent has not started");
    try {
      checkNames(allocation);
      const runner = new AllocationRunner(allocation, status, {
        folder: join(this.allocDir, allocation.ID),
        node: () => this.self,
        region: this.options.agent.region,
        driver: (name) => this.options.drivers.find((driver) => driver.name === name),
        log: this.log,
        maxKillTimeout: this.options.agent.config.client.max_kill_timeout * 1e6,
        predecessors: (signal) => this.predecessors(allocation, signal),
        folderOf: (id) => this.runners.get(id)?.folder,
        saveAllocation: (assigned) => store.saveAllocation(assigned),
        saveStatus: (id, record) => store.saveStatus(id, record),
        report: (update) => this.updates.push(update),
      });
      this.runners.set(allocation.ID, runner);
      return runner;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.log.error({ alloc: allocation.ID, error: message }, "an allocation can't be run");
      this.ignored.set(allocation.ID, allocation.AllocModifyIndex);
      this.updates.push({
        ID: allocation.ID,
        NodeID: this.nodeId,
        ClientStatus: AllocClientStatus.Failed,
        ClientDescription: message,
        TaskStates: {},
        DeploymentStatus: null,
        NetworkStatus: null,
      });
      return undefined;
    }
  }

  private async runAllocation(runner: AllocationRunner): Promise<void> {
    try {
      await runner.run();
    } catch (error) {
      this.log.error({ alloc: runner.id, error: String(error) }, "allocation runner failed");
    }
    if (runner.terminal && !this.closed.signal.aborted) await this.collectGarbage();
  }

  /** Waits for the allocations of this node whose place it takes. */
  private async predecessors(allocation: AssignedAllocation, signal: AbortSignal): Promise<void> {
    const ids = [allocation.PreviousAllocation ?? "", ...(allocation.PreemptedAllocations ?? [])];
    await Promise.all(ids.map((id) => this.runners.get(id)?.whenTerminal(signal)));
  }

  private remove(id: string, reason: string): Promise<void> {
    const runner = this.runners.get(id);
    if (runner === undefined) return Promise.resolve();
    let removal = this.removing.get(id);
    if (removal === undefined) {
      this.log.info({ alloc: id }, `allocation is removed: ${reason}`);
      removal = this.removeNow(id, runner).finally(() => this.removing.delete(id));
      this.removing.set(id, removal);
    }
    return removal;
  }

  private async removeNow(id: string, runner: AllocationRunner): Promise<void> {
    try {
      await runner.destroy();
    } catch (error) {
      this.log.error({ alloc: id, error: String(error) }, "the allocation's folder could not be removed");
    }
    this.updates.drop(id);
    await this.store?.remove(id);
    this.runners.delete(id);
  }

  private async collectGarbage(): Promise<void> {
    const { gc_max_allocs, gc_disk_usage_threshold } = this.options.agent.config.client;
    const { UsedPercent } = await diskUsage(this.allocDir, "", "");
    const ids = chooseGarbage([...this.runners.values()], UsedPercent, {
      maxAllocations: gc_max_allocs,
      maxDiskPercent: gc_disk_usage_threshold,
    });
    for (const id of ids) {
      const runner = this.runners.get(id);
      // The servers still know it: it must not come back as a new one.
      if (runner !== undefined) this.ignored.set(id, runner.allocation.AllocModifyIndex);
      await this.remove(id, "garbage collection");
    }
  }

  private async checkDrivers(): Promise<void> {
    const before = this.self;
    this.node = await refreshDrivers(before, this.options.drivers);
    if (this.node !== before) this.session.nodeChanged();
  }

  /** Groups with `stop_after_client_disconnect` end when no server was heard for that long. */
  private async stopCutOff(): Promise<void> {
    const silence = this.session.silence;
    if (silence === undefined) return;
    for (const runner of this.runners.values()) {
      const { Job, TaskGroup, ID } = runner.allocation;
      const limit = lookupTaskGroup(Job, TaskGroup)?.StopAfterClientDisconnect ?? null;
      if (limit === null || limit <= 0 || silence * 1e6 < limit || runner.terminal) continue;
      this.log.warn(
        { alloc: ID },
        "allocation is stopped: no server was heard for stop_after_client_disconnect",
      );
      void runner.stop();
    }
  }

  private async allocationStats(allocId: string, task: string | undefined): Promise<object> {
    const runner = this.runner(allocId);
    if (task !== undefined && task !== "" && runner.task(task) === undefined) {
      throw new RemoteError("bad_request", `unknown task name "${task}"`);
    }
    const found = new Map<string, TaskStats>();
    for (const candidate of runner.tasks) {
      if (task !== undefined && task !== "" && candidate.name !== task) continue;
      const stats = await candidate.stats();
      if (stats !== undefined) found.set(candidate.name, stats);
    }
    const { CpuShares, TotalCpuCores } = this.self.NodeResources.Cpu;
    return allocationUsage(found, CpuShares / TotalCpuCores);
  }

  private fileOwner(id: string) {
    const runner = this.runner(id);
    return {
      folder: runner.folder,
      tasks: runner.tasks.map((task) => task.name),
      live: (name: string) => (runner.task(name)?.state.State ?? TaskStatus.Dead) !== TaskStatus.Dead,
    };
  }

  private runner(id: string): AllocationRunner {
    const runner = this.runners.get(id);
    if (runner === undefined) throw new RemoteError("not_found", `Unknown allocation "${id}"`);
    return runner;
  }

  /** Repeats until the agent stops; a failure is told and the next turn comes all the same. */
  private every(milliseconds: number, action: () => Promise<void>): void {
    const loop = async () => {
      for (;;) {
        await sleep(Math.max(1000, milliseconds), this.closed.signal, true);
        if (this.closed.signal.aborted) return;
        try {
          await action();
        } catch (error) {
          this.log.error({ error: String(error) }, "a periodic check of the client agent failed");
        }
      }
    };
    void loop();
  }
}

/** Names become folders: they must be plain. Throws an Error that says which isn't. */
function checkNames(allocation: AssignedAllocation): void {
  if (!isUUID(allocation.ID)) throw new Error(`allocation id "${allocation.ID}" is not a UUID`);
  for (const task of lookupTaskGroup(allocation.Job, allocation.TaskGroup)?.Tasks ?? []) {
    if (task.Name === "" || /[/\0]/.test(task.Name) || [".", "..", "alloc"].includes(task.Name)) {
      throw new Error(`task name "${task.Name}" can't be the name of a folder`);
    }
  }
}

async function settleAll(work: readonly Promise<void>[], log: Logger): Promise<void> {
  for (const result of await Promise.allSettled(work)) {
    if (result.status === "rejected")
      log.error({ error: String(result.reason) }, "the client agent's stop met an error");
  }
}
