/** One task from "received" to "dead": prepares and starts it, watches it, restarts it by policy, kills it. */
import {
  type Allocation,
  type DriverTask,
  type ExitResult,
  type Job,
  type Logger,
  lookupTaskGroup,
  type Node,
  type RestartPolicy,
  type Task,
  type TaskDriver,
  type TaskEvent,
  type TaskHandleState,
  type TaskState,
  type TaskStats,
  TaskStatus,
} from "@drover/plugin-sdk";
import { restartsOnSuccess } from "../alloc/lifecycle.js";
import { sleep } from "../clock.js";
import * as events from "./events.js";
import { PrepareError, prepareTask } from "./prepare.js";
import { type RestartDecision, RestartTracker, type TaskEnd } from "./restart-tracker.js";

/** What is kept of a task over the agent's restarts. */
export interface TaskRecord {
  state: TaskState;
  handle: TaskHandleState | null;
  /** A start was under way: the task may run although its handle was not saved. */
  starting: boolean;
  /** Its folders were built, and the event said so. */
  prepared: boolean;
}

export function newTaskRecord(): TaskRecord {
  return {
    state: {
      Events: [],
      Failed: false,
      FinishedAt: null,
      LastRestart: null,
      Restarts: 0,
      StartedAt: null,
      State: TaskStatus.Pending,
      TaskHandle: null,
    },
    handle: null,
    starting: false,
    prepared: false,
  };
}

export interface TaskRunnerOptions {
  readonly task: Task;
  readonly record: TaskRecord;
  /** The allocation and its job as they are now: an update in place may have changed them. */
  readonly current: () => { readonly allocation: Allocation; readonly job: Job };
  readonly node: () => Node;
  readonly region: string;
  readonly allocationFolder: string;
  readonly driver: TaskDriver | undefined;
  readonly log: Logger;
  /** Nanoseconds. */
  readonly maxKillTimeout: number;
  /** Resolves when the lifecycle lets it start, or `signal` aborts. */
  readonly mayStart: (signal: AbortSignal) => Promise<void>;
  /** The record changed. */
  readonly changed: () => void;
  /** Resolves when the record is on disk. */
  readonly persisted: () => Promise<void>;
}

/** How often a driver is asked to stop a task before it is given up. */
const STOP_ATTEMPTS = 5;
const STOP_PAUSE = 1000;

/** Thrown inside `run` when the task must not start any more. */
class Killed extends Error {}

export class TaskRunner {
  readonly name: string;
  /** Resolves when the task is dead, or left running by `detach`. */
  readonly done: Promise<void>;
  private resolveDone!: () => void;
  private readonly killed = new AbortController();
  private readonly detached = new AbortController();
  private readonly tracker: RestartTracker;
  private handle: DriverTask | undefined;
  private stopping: Promise<void> | undefined;
  private restartRequested = false;
  /** Upper bound of the kill timeout in milliseconds, for an agent in a hurry. */
  private killLimit = Number.POSITIVE_INFINITY;
  private skipShutdownDelay = false;

  constructor(private readonly options: TaskRunnerOptions) {
    this.name = options.task.Name;
    this.done = new Promise((resolve) => {
      this.resolveDone = resolve;
    });
    const { job } = options.current();
    this.tracker = new RestartTracker(this.restartPolicy(), restartsOnSuccess(options.task, job.Type));
  }

  get task(): Task {
    return this.options.task;
  }

  get state(): TaskState {
    return this.options.record.state;
  }

  get record(): TaskRecord {
    return this.options.record;
  }

  /** Starts or goes on; never rejects. */
  async run(): Promise<void> {
    try {
      if (this.state.State !== TaskStatus.Dead) await this.live();
    } catch (error) {
      this.options.log.error({ task: this.name, error: String(error) }, "task runner failed");
      this.emit(events.driverFailure(`internal error: ${String(error)}`));
      this.die(true);
    } finally {
      this.resolveDone();
    }
  }

  /** Adds an event to the task's history. */
  emit(event: TaskEvent): void {
    const { state } = this.options.record;
    state.Events = [...state.Events, event].slice(-events.MAX_EVENTS);
    this.options.changed();
  }

  /** Ends the task for good; resolves when it is dead. `limit`: most milliseconds between signal and kill. */
  async kill(options: { readonly limit?: number } = {}): Promise<void> {
    if (this.state.State === TaskStatus.Dead) return;
    if (options.limit !== undefined) {
      this.killLimit = options.limit;
      this.skipShutdownDelay = true;
      // Already being stopped with patience: ask again with less.
      if (this.stopping !== undefined) void this.handle?.stop(this.task.KillSignal, options.limit);
    }
    this.killed.abort();
    await this.done;
  }

