/** Where commands write and what they know of their surroundings; tests put their own in its place. */
import type { Command } from "commander";

export interface CommandIo {
  /** A line (or lines) on standard output. */
  out(text: string): void;
  /** A line on standard error. */
  err(text: string): void;
  /**
   * A line about what is under way, in place of the one before; "" removes it. Shown only to people: where standard error is
   * a terminal.
   */
  progress(text: string): void;
  /** Bytes on standard output, as they are; resolves when more may come. */
  write(bytes: Uint8Array): Promise<void>;
  /** All of standard input. */
  readInput(): Promise<string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard output is a terminal: people watch it. */
  readonly interactive: boolean;
  /** Colours may be used: a terminal, and NO_COLOR is not set. */
  readonly color: boolean;
  /** Unix milliseconds. */
  now(): number;
  /** Aborted when the user interrupts. */
  readonly signal: AbortSignal;
}

function processIo(): CommandIo {
  const interrupted = new AbortController();
  const interactive = process.stdout.isTTY === true;
  return {
    out: (text) => void process.stdout.write(`${text}\n`),
    err: (text) => void process.stderr.write(`${text}\n`),
    progress: (text) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
    },
    write: (bytes) =>
      new Promise((resolve, reject) => {
        process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
      }),
    async readInput() {
      const chunks: Buffer[] = [];
      for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString("utf8");
    },
    env: process.env,
    interactive,
    color: interactive && !process.env.NO_COLOR,
    now: () => Date.now(),
    get signal() {
      if (process.listenerCount("SIGINT") === 0) process.once("SIGINT", () => interrupted.abort());
      return interrupted.signal;
    },
  };
}

const attached = new WeakMap<Command, CommandIo>();
let standard: CommandIo | undefined;

export function attachIo(program: Command, io: CommandIo): void {
  attached.set(program, io);
}

/** What was attached to the command's program, else the process's own. */
export function ioOf(command: Command): CommandIo {
  let root = command;
  while (root.parent !== null) root = root.parent;
  standard ??= processIo();
  return attached.get(root) ?? standard;
}

const style = (on: boolean, code: string, text: string) => (on ? `\u001b[${code}m${text}\u001b[0m` : text);

export const bold = (io: CommandIo, text: string) => style(io.color, "1", text);
export const red = (io: CommandIo, text: string) => style(io.color, "1;31", text);
export const yellow = (io: CommandIo, text: string) => style(io.color, "1;33", text);
export const green = (io: CommandIo, text: string) => style(io.color, "1;32", text);
export const blue = (io: CommandIo, text: string) => style(io.color, "1;34", text);
export const cyan = (io: CommandIo, text: string) => style(io.color, "1;36", text);
