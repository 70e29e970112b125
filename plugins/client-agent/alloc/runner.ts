/** One allocation: its tasks in the order of their lifecycle, what happens to all when one ends, its status. */
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  type AllocationUpdate,
  AllocClientStatus,
  type AllocDeploymentStatus,
  AllocDesiredStatus,
  type AssignedAllocation,
  clientTerminal,
  HealthCheck,
  JobType,
  type Logger,
  lookupTaskGroup,
  type Node,
  serverTerminal,
  type TaskDriver,
  type TaskEvent,
  type TaskGroup,
  type TaskState,
  TaskStatus,
} from "@drover/plugin-sdk";
import { sleep } from "../clock.js";
import type { AllocationStatus } from "../state/store.js";
import * as events from "../task/events.js";
import { newTaskRecord, type TaskRecord, TaskRunner } from "../task/runner.js";
import { clientStatusOf } from "./client-status.js";
import { HealthWatch } from "./health.js";
import { isPoststop, isSidecar, mayStart, onlySidecarsLeft } from "./lifecycle.js";

export interface AllocationRunnerOptions {
  readonly folder: string;
  readonly node: () => Node;
  readonly region: string;
  readonly driver: (name: string) => TaskDriver | undefined;
  readonly log: Logger;
  /** Nanoseconds. */
  readonly maxKillTimeout: number;
  /** Resolves when the allocations that must end first have (the one it replaces, those it pushed aside). */
  readonly predecessors: (signal: AbortSignal) => Promise<void>;
  /** Folder of another allocation of this node, for its sticky disk; undefined where it isn't here. */
  readonly folderOf: (id: string) => string | undefined;
  readonly saveAllocation: (allocation: AssignedAllocation) => Promise<void>;
  readonly saveStatus: (id: string, status: AllocationStatus) => Promise<void>;
  /** Its status changed: the servers want to know. */
  readonly report: (update: AllocationUpdate) => void;
}

export class AllocationRunner {
  readonly id: string;
  readonly tasks: readonly TaskRunner[];
  private readonly records: Record<string, TaskRecord> = {};
  private deploymentStatus: AllocDeploymentStatus | null;
  private deploymentId: string;
  private isReported: boolean;
  private health: HealthWatch | undefined;
  private saved: Promise<void> = Promise.resolve();
  private stopping: Promise<void> | undefined;
  private destroying = false;
  private readonly waiters = new Set<() => void>();
  private readonly ending = new AbortController();
  /** Order in which allocations ended, for garbage collection; monotonic milliseconds. */
  private endedAt: number | undefined;

  constructor(
    private assigned: AssignedAllocation,
    status: AllocationStatus | undefined,
    private readonly options: AllocationRunnerOptions,
  ) {
    this.id = assigned.ID;
    this.deploymentStatus = status?.deploymentStatus ?? assigned.DeploymentStatus;
    this.deploymentId = status?.deploymentId ?? assigned.DeploymentID;
    this.isReported = status?.reported ?? false;
    const tasks = this.group.Tasks;
    this.tasks = tasks.map((task) => {
      const record = status?.tasks[task.Name] ?? newTaskRecord();
      this.records[task.Name] = record;
      const runner: TaskRunner = new TaskRunner({
        task,
        record,
        current: () => ({ allocation: this.assigned, job: this.assigned.Job }),
        node: options.node,
        region: options.region,
        allocationFolder: options.folder,
        driver: options.driver(task.Driver),
        log: options.log.child({ alloc: this.id }),
        maxKillTimeout: options.maxKillTimeout,
        mayStart: (signal) =>
          this.waitUntil(() => mayStart(task, tasks, (name) => this.stateOf(name)), signal),
        changed: () => this.changed(),
        persisted: () => this.saved,
      });
      return runner;
    });
    if (this.terminal) this.endedAt = 0;
  }

  get allocation(): AssignedAllocation {
    return this.assigned;
  }

  get folder(): string {
    return this.options.folder;
  }

  /** All tasks are dead. */
  get terminal(): boolean {
    return clientTerminal({ ClientStatus: this.clientStatus().status });
  }

  /** The final status is known to the servers. */
  get reported(): boolean {
    return this.isReported;
  }

  /** When it ended; undefined while it runs. */
  get ended(): number | undefined {
    return this.endedAt;
  }

  clientStatus() {
    return clientStatusOf(Object.values(this.records).map((record) => record.state));
  }

  task(name: string): TaskRunner | undefined {
    return this.tasks.find((task) => task.name === name);
  }

  /** Starts or goes on with everything; resolves when all tasks are dead or the agent lets go. */
  async run(): Promise<void> {
    if (this.terminal) return;
    await this.options.saveAllocation(this.assigned);
    const fresh = this.tasks.every((task) => task.state.Events.length === 0);
    if (serverTerminal(this.assigned)) void this.stop();
    else if (fresh) {
      for (const task of this.tasks) task.emit(events.received());
      await this.options.predecessors(this.ending.signal);
      await this.takeStickyDisk();
    }
    this.watchHealth();
    const runs = this.tasks.map((task) => task.run());
    this.changed();
    await Promise.all(runs);
    this.changed();
  }

