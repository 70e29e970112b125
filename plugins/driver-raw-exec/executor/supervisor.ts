/** The tasks of an executor: starts them, carries their output to the log files, reaps them, keeps how they ended. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { killSession, type ProcessIdentity, readStat } from "./proc.js";
import type { ExecutorEvent, ProcessExit, ProcessStatus, StartRequest } from "./protocol.js";
import { RotatingLog } from "./rotating-log.js";

const run = promisify(execFile);

/** How long output may still come in after a task ended, milliseconds (a child that left its session holds the pipe). */
const DRAIN = 2000;

interface SupervisedTask {
  readonly status: { -readonly [K in keyof ProcessStatus]: ProcessStatus[K] };
  readonly child: ChildProcess;
  readonly identity: ProcessIdentity;
  /** Resolves when it ended and its output is written. */
  readonly ended: Promise<void>;
  /** Ends the reading of output. */
  readonly release: () => void;
}

export class Supervisor {
  private readonly tasks = new Map<string, SupervisedTask>();
  private pipes = 0;

  constructor(
    /** Private folder for the pipes' names, which live for a moment only. */
    private readonly folder: string,
    private readonly emit: (event: ExecutorEvent) => void,
  ) {}

  /** Tasks that run or whose end nobody has taken yet. */
  get size(): number {
    return this.tasks.size;
  }

  get running(): number {
    return [...this.tasks.values()].filter((task) => task.status.exit === undefined).length;
  }

  async start(request: StartRequest): Promise<ProcessStatus> {
    for (const task of this.tasks.values()) {
      if (task.status.id !== request.id) continue;
      if (task.status.exit === undefined) killSession(task.identity);
      await task.ended;
      this.forget(task.status.key);
    }
    const log = (name: string) =>
      RotatingLog.open({
        folder: request.logs.folder,
        name,
        maxFiles: request.logs.maxFiles,
        maxBytes: request.logs.maxBytes,
        onError: (message) => this.emit({ event: "log_error", key: request.key, message }),
      });
    const pipes = await this.makePipes(2);
    const logs: RotatingLog[] = [];
    let child: ChildProcess;
    try {
      for (const name of [request.logs.stdout, request.logs.stderr]) logs.push(await log(name));
      child = await launch(request, pipes);
    } catch (error) {
      for (const pipe of pipes) pipe.reader.destroy();
      for (const file of logs) await file.close();
      throw error;
    } finally {
      for (const pipe of pipes) closeSync(pipe.writer);
    }
    const pumps = Promise.all(pipes.map((pipe, index) => pump(pipe.reader, logs[index]!)));
    const pid = child.pid!;
    // The child is not reaped before its "exit" event, so its /proc entry is there even if it has ended already.
    const identity = { pid, startTime: readStat(pid)?.startTime ?? 0 };
    const ended = new Promise<ProcessExit>((resolve) => {
      child.once("exit", (code, signal) => resolve(describeExit(code, signal)));
    }).then(async (exit) => {
      // What the task left behind in its session goes with it.
      killSession(identity);
      await Promise.race([pumps, delay(DRAIN)]);
      task.status.exit = exit;
      this.emit({ event: "exit", key: request.key, exit });
    });
    const task: SupervisedTask = {
      status: { key: request.key, id: request.id, ...identity },
      child,
      identity,
      ended,
      release: () => {
        for (const pipe of pipes) pipe.reader.destroy();
      },
    };
    this.tasks.set(request.key, task);
    return { ...task.status };
  }

  status(key: string): ProcessStatus | null {
    const task = this.tasks.get(key);
    return task === undefined ? null : { ...task.status };
  }

  find(id: string): ProcessStatus | null {
    for (const task of this.tasks.values()) if (task.status.id === id) return { ...task.status };
    return null;
  }

  signal(key: string, signal: string): void {
    const task = this.known(key);
    if (task.status.exit === undefined) task.child.kill(signal as NodeJS.Signals);
  }

  async stop(key: string, signal: string, timeout: number): Promise<void> {
    const task = this.known(key);
    if (task.status.exit !== undefined) return;
    task.child.kill(signal as NodeJS.Signals);
    const timer = setTimeout(() => {
      // Not yet reaped means the pid is still the task's, and so is every process in its session.
      if (task.child.exitCode === null && task.child.signalCode === null) killSession(task.identity);
    }, timeout);
    await task.ended;
    clearTimeout(timer);
  }

  forget(key: string): void {
    const task = this.tasks.get(key);
    if (task === undefined) return;
    if (task.status.exit === undefined) throw new Error(`task ${task.status.id} still runs: stop it first`);
    task.release();
    this.tasks.delete(key);
  }

  /** Kills everything; resolves when all are reaped. */
  async killAll(): Promise<void> {
    for (const task of this.tasks.values()) if (task.status.exit === undefined) killSession(task.identity);
    await Promise.all([...this.tasks.values()].map((task) => task.ended));
  }

  private known(key: string): SupervisedTask {
    const task = this.tasks.get(key);
    if (task === undefined) throw new Error(`the executor knows no task ${key}`);
    return task;
  }

  /**
   * Pipes for a task's output. Real ones (named, then unlinked) and not the socket pairs that spawn would make: a program
   * can't open /dev/stdout on a socket.
   */
  private async makePipes(count: number): Promise<{ reader: Socket; writer: number }[]> {
    const paths = Array.from({ length: count }, () =>
      join(this.folder, `pipe-${process.pid}-${this.pipes++}`),
    );
    await run("mkfifo", ["-m", "600", "--", ...paths]);
    return paths.map((path) => {
      const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const writer = openSync(path, constants.O_WRONLY);
      unlinkSync(path);
      return { reader: new Socket({ fd: reader, readable: true, writable: false }), writer };
    });
  }
}

async function launch(
  request: StartRequest,
  pipes: readonly { readonly writer: number }[],
): Promise<ChildProcess> {
  const child = spawn(request.command, request.args, {
    cwd: request.cwd,
    env: request.env,
    // Its own session and process group, away from ours and from every other task.
    detached: true,
    stdio: ["ignore", ...pipes.map((pipe) => pipe.writer)],
    ...(request.uid === undefined ? {} : { uid: request.uid }),
    ...(request.gid === undefined ? {} : { gid: request.gid }),
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  return child;
}

/** Carries output to the log; the loop waits for every write, so a slow disk slows the task and not the memory. */
async function pump(reader: Socket, log: RotatingLog): Promise<void> {
  try {
    for await (const chunk of reader) await log.write(chunk as Buffer);
  } catch (error) {
    // Destroyed while reading: nobody needs the rest.
    if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") console.error(String(error));
  } finally {
    await log.close();
  }
}

function describeExit(code: number | null, signal: NodeJS.Signals | null): ProcessExit {
  const number = signal === null ? 0 : os.signals[signal];
  return { code: code ?? 128 + number, signal: number };
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
}
