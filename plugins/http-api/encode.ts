/** Encodes answers: JSON whole or row by row, indented on request, compressed where the client takes it. */
import { pipeline, Readable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { createGzip, gzip } from "node:zlib";
import type { Body } from "./answer.js";

const compress = promisify(gzip);

/** Below this many bytes compression costs more than it saves. */
const GZIP_THRESHOLD = 1400;
/** Characters of JSON after which a list lets other work run. */
const CHUNK = 64 * 1024;
/** A list whose reader takes nothing for this long is given up: it pins the state it is read from. Milliseconds. */
const STALL_LIMIT = 30_000;

export interface Encoding {
  readonly pretty: boolean;
  readonly gzip: boolean;
}

export interface Encoded {
  readonly payload: Buffer | Readable | undefined;
  readonly type: string | undefined;
  readonly gzipped: boolean;
}

/** `Accept-Encoding` names gzip and doesn't refuse it. */
export function acceptsGzip(header: string | string[] | undefined): boolean {
  return String(header ?? "")
    .split(",")
    .some((part) => /^\s*gzip\s*(;\s*q=(?!0(\.0*)?\s*$).*)?$/i.test(part));
}

export async function encode(body: Body, encoding: Encoding): Promise<Encoded> {
  switch (body.kind) {
    case "empty":
      return { payload: undefined, type: undefined, gzipped: false };
    case "stream":
      return { payload: body.stream, type: body.type, gzipped: false };
    case "bytes":
      return { payload: Buffer.from(body.bytes), type: body.type, gzipped: false };
    case "text":
      return whole(Buffer.from(body.text), body.type, encoding);
    case "json":
      return whole(
        Buffer.from(JSON.stringify(body.value ?? null, null, encoding.pretty ? 4 : 0)),
        "application/json",
        encoding,
      );
    case "rows":
      return list(body.rows, body.close, encoding);
  }
}

async function whole(bytes: Buffer, type: string, encoding: Encoding): Promise<Encoded> {
  if (!encoding.gzip || bytes.length < GZIP_THRESHOLD) return { payload: bytes, type, gzipped: false };
  return { payload: await compress(bytes), type, gzipped: true };
}

async function list(rows: Iterable<unknown>, close: () => void, encoding: Encoding): Promise<Encoded> {
  const chunks = jsonChunks(rows, encoding.pretty);
  let first: IteratorResult<string, void>;
  let second: IteratorResult<string, void>;
  try {
    first = chunks.next();
    second = first.done ? first : chunks.next();
  } catch (error) {
    close();
    throw error;
  }
  if (second.done) {
    close();
    return whole(Buffer.from(first.value ?? "[]"), "application/json", encoding);
  }
  const stream = stallGuarded([first.value as string, second.value], chunks, close);
  if (!encoding.gzip) return { payload: stream, type: "application/json", gzipped: false };
  // A broken list ends the compressed stream with its error, which ends the connection: the client sees it cut short.
  const gzipped = pipeline(stream, createGzip(), () => undefined);
  return { payload: gzipped, type: "application/json", gzipped: true };
}

/** A list in pieces of about CHUNK characters; a short one is one piece. */
function* jsonChunks(rows: Iterable<unknown>, pretty: boolean): Generator<string, void> {
  let chunk = "[";
  let empty = true;
  for (const row of rows) {
    // Indentation of a row inside a list is what `[row]` gets, less its brackets.
    const encoded = pretty ? JSON.stringify([row], null, 4).slice(1, -2) : JSON.stringify(row);
    chunk += empty ? encoded : `,${encoded}`;
    empty = false;
    if (chunk.length >= CHUNK) {
      yield chunk;
      chunk = "";
    }
  }
  yield `${chunk}${pretty && !empty ? "\n" : ""}]`;
}

function stallGuarded(head: readonly string[], chunks: Iterator<string, void>, close: () => void): Readable {
  async function* guarded(): AsyncGenerator<Buffer> {
    try {
      for (const chunk of head) yield* guard(chunk);
      for (let next = chunks.next(); !next.done; next = chunks.next()) {
        yield* guard(next.value);
        await nextTurn();
      }
    } finally {
      close();
    }
  }
  async function* guard(chunk: string): AsyncGenerator<Buffer> {
    const stalled = setTimeout(
      () => stream.destroy(new Error(`the client read nothing for ${STALL_LIMIT / 1000} s`)),
      STALL_LIMIT,
    );
    stalled.unref();
    try {
      yield Buffer.from(chunk);
    } finally {
      clearTimeout(stalled);
    }
  }
  const stream = Readable.from(guarded(), { objectMode: false, highWaterMark: 4 * CHUNK });
  // Destroyed before the first read, the generator never ran and its `finally` neither.
  stream.once("close", close);
  return stream;
}