  /** Takes what the servers changed. */
  async update(allocation: AssignedAllocation): Promise<void> {
    if (allocation.AllocModifyIndex <= this.assigned.AllocModifyIndex) return;
    const moved = allocation.DeploymentID !== this.deploymentId;
    this.assigned = allocation;
    if (moved) {
      this.deploymentId = allocation.DeploymentID;
      this.deploymentStatus = allocation.DeploymentStatus;
    }
    await this.options.saveAllocation(allocation);
    // The servers may have missed how it is, or go on from a state of before they knew.
    if (this.terminal || allocation.ClientStatus !== this.clientStatus().status) this.report();
    if (this.terminal) return;
    if (serverTerminal(allocation)) {
      void this.stop();
      return;
    }
    for (const task of this.tasks) task.policyChanged();
    if (moved) this.watchHealth();
  }

  /** Ends its tasks; poststop tasks still run. Resolves when they have ended. */
  stop(): Promise<void> {
    // What ends now says nothing of how it ran.
    this.health?.stop();
    this.stopping ??= this.stopAll();
    return this.stopping;
  }

  /** Kills everything within `limit` milliseconds for each task, poststop tasks too. */
  async kill(limit: number): Promise<void> {
    this.destroying = true;
    this.ending.abort();
    this.health?.stop();
    await Promise.all(this.tasks.map((task) => task.kill({ limit })));
  }

  /** Leaves the tasks running without watching them. */
  async detach(): Promise<void> {
    this.ending.abort();
    this.health?.stop();
    for (const task of this.tasks) task.detach();
    await this.saved;
  }

  /** Stops what runs and removes its folder. */
  async destroy(): Promise<void> {
    this.health?.stop();
    this.destroying = true;
    await this.stop();
    await Promise.all(this.tasks.map((task) => task.kill()));
    await rm(this.options.folder, { recursive: true, force: true });
  }

  /** Restarts one task, or every one that runs. */
  async restart(name?: string): Promise<void> {
    const chosen = this.choose(name);
    await Promise.all(chosen.map((task) => task.restart("User requested restart")));
  }

  async signal(signal: string, name?: string): Promise<void> {
    await Promise.all(this.choose(name).map((task) => task.signal(signal, "")));
  }

  /** The servers have taken this update. */
  acknowledged(update: AllocationUpdate): void {
    if (this.isReported || !clientTerminal(update) || !this.terminal) return;
    this.isReported = true;
    this.save();
  }

  currentUpdate(): AllocationUpdate {
    const { status, description } = this.clientStatus();
    return {
      ID: this.id,
      NodeID: this.assigned.NodeID,
      ClientStatus: status,
      ClientDescription: description,
      TaskStates: structuredClone(
        Object.fromEntries(Object.entries(this.records).map(([name, record]) => [name, record.state])),
      ),
      DeploymentStatus: this.healthFound(status),
      NetworkStatus: { Address: "", DNS: null, InterfaceName: "" },
    };
  }

  /** Resolves when its tasks are dead. */
  async whenTerminal(signal: AbortSignal): Promise<void> {
    await this.waitUntil(() => this.terminal, signal);
  }

  private get group(): TaskGroup {
    const group = lookupTaskGroup(this.assigned.Job, this.assigned.TaskGroup);
    if (group === undefined) {
      throw new Error(
        `job ${this.assigned.JobID} of allocation ${this.id} has no group "${this.assigned.TaskGroup}"`,
      );
    }
    return group;
  }

  private choose(name: string | undefined): TaskRunner[] {
    if (name !== undefined && name !== "") {
      const task = this.task(name);
      if (task === undefined) throw new Error("Task not found");
      return [task];
    }
    const running = this.tasks.filter((task) => task.state.State === TaskStatus.Running);
    if (running.length === 0) throw new Error("Task not running");
    return running;
  }

  private stateOf(name: string): TaskState | undefined {
    return this.records[name]?.state;
  }

  /** Something about a task changed: keep it, act on it, tell it. */
  private changed(): void {
    this.save();
    for (const wake of [...this.waiters]) wake();
    this.reactToDeaths();
    this.health?.check();
    if (this.terminal) {
      this.endedAt ??= performance.now();
      this.health?.stop();
    }
    this.report();
  }

