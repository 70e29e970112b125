/** Task drivers: how a task becomes a process, a container, a machine. */
import type { DriverInfo, Task } from "../domain/index.js";
import { createToken } from "../kernel/token.js";

export interface TaskConfig {
  /** `<allocation id>/<task name>`, unique on the node. */
  readonly id: string;
  readonly allocationId: string;
  readonly task: Task;
  /** The task's `config` block after interpolation. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string>>;
  /** User to run as; empty for the agent's own. */
  readonly user: string;
  /** Absolute folders: `<allocation>/alloc`; `<allocation>/<task>`, in which it starts; its `secrets/`. */
  readonly allocDir: string;
  readonly taskDir: string;
  readonly secretsDir: string;
  /** Log files are `<logDir>/<task>.stdout.<n>` and `.stderr.<n>`, rotated by size. */
  readonly logDir: string;
  readonly maxLogFiles: number;
  /** MiB. */
  readonly maxLogFileSizeMB: number;
  /** MHz and MiB, for drivers that enforce them. */
  readonly resources: { readonly cpu: number; readonly memoryMB: number };
}

/** What the agent keeps on disk to find a running task again after its own restart. JSON, driver's own content. */
export interface TaskHandleState {
  readonly driver: string;
  /** Version of `data`. */
  readonly version: number;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface ExitResult {
  /** -1 where the code is not known. */
  readonly exitCode: number;
  /** Signal number that ended it, 0 for none. */
  readonly signal: number;
  readonly oomKilled: boolean;
  /** Why the outcome is not known, where it isn't. */
  readonly error?: string;
}

export interface TaskStats {
  /** Unix nanoseconds. */
  readonly timestamp: number;
  readonly pids: Readonly<Record<string, ProcessStats>>;
}

export interface ProcessStats {
  /** Bytes. */
  readonly rss: number;
  readonly swap: number;
  /** Percent of one core. */
  readonly userPercent: number;
  readonly systemPercent: number;
  readonly percent: number;
}

/** A started (or recovered) task. */
export interface DriverTask {
  readonly state: TaskHandleState;
  /** Process id, where the driver has one. */
  readonly pid: number | undefined;
  /** Resolves when the task ended, at any time after. */
  wait(): Promise<ExitResult>;
  /**
   * Sends `signal` (empty for the driver's own, SIGINT or SIGTERM), then SIGKILL to the whole group after `timeout`
   * milliseconds; resolves when it is gone.
   */
  stop(signal: string, timeout: number): Promise<void>;
  /** Sends a signal (`SIGHUP`) and nothing more. */
  signal(signal: string): Promise<void>;
  stats(): Promise<TaskStats>;
  /** Releases what the driver keeps of an ended task. */
  destroy(): Promise<void>;
}

export interface TaskDriver {
  /** As jobs name it in `driver = "..."`. */
  readonly name: string;
  /** Whether it can run tasks here, and its attributes (`driver.raw_exec = "1"`). */
  fingerprint(): Promise<Omit<DriverInfo, "UpdateTime">>;
  /** Every error of a task's `config` at once; an empty list when it is fine. */
  validate(config: Readonly<Record<string, unknown>>): readonly string[];
  /** Starts a task. Rejects with a sentence for the task's event when it can't. */
  start(config: TaskConfig): Promise<DriverTask>;
  /** Finds a task that a former agent process started. Rejects when it is gone or not the same. */
  recover(state: TaskHandleState): Promise<DriverTask>;
  /**
   * Finds a task by its `TaskConfig.id` that a former agent process started but died before it saved the handle.
   * Optional: without it such a task is started again, and `start` must end the older one of the same id.
   */
  find?(id: string): Promise<DriverTask | undefined>;
  /** Called at agent shutdown. Tasks stay; with `killTasks` (development mode) they end. */
  shutdown(options: { readonly killTasks: boolean }): Promise<void>;
}
export const TaskDriver = createToken<TaskDriver>("TaskDriver", "multiple");
