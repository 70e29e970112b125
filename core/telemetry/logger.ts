import { chmodSync } from "node:fs";
import type { Logger } from "@drover/plugin-sdk";
import { type DestinationStream, destination, type Logger as Pino, pino } from "pino";
import { humanLine } from "./line.js";
import { logFields } from "./redact.js";

export type LogLevel = "TRACE" | "DEBUG" | "INFO" | "WARN" | "ERROR";

const RANK: Readonly<Record<LogLevel, number>> = { TRACE: 10, DEBUG: 20, INFO: 30, WARN: 40, ERROR: 50 };

export interface LogOptions {
  readonly level: LogLevel;
  /** Lines as JSON objects with Nomad's keys (`@level`, `@message`, `@module`, `@timestamp`). */
  readonly json: boolean;
  /** Whether lines go to the standard output. */
  readonly stdout: boolean;
  /** Holds lines for the standard output back until `release`, so that a start banner comes before them. */
  readonly held?: boolean;
  /** File that lines are appended to, made with mode 0600; none where empty. */
  readonly file: string;
}

/** A log that can change its level and reopen its file (after a log rotator moved it) while it runs. */
export interface AgentLog {
  readonly logger: Logger;
  setLevel(level: LogLevel): void;
  reopen(): void;
  /** Lets the lines out that were held back. */
  release(): void;
  /** Writes out what is buffered and closes the file. */
  close(): void;
}

/** Opens the agent's log. Throws an Error where the file can't be opened. */
export function openLog(options: LogOptions): AgentLog {
  const outputs = openOutputs(options);
  const gate = { rank: RANK[options.level] };
  const stream: DestinationStream = {
    write(line) {
      const text = options.json ? line : humanOf(line);
      for (const output of outputs) output.write(text);
    },
  };
  const root = pino(
    {
      // The gate is shared by all children, where pino would copy the level to each.
      level: "trace",
      base: null,
      messageKey: "@message",
      timestamp: () => `,"@timestamp":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ "@level": label }) },
    },
    stream,
  );
  return {
    logger: new PinoLogger(root, gate, {}),
    setLevel(level) {
      gate.rank = RANK[level];
    },
    reopen() {
      for (const output of outputs) if (output.file) output.reopen();
    },
    release() {
      for (const output of outputs) output.release();
    },
    close() {
      for (const output of outputs) {
        output.release();
        output.flushSync();
      }
      for (const output of outputs) if (output.file) output.end();
    },
  };
}

interface Output {
  readonly file: boolean;
  write(text: string): void;
  reopen(): void;
  release(): void;
  flushSync(): void;
  end(): void;
}

function openOutputs({ stdout, held, file }: LogOptions): Output[] {
  const outputs = stdout ? [openOutput(1, held)] : [];
  if (file === "") return outputs;
  try {
    outputs.push(openOutput(file));
    // A file that was there keeps its mode otherwise.
    chmodSync(file, 0o600);
  } catch (error) {
    throw new Error(`log_file ${file} can't be opened: ${(error as Error).message}`, { cause: error });
  }
  return outputs;
}

function openOutput(dest: string | 1, held = false): Output {
  let waiting: string[] | undefined = held ? [] : undefined;
  const boom = destination({ dest, sync: true, mkdir: false, append: true, mode: 0o600 });
  let isBroken = false;
  boom.on("error", (error: NodeJS.ErrnoException) => {
    // A full disk or a closed terminal must not end the agent; say it once, where it can still be seen.
    if (isBroken) return;
    isBroken = true;
    if (dest !== 1) process.stderr.write(`drover: the log ${dest} can't be written: ${error.message}\n`);
  });
  boom.on("drain", () => {
    isBroken = false;
  });
  return {
    file: dest !== 1,
    write: (text) => void (waiting === undefined ? boom.write(text) : waiting.push(text)),
    reopen: () => boom.reopen(),
    release() {
      const lines = waiting ?? [];
      waiting = undefined;
      for (const line of lines) boom.write(line);
    },
    flushSync: () => boom.flushSync(),
    end: () => boom.end(),
  };
}

function humanOf(line: string): string {
  const {
    "@level": level,
    "@timestamp": time,
    "@module": module,
    "@message": message,
    ...fields
  } = JSON.parse(line) as Record<string, unknown>;
  return humanLine(
    String(level).toUpperCase(),
    String(time),
    module === undefined ? "" : String(module),
    message === undefined ? "" : String(message),
    fields,
  );
}

/** The contract on pino. A field `module` of `child` names the part that speaks; nested ones are joined with dots. */
class PinoLogger implements Logger {
  readonly #pino: Pino;

  constructor(
    private readonly root: Pino,
    private readonly gate: { rank: number },
    private readonly bindings: Readonly<Record<string, unknown>>,
  ) {
    this.#pino = root.child(bindings);
  }

  trace(fields: object, message: string): void {
    if (this.gate.rank <= RANK.TRACE) this.#pino.trace(logFields(fields), message);
  }

  debug(fields: object, message: string): void {
    if (this.gate.rank <= RANK.DEBUG) this.#pino.debug(logFields(fields), message);
  }

  info(fields: object, message: string): void {
    if (this.gate.rank <= RANK.INFO) this.#pino.info(logFields(fields), message);
  }

  warn(fields: object, message: string): void {
    if (this.gate.rank <= RANK.WARN) this.#pino.warn(logFields(fields), message);
  }

  error(fields: object, message: string): void {
    if (this.gate.rank <= RANK.ERROR) this.#pino.error(logFields(fields), message);
  }

  child(fields: object): Logger {
    const { module, ...others } = logFields(fields);
    const name = [this.bindings["@module"], module]
      .filter((part) => part !== undefined && part !== "")
      .join(".");
    // From the root with everything, because pino would print a key of parent and child twice.
    return new PinoLogger(this.root, this.gate, {
      ...this.bindings,
      ...(name === "" ? {} : { "@module": name }),
      ...others,
    });
  }
}