  /** Leaves the task running and stops watching it. */
  detach(): void {
    this.detached.abort();
    this.resolveDone();
  }

  /** Stops the task and starts it again, outside of its restart policy. Rejects when it does not run. */
  async restart(reason: string): Promise<void> {
    const handle = this.running();
    this.emit(events.restartSignaled(reason));
    this.restartRequested = true;
    await this.stop(handle);
  }

  async signal(signal: string, reason: string): Promise<void> {
    const handle = this.running();
    this.emit(events.signaling(signal, reason));
    await handle.signal(signal);
  }

  /** Undefined while it does not run. */
  async stats(): Promise<TaskStats | undefined> {
    return this.handle?.stats();
  }

  policyChanged(): void {
    this.tracker.setPolicy(this.restartPolicy());
  }

  private async live(): Promise<void> {
    const { record } = this.options;
    if (record.state.Events.length === 0) this.emit(events.received());
    this.handle = await this.recover();
    for (;;) {
      let end: TaskEnd;
      try {
        if (this.handle === undefined) this.handle = await this.start();
        const exit = await this.watch(this.handle);
        if (this.detached.signal.aborted) return;
        end = await this.ended(this.handle, exit);
      } catch (error) {
        if (this.detached.signal.aborted) return;
        if (error instanceof Killed) break;
        if (!(error instanceof PrepareError)) throw error;
        this.emit(error.event);
        end = { kind: "start_error", recoverable: error.recoverable };
      }
      if (this.killed.signal.aborted) {
        this.emit(events.killed());
        break;
      }
      if (!(await this.goOn(this.tracker.decide(end)))) return;
    }
    this.die(false);
  }

  /** A task that a former agent process started. */
  private async recover(): Promise<DriverTask | undefined> {
    const { record, driver, log } = this.options;
    if (driver === undefined || (record.handle === null && !record.starting)) return undefined;
    try {
      const found =
        record.handle === null
          ? await driver.find?.(`${this.options.current().allocation.ID}/${this.name}`)
          : await driver.recover(record.handle);
      record.starting = false;
      if (found !== undefined) {
        log.info({ task: this.name, pid: found.pid }, "task found again");
        record.handle = found.state;
        if (record.state.State !== TaskStatus.Running) {
          this.setRunning();
          this.emit(events.started());
        } else {
          this.options.changed();
        }
        return found;
      }
    } catch (error) {
      log.warn({ task: this.name, error: String(error) }, "task could not be found again");
      const reason = error instanceof Error ? error.message : String(error);
      this.emit(
        events.driverMessage(`Task was lost while the agent was away (${reason}); starting it again`),
      );
    }
    record.handle = null;
    record.starting = false;
    record.state.State = TaskStatus.Pending;
    this.options.changed();
    return undefined;
  }

  private async start(): Promise<DriverTask> {
    const { record, driver, task } = this.options;
    await this.options.mayStart(AbortSignal.any([this.killed.signal, this.detached.signal]));
    this.checkKilled();
    if (driver === undefined) {
      throw new PrepareError(events.driverFailure(`this node has no driver "${task.Driver}"`), false);
    }
    if (!record.prepared) {
      record.prepared = true;
      this.emit(events.setup("Building Task Directory"));
    }
    const config = await prepareTask({
      ...this.options.current(),
      task,
      node: this.options.node(),
      region: this.options.region,
      allocationFolder: this.options.allocationFolder,
      driver,
      emit: (event) => this.emit(event),
    });
    this.checkKilled();
    record.starting = true;
    this.options.changed();
    await this.options.persisted();
    let handle: DriverTask;
    try {
      handle = await driver.start(config);
    } catch (error) {
      record.starting = false;
      const message = error instanceof Error ? error.message : String(error);
      throw new PrepareError(events.driverFailure(message), false);
    }
    record.handle = handle.state;
    record.starting = false;
    this.setRunning();
    this.emit(events.started());
    await this.options.persisted();
    return handle;
  }

