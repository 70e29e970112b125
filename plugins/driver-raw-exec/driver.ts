/** The raw_exec driver: tasks are plain processes of the host, held by an executor that outlives the agent. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, unlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import type {
  DriverInfo,
  DriverTask,
  Logger,
  TaskConfig,
  TaskDriver,
  TaskHandleState,
} from "@drover/plugin-sdk";
import { z } from "zod";
import { findCommand } from "./command.js";
import { bootId, isAlive, killSession, signalProcess } from "./executor/proc.js";
import type { ExecutorEvent, ProcessStatus } from "./executor/protocol.js";
import { ExecutorHandle, type ExecutorListener } from "./executor-handle.js";
import { taskEnvironment } from "./host-environment.js";
import { socketFolder } from "./socket-folder.js";
import { ForeignTask, RawExecTask } from "./task.js";
import { parseTaskConfig, validateTaskConfig } from "./task-config.js";
import { lookUpUser } from "./user.js";

const HANDLE_VERSION = 1;

/** Data of a task's handle on disk. */
const Handle = z.object({
  /** `<allocation id>/<task name>`. */
  id: z.string(),
  key: z.string(),
  pid: z.number(),
  startTime: z.number(),
  bootId: z.string(),
  executor: z.object({
    name: z.string().regex(/^executor-[0-9a-f]{8}\.sock$/),
    pid: z.number(),
    startTime: z.number(),
  }),
});

export interface RawExecOptions {
  readonly enabled: boolean;
  /** Folder of the client agent's state. */
  readonly stateDir: string;
  /** Names of the agent's own environment variables that tasks never get. */
  readonly denylist: readonly string[];
  /** Milliseconds that an executor stays without tasks and agent. */
  readonly linger: number;
  /** Milliseconds that tasks may run without an agent; 0 for as long as they like. */
  readonly tether: number;
}

/** How long a new executor may take to listen, and one that was shut down to end, milliseconds. */
const EXECUTOR_START = 10_000;
const EXECUTOR_END = 1000;
const POLL = 10;

export class RawExecDriver implements TaskDriver {
  readonly name = "raw_exec";
  private readonly executors = new Map<string, Promise<ExecutorHandle>>();
  private readonly tasks = new Map<string, RawExecTask>();
  private readonly foreign = new Set<ForeignTask>();
  private current: Promise<ExecutorHandle> | undefined;
  private readonly listener: ExecutorListener;

  constructor(
    private readonly log: Logger,
    private readonly options: RawExecOptions,
  ) {
    this.listener = {
      event: (_executor, event) => this.onEvent(event),
      reconnected: (executor) => void this.refresh(executor),
      lost: (executor, reason) => this.onLost(executor, reason),
    };
  }

  async fingerprint(): Promise<Omit<DriverInfo, "UpdateTime">> {
    const absent = (HealthDescription: string) => ({
      Attributes: null,
      Detected: false,
      HealthDescription,
      Healthy: false,
    });
    if (!this.options.enabled) return absent("disabled");
    if (process.platform !== "linux") return absent(`raw_exec needs Linux, this is ${process.platform}`);
    const path = (process.env.PATH ?? "").split(delimiter);
    const attributes = { "driver.raw_exec": "true" };
    if (!path.some((folder) => existsSync(join(folder, "mkfifo")))) {
      return {
        Attributes: attributes,
        Detected: true,
        HealthDescription: "the program mkfifo is not in the agent's PATH",
        Healthy: false,
      };
    }
    return { Attributes: attributes, Detected: true, HealthDescription: "Healthy", Healthy: true };
  }

  validate(config: Readonly<Record<string, unknown>>): readonly string[] {
    return validateTaskConfig(config);
  }

