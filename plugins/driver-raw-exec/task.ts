/** Tasks as the driver hands them out. */
import { constants } from "node:os";
import type { DriverTask, ExitResult, TaskHandleState, TaskStats } from "@drover/plugin-sdk";
import { isAlive, killSession, type ProcessIdentity, signalProcess } from "./executor/proc.js";
import type { ProcessExit } from "./executor/protocol.js";
import type { ExecutorHandle } from "./executor-handle.js";
import { TaskStatsReader } from "./task-stats.js";

/** What a task's KillSignal means when it is empty. */
const DEFAULT_KILL_SIGNAL = "SIGINT";
/** How often a process that isn't our executor's is looked at, milliseconds. */
const POLL = 250;

/** A task under an executor that this agent can talk to. */
export class RawExecTask implements DriverTask {
  readonly pid: number;
  private readonly exit: Promise<ExitResult>;
  private resolveExit!: (result: ExitResult) => void;
  private readonly usage: TaskStatsReader;
  private orphaned = false;

  constructor(
    readonly key: string,
    readonly state: TaskHandleState,
    readonly executor: ExecutorHandle,
    readonly identity: ProcessIdentity,
    private readonly onDestroy: () => void,
  ) {
    this.pid = identity.pid;
    this.usage = new TaskStatsReader(identity);
    this.exit = new Promise((resolve) => {
      this.resolveExit = resolve;
    });
  }

  ended(exit: ProcessExit): void {
    this.resolveExit({ exitCode: exit.code, signal: exit.signal, oomKilled: false });
  }

  /** Its executor is gone: nobody can tell how it ends any more, so it must not go on unseen. */
  lost(reason: string): void {
    this.orphaned = true;
    killSession(this.identity);
    this.resolveExit({ exitCode: -1, signal: 0, oomKilled: false, error: reason });
  }

  wait(): Promise<ExitResult> {
    return this.exit;
  }

  async stop(signal: string, timeout: number): Promise<void> {
    const name = signalName(signal);
    const stopping = this.executor.call("stop", { key: this.key, signal: name, timeout });
    // The end of the task counts, not the answer: a lost executor gives none.
    await Promise.race([this.exit, stopping]);
    await this.exit;
  }

  async signal(signal: string): Promise<void> {
    await this.executor.call("signal", { key: this.key, signal: signalName(signal) });
  }

  async stats(): Promise<TaskStats> {
    return this.usage.read();
  }

  async destroy(): Promise<void> {
    await this.exit;
    this.onDestroy();
    if (!this.orphaned) await this.executor.call("forget", { key: this.key });
  }
}

/**
 * A task under an executor of another protocol version: it runs on and logs on there, and is watched from outside. Its
 * exit code can't be known.
 */
export class ForeignTask implements DriverTask {
  readonly pid: number;
  private readonly usage: TaskStatsReader;
  private readonly exit: Promise<ExitResult>;

  constructor(
    readonly state: TaskHandleState,
    private readonly identity: ProcessIdentity,
    reason: string,
  ) {
    this.pid = identity.pid;
    this.usage = new TaskStatsReader(identity);
    this.exit = new Promise((resolve) => {
      const timer = setInterval(() => {
        if (isAlive(identity)) return;
        clearInterval(timer);
        resolve({ exitCode: -1, signal: 0, oomKilled: false, error: reason });
      }, POLL).unref();
    });
  }

  wait(): Promise<ExitResult> {
    return this.exit;
  }

  async stop(signal: string, timeout: number): Promise<void> {
    signalProcess(this.identity, signalName(signal));
    const timer = setTimeout(() => killSession(this.identity), timeout);
    await this.exit;
    clearTimeout(timer);
  }

  async signal(signal: string): Promise<void> {
    if (!signalProcess(this.identity, signalName(signal))) throw new Error(`process ${this.pid} has ended`);
  }

  async stats(): Promise<TaskStats> {
    return this.usage.read();
  }

  async destroy(): Promise<void> {
    killSession(this.identity);
    await this.exit;
  }
}

function signalName(signal: string): NodeJS.Signals {
  const name = signal === "" ? DEFAULT_KILL_SIGNAL : signal.toUpperCase();
  const full = name.startsWith("SIG") ? name : `SIG${name}`;
  if (!Object.hasOwn(constants.signals, full)) throw new Error(`unknown signal "${signal}"`);
  return full as NodeJS.Signals;
}