  /** A failed task takes the others with it, so does the leader; sidecars end with what they stood beside. */
  private reactToDeaths(): void {
    if (this.destroying || this.stopping !== undefined) return;
    const live = this.tasks.filter((task) => task.state.State !== TaskStatus.Dead && !isPoststop(task.task));
    if (live.length === 0) return;
    const dead = this.tasks.filter((task) => task.state.State === TaskStatus.Dead);
    const failed = dead.find((task) => task.state.Failed);
    const leader = dead.find((task) => task.task.Leader);
    if (failed !== undefined) this.stopBecause(live, () => events.siblingFailed(failed.name));
    else if (leader !== undefined) this.stopBecause(live, events.leaderDead);
    else if (onlySidecarsLeft(this.group.Tasks, (name) => this.stateOf(name))) {
      this.stopBecause(
        live.filter((task) => isSidecar(task.task)),
        events.mainDead,
      );
    }
  }

  private stopBecause(tasks: readonly TaskRunner[], event: () => TaskEvent): void {
    this.stopping = this.killInOrder(tasks);
    for (const task of tasks) task.emit(event());
  }

  private async stopAll(): Promise<void> {
    const delay = this.group.ShutdownDelay ?? 0;
    if (delay > 0 && !this.destroying) await sleep(delay / 1e6, this.ending.signal);
    this.ending.abort();
    await this.killInOrder(this.tasks.filter((task) => !isPoststop(task.task)));
    await Promise.all(this.tasks.map((task) => (this.destroying ? task.kill() : task.done)));
  }

  /** The leader first, then the rest together. */
  private async killInOrder(tasks: readonly TaskRunner[]): Promise<void> {
    await Promise.all(tasks.filter((task) => task.task.Leader).map((task) => task.kill()));
    await Promise.all(tasks.map((task) => task.kill()));
  }

  private judged(Healthy: boolean, Timestamp: string): AllocDeploymentStatus {
    return { Canary: this.deploymentStatus?.Canary ?? false, Healthy, ModifyIndex: 0, Timestamp };
  }

  /** What failed in a deployment is unhealthy, also where health is for an operator to find, or nobody watched. */
  private healthFound(status: AllocClientStatus): AllocDeploymentStatus | null {
    const found = this.deploymentStatus;
    const isOpen = this.deploymentId !== "" && (found === null || found.Healthy === null);
    if (isOpen && status === AllocClientStatus.Failed) {
      const ends = this.tasks.map((task) => task.state.FinishedAt ?? "");
      return this.judged(false, ends.sort().at(-1) || new Date().toISOString());
    }
    return found === null ? null : { ...found };
  }

  private watchHealth(): void {
    this.health?.stop();
    this.health = undefined;
    // A service outside of a deployment replaces one that left its node: who drains nodes waits for its health.
    const isService = this.assigned.Job.Type === JobType.Service;
    const strategy =
      this.assigned.DeploymentID !== "" ? this.group.Update : isService ? this.group.Migrate : null;
    if (strategy === null || strategy.HealthCheck === HealthCheck.Manual) return;
    if (this.deploymentStatus !== null && this.deploymentStatus.Healthy !== null) return;
    if (this.assigned.DesiredStatus !== AllocDesiredStatus.Run) return;
    this.health = new HealthWatch(
      this.group.Tasks,
      strategy,
      (name) => this.stateOf(name),
      ({ healthy, reasons }) => {
        this.deploymentStatus = this.judged(healthy, new Date().toISOString());
        for (const [task, reason] of reasons) this.task(task)?.emit(events.unhealthy(reason));
        this.changed();
      },
    );
    this.health.start();
  }

  /** Moves `alloc/data` and the tasks' `local/` over from the allocation it replaces on this node. */
  private async takeStickyDisk(): Promise<void> {
    const previous = this.assigned.PreviousAllocation ?? "";
    const source = previous === "" ? undefined : this.options.folderOf(previous);
    if (source === undefined || !this.group.EphemeralDisk.Sticky) return;
    try {
      const parts = [join("alloc", "data"), ...this.tasks.map((task) => join(task.name, "local"))];
      for (const part of parts) await moveContent(join(source, part), join(this.options.folder, part));
    } catch (error) {
      const text = `data of allocation ${previous} could not be taken over: ${String(error)}`;
      this.options.log.error({ alloc: this.id }, text);
      for (const task of this.tasks) task.emit(events.setupFailure(text));
    }
  }

  private save(): void {
    this.saved = this.options.saveStatus(this.id, {
      tasks: this.records,
      deploymentStatus: this.deploymentStatus,
      deploymentId: this.deploymentId,
      reported: this.isReported,
    });
  }

  private report(): void {
    if (!this.destroying || this.terminal) this.options.report(this.currentUpdate());
  }

  private async waitUntil(condition: () => boolean, signal: AbortSignal): Promise<void> {
    while (!condition() && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.waiters.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.waiters.add(wake);
        signal.addEventListener("abort", wake);
      });
    }
  }
}

async function moveContent(from: string, to: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(from);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  await mkdir(to, { recursive: true });
  for (const name of names) await rename(join(from, name), join(to, name));
}
