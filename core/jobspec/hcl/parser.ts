import { Worker } from "node:worker_threads";
import { type Diagnostic, HclError } from "./error.js";
import { Source } from "./source.js";
import { readStructure } from "./structure.js";
import type { HclDocument } from "./syntax.js";

export interface ParseLimits {
  /** Largest accepted text in bytes; default 1 MiB. */
  maxBytes?: number;
  /** How long the parser may take, in milliseconds, loading included; default 10 s. */
  timeoutMs?: number;
}

const DEFAULT_MAX_BYTES = 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 10_000;
/** The thread and its 50 MB go away when nobody asked for this long. */
const IDLE_MS = 10_000;
/** Texts that may wait for the one thread. */
const MAX_WAITING = 256;

/** Stands for the file name while parsing: it cannot occur in a text by chance, so messages can be cut apart at it. */
const FILE_TOKEN = "\u0001hcl\u0001";

interface Waiting {
  resolve(error: string | null): void;
  reject(reason: Error): void;
  timer: NodeJS.Timeout;
}

/** One lazily started thread that runs HashiCorp's parser; see workers/hcl.ts. */
class SyntaxThread {
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #nextId = 1;
  readonly #waiting = new Map<number, Waiting>();

  /** The parser's complaint about `text`, or null when it is valid. */
  check(text: string, timeoutMs: number): Promise<string | null> {
    if (this.#waiting.size >= MAX_WAITING) {
      return Promise.reject(
        new Error(`${MAX_WAITING} texts are waiting for the HCL parser already; try again`),
      );
    }
    clearTimeout(this.#idle);
    const worker = this.#worker ?? this.#start();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#stop(new Error(`the HCL parser did not finish within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.set(id, { resolve, reject, timer });
      worker.ref();
      worker.postMessage({ id, file: FILE_TOKEN, text });
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL("../../../workers/hcl.js", import.meta.url), { name: "hcl" });
    worker.on("message", ({ id, error }: { id: number; error: string | null }) => {
      this.#settle(id, (waiting) => waiting.resolve(error));
    });
    worker.on("error", (error) => {
      if (worker === this.#worker)
        this.#stop(new Error(`the HCL parser failed: ${error.message}`, { cause: error }));
    });
    worker.on("exit", (code) => {
      if (worker === this.#worker)
        this.#stop(new Error(`the HCL parser ended unexpectedly (exit code ${code})`));
    });
    this.#worker = worker;
    return worker;
  }

  #settle(id: number, answer: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    this.#waiting.delete(id);
    answer(waiting);
    if (this.#waiting.size > 0) return;
    // An idle thread must not keep the process alive, nor memory for long.
    this.#worker?.unref();
    this.#idle = setTimeout(() => this.#stop(new Error("the HCL parser was idle")), IDLE_MS);
    this.#idle.unref();
  }

  #stop(reason: Error): void {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    for (const id of [...this.#waiting.keys()]) this.#settle(id, (waiting) => waiting.reject(reason));
    clearTimeout(this.#idle);
    void worker?.terminate();
  }
}

const thread = new SyntaxThread();

/**
 * Parses HCL2. Syntax is judged by HashiCorp's own parser in a thread of its own, so error texts and positions are the
 * ones people know and a hostile text cannot hold up the caller's event loop; the tree that is returned keeps order
 * and positions, which that parser's JSON does not. Throws HclError.
 */
export async function parseHcl(
  text: string,
  filename: string,
  limits: ParseLimits = {},
): Promise<HclDocument> {
  const source = new Source(filename, text);
  const maxBytes = limits.maxBytes ?? DEFAULT_MAX_BYTES;
  const size = Buffer.byteLength(text);
  if (size > maxBytes) {
    throw source.error(
      { start: 0, end: 0 },
      "File too large",
      `This text has ${size} bytes; at most ${maxBytes} are accepted. Move large data into artifacts or Consul or Vault keys.`,
    );
  }
  let complaint: string | null;
  try {
    complaint = await thread.check(text, limits.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  } catch (error) {
    throw source.error(
      { start: 0, end: 0 },
      "Cannot parse",
      error instanceof Error ? error.message : String(error),
    );
  }
  // "convert to HCL" is hcl2json failing to write JSON for text that is valid, such as two blocks of one type with
  // different labels; what such text means is for the reader of the structure to say.
  if (complaint !== null && !complaint.startsWith("convert to HCL"))
    throw new HclError(readDiagnostics(complaint, source), text);
  return readStructure(source);
}

/** Cuts `parse config: [FILE:1,2-3: Summary; Detail. FILE:4,5-6: …]` into diagnostics. */
function readDiagnostics(complaint: string, source: Source): Diagnostic[] {
  const inner = complaint.replace(/^parse config: \[/, "").replace(/\]$/, "");
  const pieces = inner
    .split(new RegExp(`(?:^| )${FILE_TOKEN}:(?=\\d+,\\d+-(?:\\d+,)?\\d+: )`))
    .filter((piece) => piece !== "");
  return pieces.map((piece) => {
    const found = /^(\d+),(\d+)-(?:(\d+),)?(\d+): ([^;]*); ([\s\S]*)$/.exec(piece);
    const written = piece.replaceAll(FILE_TOKEN, source.file);
    if (found === null) return source.diagnostic({ start: 0, end: 0 }, "Invalid HCL", written);
    const [, line, column, endLine, endColumn, summary, detail] = found;
    if (summary === "Unclosed configuration block") return unclosedBlock(source);
    return {
      file: source.file,
      line: Number(line),
      column: Number(column),
      endLine: Number(endLine ?? line),
      endColumn: Number(endColumn),
      summary: summary!,
      detail: detail!.replaceAll(FILE_TOKEN, source.file),
    };
  });
}

/** Nomad 1.1 carries an older HCL library, which reports a missing brace where the text ends. */
function unclosedBlock(source: Source): Diagnostic {
  const end = source.text.length;
  return source.diagnostic(
    { start: end, end },
    "Argument or block definition required",
    "An argument or block definition is required here.",
  );
}