  async start(config: TaskConfig): Promise<DriverTask> {
    if (!this.options.enabled) throw new Error("the raw_exec driver is disabled on this node");
    const { command, args } = parseTaskConfig(config.config);
    const env = taskEnvironment(process.env, config.env, this.options.denylist);
    const account = await lookUpUser(config.user);
    const program = await findCommand(command, config.taskDir, env.PATH ?? "");
    const executor = await this.executorForStart();
    const key = randomBytes(8).toString("hex");
    const status = await executor.call("start", {
      key,
      id: config.id,
      command: program,
      args,
      env,
      cwd: config.taskDir,
      ...account,
      logs: {
        folder: config.logDir,
        stdout: `${config.task.Name}.stdout`,
        stderr: `${config.task.Name}.stderr`,
        maxFiles: Math.max(1, config.maxLogFiles),
        maxBytes: Math.max(1, Math.floor(config.maxLogFileSizeMB * 1024 * 1024)),
      },
    });
    return this.track(executor, status);
  }

  async recover(state: TaskHandleState): Promise<DriverTask> {
    if (state.driver !== this.name || state.version !== HANDLE_VERSION) {
      throw new Error(`not a handle of this driver: ${state.driver}, version ${state.version}`);
    }
    const handle = Handle.parse(state.data);
    if (handle.bootId !== bootId()) throw new Error("the machine was restarted since the task was started");
    let executor: ExecutorHandle;
    try {
      executor = await this.openExecutor(handle.executor.name);
    } catch (error) {
      signalProcess(handle.executor, "SIGKILL");
      killSession(handle);
      throw new Error(`executor lost: ${(error as Error).message}`);
    }
    if (!executor.compatible) {
      if (!isAlive(handle)) throw new Error(`the task's process ${handle.pid} has ended`);
      const task = new ForeignTask(
        state,
        handle,
        `the exit code is not known: the task's executor speaks protocol ${executor.protocol}`,
      );
      this.foreign.add(task);
      void task.wait().then(() => this.foreign.delete(task));
      return task;
    }
    const known = this.tasks.get(handle.key);
    if (known !== undefined) return known;
    const status = await executor.call("status", { key: handle.key });
    if (status === null || status.startTime !== handle.startTime) {
      throw new Error("the executor no longer knows the task");
    }
    return this.track(executor, status);
  }

  async find(id: string): Promise<DriverTask | undefined> {
    for (const name of this.socketNames()) {
      const executor = await this.openExecutor(name).catch((error: unknown) => {
        this.log.debug({ executor: name, error: String(error) }, "executor does not answer");
        return undefined;
      });
      if (executor?.compatible !== true) continue;
      const status = await executor.call("find", { id });
      if (status !== null) return this.tasks.get(status.key) ?? this.track(executor, status);
    }
    return undefined;
  }

  async shutdown(options: { readonly killTasks: boolean }): Promise<void> {
    const executors = await Promise.allSettled(this.executors.values());
    this.executors.clear();
    this.current = undefined;
    for (const result of executors) {
      if (result.status === "rejected") continue;
      const executor = result.value;
      if (!options.killTasks || !executor.compatible) await executor.close();
      else {
        await executor.shutdown();
        const deadline = performance.now() + EXECUTOR_END;
        while (isAlive(executor.identity) && performance.now() < deadline) await pause(POLL);
        signalProcess(executor.identity, "SIGKILL");
      }
    }
    if (options.killTasks) await Promise.all([...this.foreign].map((task) => task.stop("SIGKILL", 0)));
  }

  private track(executor: ExecutorHandle, status: ProcessStatus): RawExecTask {
    const identity = { pid: status.pid, startTime: status.startTime };
    const state: TaskHandleState = {
      driver: this.name,
      version: HANDLE_VERSION,
      data: {
        id: status.id,
        key: status.key,
        ...identity,
        bootId: bootId(),
        executor: { name: executor.name, ...executor.identity },
      } satisfies z.infer<typeof Handle>,
    };
    const task = new RawExecTask(status.key, state, executor, identity, () => this.tasks.delete(status.key));
    this.tasks.set(status.key, task);
    // It may have ended before its start was answered.
    const exit = status.exit ?? this.earlyExits.get(status.key);
    this.earlyExits.delete(status.key);
    if (exit !== undefined) task.ended(exit);
    return task;
  }

  /** Ends that were told before the answer to the start was handled. */
  private readonly earlyExits = new Map<string, { readonly code: number; readonly signal: number }>();

