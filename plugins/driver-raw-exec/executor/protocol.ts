/**
 * What the driver and its executor say to each other: one JSON object a line over a unix socket. The executor opens with a
 * `Hello`; then requests carry an `id` that their answer repeats, and events carry none.
 */
import type { Socket } from "node:net";

/** Both sides must speak the same version; an executor of another one is left to finish its tasks. */
export const EXECUTOR_PROTOCOL = 1;

/** Longest line, bytes: a task's environment and arguments can't be larger than the kernel's 2 MiB anyway. */
const MAX_LINE = 8 * 1024 * 1024;

export interface Hello {
  readonly hello: { readonly protocol: number; readonly pid: number };
}

export interface StartRequest {
  /** Unique for every start. */
  readonly key: string;
  /** `<allocation id>/<task name>`; an older task of the same id is killed before this one starts. */
  readonly id: string;
  /** Absolute path of the program. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly logs: {
    readonly folder: string;
    /** File names are `<stdout>.<n>` and `<stderr>.<n>`. */
    readonly stdout: string;
    readonly stderr: string;
    readonly maxFiles: number;
    readonly maxBytes: number;
  };
}

/** How a process ended: `code` as a shell shows it (128 + signal for a killed one). */
export interface ProcessExit {
  readonly code: number;
  readonly signal: number;
}

export interface ProcessStatus {
  readonly key: string;
  readonly id: string;
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/<pid>/stat. */
  readonly startTime: number;
  readonly exit?: ProcessExit;
}

export interface ExecutorMethods {
  start: { request: StartRequest; answer: ProcessStatus };
  /** Null where the executor does not know it. */
  status: { request: { readonly key: string }; answer: ProcessStatus | null };
  /** The newest task of that id. */
  find: { request: { readonly id: string }; answer: ProcessStatus | null };
  /** Signal to the process, SIGKILL to its session after `timeout` milliseconds; answered when it is gone. */
  stop: {
    request: { readonly key: string; readonly signal: string; readonly timeout: number };
    answer: null;
  };
  signal: { request: { readonly key: string; readonly signal: string }; answer: null };
  /** Drops what is kept of an ended task. */
  forget: { request: { readonly key: string }; answer: null };
  /** Kills every task and ends the executor. */
  shutdown: { request: Record<string, never>; answer: null };
}

export type ExecutorEvent =
  | { readonly event: "exit"; readonly key: string; readonly exit: ProcessExit }
  /** Output was dropped because it could not be written. */
  | { readonly event: "log_error"; readonly key: string; readonly message: string };

export interface Request {
  readonly id: number;
  readonly method: keyof ExecutorMethods;
  readonly request: unknown;
}

export type Answer =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: string };

export function sendLine(socket: Socket, message: Hello | Request | Answer | ExecutorEvent): void {
  if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`);
}

/** Calls back for every line; a line that is too long or isn't JSON destroys the socket with an error. */
export function readLines(socket: Socket, onMessage: (message: unknown) => void): void {
  let parts: string[] = [];
  let size = 0;
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    let rest = chunk;
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      parts.push(rest.slice(0, end));
      rest = rest.slice(end + 1);
      const line = parts.join("");
      parts = [];
      size = 0;
      let message: unknown;
      try {
        message = JSON.parse(line);
      } catch {
        socket.destroy(new Error("the other side of the executor's socket sent a line that is not JSON"));
        return;
      }
      onMessage(message);
    }
    if (rest.length > 0) {
      parts.push(rest);
      size += rest.length;
      if (size > MAX_LINE)
        socket.destroy(new Error(`a line on the executor's socket exceeds ${MAX_LINE} bytes`));
    }
  });
}
