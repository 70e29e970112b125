/** Turns an agent's stream of frames into bytes of an HTTP answer: raw, or framed as JSON with heartbeats. */
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { FileFrame } from "@drover/plugin-sdk";
import type { Answer } from "./answer.js";

/** Idle framed streams show by an empty frame that they live. Milliseconds, as Nomad's. */
const HEARTBEAT = 1000;
/** How long an answer's head waits for the first frame, so that an early error still gets its own code. Milliseconds. */
const HEAD_WAIT = 1000;

/**
 * Opens the stream and answers once the first frame, the end or an error is there (errors are thrown), or a moment has
 * passed. `type` may look at the first bytes.
 */
export async function answerFrames(
  frames: AsyncIterable<FileFrame>,
  options: { readonly framed: boolean; readonly type: string | ((head: Uint8Array) => string) },
): Promise<Answer> {
  const iterator = frames[Symbol.asyncIterator]();
  const first = iterator.next();
  const waited = new AbortController();
  const head = await Promise.race([
    first,
    // Cut short by the abort below; the race is then decided and nobody looks at this any more.
    delay(HEAD_WAIT, undefined, { signal: waited.signal }).catch(() => undefined),
  ]).finally(() => waited.abort());
  const bytes = head === undefined || head.done ? new Uint8Array() : (head.value.Data ?? new Uint8Array());
  const type = typeof options.type === "string" ? options.type : options.type(bytes);
  const stream = Readable.from(options.framed ? framed(iterator, first) : raw(iterator, first), {
    objectMode: false,
  });
  return { body: { kind: "stream", stream, type } };
}

type Frames = AsyncIterator<FileFrame>;
type Next = Promise<IteratorResult<FileFrame>>;

async function* raw(iterator: Frames, first: Next): AsyncGenerator<Uint8Array> {
  try {
    for (let next = await first; !next.done; next = await iterator.next()) {
      if (next.value.Data !== undefined && next.value.Data.length > 0) yield next.value.Data;
    }
  } finally {
    await iterator.return?.();
  }
}

async function* framed(iterator: Frames, first: Next): AsyncGenerator<Buffer> {
  try {
    for (let next = first; ; ) {
      const frame = await orHeartbeat(next);
      if (frame === undefined) {
        yield Buffer.from("{}");
        continue;
      }
      if (frame.done) return;
      yield Buffer.from(JSON.stringify(printed(frame.value)));
      next = iterator.next();
    }
  } finally {
    await iterator.return?.();
  }
}

async function orHeartbeat(next: Next): Promise<IteratorResult<FileFrame> | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const beat = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, HEARTBEAT, undefined);
  });
  try {
    return await Promise.race([next, beat]);
  } finally {
    clearTimeout(timer);
  }
}

function printed(frame: FileFrame): object {
  return {
    Data: frame.Data === undefined ? undefined : Buffer.from(frame.Data).toString("base64"),
    File: frame.File,
    FileEvent: frame.FileEvent,
    Offset: frame.Offset,
  };
}

/** Text or not, by the first bytes, as browsers and Go's net/http sniff it. */
export function sniffType(head: Uint8Array): string {
  const binary = head
    .subarray(0, 512)
    .some((byte) => byte < 0x09 || (byte > 0x0d && byte < 0x20 && byte !== 0x1b));
  return binary ? "application/octet-stream" : "text/plain; charset=utf-8";
}