  private onEvent(event: ExecutorEvent): void {
    const task = this.tasks.get(event.key);
    if (event.event === "log_error") {
      this.log.warn({ task: task?.state.data.id }, event.message);
    } else if (task === undefined) {
      this.earlyExits.set(event.key, event.exit);
    } else {
      task.ended(event.exit);
    }
  }

  /** After a broken connection: takes the ends that were not told. */
  private async refresh(executor: ExecutorHandle): Promise<void> {
    for (const task of this.tasks.values()) {
      if (task.executor !== executor) continue;
      try {
        const status = await executor.call("status", { key: task.key });
        if (status === null) task.lost("the executor no longer knows the task");
        else if (status.exit !== undefined) task.ended(status.exit);
      } catch (error) {
        this.log.warn(
          { task: task.state.data.id, error: String(error) },
          "the task's state could not be read",
        );
      }
    }
  }

  private onLost(executor: ExecutorHandle, reason: string): void {
    this.executors.delete(executor.name);
    this.current = undefined;
    this.log.error(
      { executor: executor.name, pid: executor.identity.pid },
      `${reason}; its tasks are killed`,
    );
    signalProcess(executor.identity, "SIGKILL");
    for (const task of this.tasks.values()) {
      if (task.executor !== executor) continue;
      this.tasks.delete(task.key);
      task.lost(reason);
    }
  }

  private executorForStart(): Promise<ExecutorHandle> {
    this.current ??= this.findOrStartExecutor().catch((error: unknown) => {
      this.current = undefined;
      throw error;
    });
    return this.current;
  }

  /** The first of this version that answers, else a new one. One that is left is found by the handles of its tasks. */
  private async findOrStartExecutor(): Promise<ExecutorHandle> {
    for (const name of this.socketNames()) {
      try {
        const executor = await this.openExecutor(name);
        if (executor.compatible) return executor;
      } catch (error) {
        this.log.debug(
          { executor: name, error: String(error) },
          "removing the socket of an executor that has ended",
        );
        unlinkSync(join(this.folder(), name));
      }
    }
    return this.startExecutor();
  }

  private openExecutor(name: string): Promise<ExecutorHandle> {
    let executor = this.executors.get(name);
    if (executor === undefined) {
      executor = ExecutorHandle.open(name, join(this.folder(), name), this.listener);
      this.executors.set(name, executor);
      executor.catch(() => this.executors.delete(name));
    }
    return executor;
  }

  private async startExecutor(): Promise<ExecutorHandle> {
    const folder = this.folder();
    const name = `executor-${randomBytes(4).toString("hex")}.sock`;
    const logPath = join(folder, "executor.log");
    const log = openSync(logPath, "w", 0o600);
    const { linger, tether } = this.options;
    const child = spawn(
      process.execPath,
      [
        "--max-old-space-size=64",
        "--max-semi-space-size=1",
        fileURLToPath(new URL("./executor/main.js", import.meta.url)),
        join(folder, name),
        String(linger),
        String(tether),
      ],
      // Nothing of the agent's environment but PATH: tasks get theirs with their start, over the socket.
      {
        cwd: "/",
        detached: true,
        stdio: ["ignore", "ignore", log],
        env: { PATH: process.env.PATH ?? "" },
      },
    );
    closeSync(log);
    child.unref();
    let failure: Error | undefined;
    child.once("error", (error) => {
      failure = error;
    });
    const deadline = performance.now() + EXECUTOR_START;
    while (!existsSync(join(folder, name))) {
      if (failure === undefined && child.exitCode !== null) {
        failure = new Error(`it ended with code ${child.exitCode}: ${readFileSync(logPath, "utf8").trim()}`);
      }
      if (performance.now() > deadline)
        failure ??= new Error(`it did not listen within ${EXECUTOR_START / 1000} s`);
      if (failure !== undefined) throw new Error(`the executor could not be started: ${failure.message}`);
      await pause(POLL);
    }
    return this.openExecutor(name);
  }

  private socketNames(): string[] {
    return readdirSync(this.folder())
      .filter((name) => /^executor-[0-9a-f]{8}\.sock$/.test(name))
      .sort();
  }

  private folder(): string {
    return socketFolder(this.options.stateDir);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
