/**
 * A stream of an agent, carried between two servers. Records of four bytes of length (big endian) and MessagePack: a frame, or
 * how the stream ended. A stream without an end was cut.
 */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { type FileFrame, RemoteError } from "@drover/plugin-sdk";
import { z } from "zod";
import { pack, unpack } from "./codec.js";

/** Largest record taken: a frame holds at most 64 KiB of a file. */
const MAX_RECORD = 1024 * 1024;
const LENGTH = 4;

const Frame = z.object({
  File: z.string(),
  Offset: z.number(),
  Data: z.instanceof(Uint8Array).optional(),
  FileEvent: z.string().optional(),
});
const Record = z.union([
  z.tuple([z.literal("frame"), Frame]),
  z.tuple([z.literal("end")]),
  z.tuple([z.literal("error"), z.string(), z.string()]),
]);

/** Sends everything that `open` gives, as fast as the other end takes it, and ends the stream; never rejects. */
export async function sendFrames(
  stream: Duplex,
  open: (signal: AbortSignal) => AsyncIterable<FileFrame>,
): Promise<void> {
  const gone = new AbortController();
  // The reader says nothing: what it sends is its leaving.
  stream.resume();
  stream.once("close", () => gone.abort());
  stream.on("error", () => gone.abort());
  try {
    for await (const frame of open(gone.signal)) {
      if (gone.signal.aborted) return;
      if (!stream.write(record(["frame", frame]))) await once(stream, "drain", { signal: gone.signal });
    }
    stream.end(record(["end"]));
  } catch (error) {
    if (gone.signal.aborted) return;
    const code = error instanceof RemoteError ? error.code : "internal";
    stream.end(record(["error", code, error instanceof Error ? error.message : String(error)]));
  }
}

/** The frames of `sendFrames` at the other end; leaving the loop closes the stream. Throws what the sender threw. */
export async function* receiveFrames(
  stream: Duplex,
  signal: AbortSignal,
): AsyncGenerator<FileFrame, void, undefined> {
  const abort = (): void => void stream.destroy(signal.reason as Error);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of stream) {
      rest = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
      for (;;) {
        const length = rest.length < LENGTH ? 0 : rest.readUInt32BE(0);
        if (length > MAX_RECORD)
          throw new RemoteError("malformed", `a record of ${length} bytes in a stream`);
        if (rest.length < LENGTH || rest.length < LENGTH + length) break;
        const taken = unpack("a record of a stream", Record, rest.subarray(LENGTH, LENGTH + length));
        rest = rest.subarray(LENGTH + length);
        if (taken[0] === "end") return;
        if (taken[0] === "error") throw new RemoteError(taken[1], taken[2]);
        yield taken[1] as FileFrame;
      }
    }
    throw new RemoteError("unreachable", "the stream was cut: the server that reaches the node went away");
  } catch (error) {
    if (error instanceof RemoteError || signal.aborted) throw error;
    throw new RemoteError("unreachable", `the stream was cut: ${(error as Error).message}`);
  } finally {
    signal.removeEventListener("abort", abort);
    stream.destroy();
  }
}

function record(value: readonly unknown[]): Buffer {
  const body = pack(value);
  const bytes = Buffer.allocUnsafe(LENGTH + body.length);
  bytes.writeUInt32BE(body.length, 0);
  bytes.set(body, LENGTH);
  return bytes;
}