  /** Waits for the end of the task; brings it about when the task is killed. */
  private async watch(handle: DriverTask): Promise<ExitResult> {
    const exit = handle.wait();
    const kill = aborted(this.killed.signal);
    const first = await Promise.race([exit, kill, aborted(this.detached.signal)]);
    if (first !== undefined || this.detached.signal.aborted) return first ?? UNKNOWN_EXIT;
    const delay = this.task.ShutdownDelay;
    if (delay > 0 && !this.skipShutdownDelay) {
      this.emit(events.shutdownDelay(delay));
      await Promise.race([exit, sleep(delay / 1e6, this.detached.signal)]);
      if (this.detached.signal.aborted) return UNKNOWN_EXIT;
    }
    this.emit(events.killing(this.killTimeout()));
    try {
      await this.stop(handle);
    } catch (error) {
      const message = `the task could not be killed: ${String(error)}`;
      this.options.log.error({ task: this.name }, message);
      this.emit(events.killed(message));
      return { ...UNKNOWN_EXIT, error: message };
    }
    return exit;
  }

  private async stop(handle: DriverTask): Promise<void> {
    this.stopping ??= this.stopStubbornly(handle).finally(() => {
      this.stopping = undefined;
    });
    await this.stopping;
  }

  private async stopStubbornly(handle: DriverTask): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const timeout = Math.min(this.killTimeout() / 1e6, this.killLimit);
        await handle.stop(this.task.KillSignal, timeout);
        return;
      } catch (error) {
        this.options.log.warn(
          { task: this.name, attempt, error: String(error) },
          "task could not be stopped",
        );
        if (attempt === STOP_ATTEMPTS) throw error;
        await sleep(STOP_PAUSE, this.detached.signal);
      }
    }
  }

  private async ended(handle: DriverTask, exit: ExitResult): Promise<TaskEnd> {
    const { record } = this.options;
    this.handle = undefined;
    record.handle = null;
    this.emit(events.terminated(exit.exitCode, exit.signal, exit.oomKilled, exit.error));
    // First on disk that it ended, then the driver forgets how.
    await this.options.persisted();
    try {
      await handle.destroy();
    } catch (error) {
      this.options.log.warn(
        { task: this.name, error: String(error) },
        "the driver could not release the task",
      );
    }
    if (this.restartRequested) {
      this.restartRequested = false;
      return { kind: "restart_requested" };
    }
    return { kind: "exit", success: exit.exitCode === 0 && exit.signal === 0 && exit.error === undefined };
  }

  /** Carries out a decision; false when the task is dead. */
  private async goOn(decision: RestartDecision): Promise<boolean> {
    const { state } = this.options.record;
    if (decision.action === "complete") {
      this.die(false);
      return false;
    }
    if (decision.action === "fail") {
      this.emit(events.notRestarting(decision.reason));
      this.die(true);
      return false;
    }
    state.State = TaskStatus.Pending;
    state.Restarts += 1;
    state.LastRestart = new Date().toISOString();
    this.emit(events.restarting(decision.delay, decision.reason));
    await sleep(decision.delay / 1e6, AbortSignal.any([this.killed.signal, this.detached.signal]));
    if (this.detached.signal.aborted) return false;
    if (!this.killed.signal.aborted) return true;
    this.die(false);
    return false;
  }

  private setRunning(): void {
    const { state } = this.options.record;
    state.State = TaskStatus.Running;
    state.StartedAt = new Date().toISOString();
  }

  private die(failed: boolean): void {
    const { state } = this.options.record;
    state.State = TaskStatus.Dead;
    state.Failed = failed;
    state.FinishedAt ??= new Date().toISOString();
    this.options.changed();
  }

  private checkKilled(): void {
    if (this.killed.signal.aborted || this.detached.signal.aborted) throw new Killed();
  }

  private running(): DriverTask {
    if (this.handle === undefined || this.state.State !== TaskStatus.Running)
      throw new Error("Task not running");
    return this.handle;
  }

  /** Nanoseconds, bounded by the node's `max_kill_timeout`. */
  private killTimeout(): number {
    return Math.min(this.task.KillTimeout, this.options.maxKillTimeout);
  }

  private restartPolicy(): RestartPolicy {
    const { allocation, job } = this.options.current();
    return (
      this.task.RestartPolicy ??
      lookupTaskGroup(job, allocation.TaskGroup)?.RestartPolicy ?? {
        Attempts: 0,
        Delay: 0,
        Interval: 0,
        Mode: "fail",
      }
    );
  }
}

const UNKNOWN_EXIT: ExitResult = { exitCode: -1, signal: 0, oomKilled: false };

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}
