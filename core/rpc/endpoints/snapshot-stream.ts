/**
 * Archives between servers, over `ServerNetwork.stream`. Either way a stream begins with a frame of the server that was
 * called: a length (4 bytes, big-endian) and JSON.
 *
 * - `Snapshot.Save`: the frame says what follows, `{index, term, size, sha256}`; then come `size` bytes.
 * - `Snapshot.Restore`: an empty frame asks for the archive; the caller sends it and ends its side; a last frame is the
 *   outcome, `{index}` or `{status, message}`.
 */
import type { Duplex } from "node:stream";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  EndpointError,
  RpcError,
  type RpcOptions,
  type SavedSnapshot,
  type ServerNetwork,
} from "@drover/plugin-sdk";
import { z } from "zod";

const SAVE = "Snapshot.Save";
const RESTORE = "Snapshot.Restore";
const NOTHING = new Uint8Array(0);
/** Largest frame, bytes. */
const MAX_FRAME = 64 * 1024;

const Said = z.object({
  index: z.int().min(0),
  term: z.int().min(0),
  size: z.int().min(0),
  sha256: z.base64(),
});
const Outcome = z.union([
  z.object({ index: z.int().min(0) }),
  z.object({ status: z.int().min(400).max(599), message: z.string() }),
]);

/** What the server that is called does. */
export interface SnapshotWork {
  save(): Promise<SavedSnapshot>;
  /** Rejects at once where it can't be begun, before `begin` is called; `begin` then gives the archive. */
  restore(begin: () => AsyncIterable<Uint8Array>): Promise<number>;
}

/** Answers both methods; returns their removal. */
export function serveSnapshots(network: ServerNetwork, work: SnapshotWork): () => void {
  const removals = [
    network.handleStream(SAVE, async (stream) => {
      quiet(stream);
      const { archive, ...said } = await work.save();
      stream.write(frame(said));
      await pipeline(archive, stream);
    }),
    network.handleStream(RESTORE, async (stream) => {
      quiet(stream);
      let begun = false;
      const begin = (): AsyncIterable<Uint8Array> => {
        begun = true;
        stream.write(frame({}));
        return stream.iterator({ destroyOnReturn: false });
      };
      try {
        stream.end(frame({ index: await work.restore(begin) }));
      } catch (error) {
        if (!begun) throw error;
        // What is left of the archive is taken, so that the caller comes to read why it was refused.
        stream.resume();
        const status = error instanceof EndpointError ? error.status : 500;
        const message = error instanceof Error ? error.message : String(error);
        stream.end(frame({ status, message: message.slice(0, MAX_FRAME / 8) }));
      }
    }),
  ];
  return () => {
    for (const remove of removals) remove();
  };
}

/** Has the server at `address` save a snapshot. */
export async function saveAt(
  network: ServerNetwork,
  address: string,
  options: RpcOptions,
): Promise<SavedSnapshot> {
  const stream = quiet(await network.stream(address, SAVE, NOTHING, options));
  try {
    const bytes = new FramedBytes(stream);
    stream.end();
    const said = Said.parse(await bytes.frame());
    const archive = Readable.from(exactly(bytes, said.size, address), { objectMode: false });
    archive.once("close", () => stream.destroy());
    return { ...said, archive };
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

/** Has the server at `address` restore an archive; gives the index at which it is in force. */
export async function restoreAt(
  network: ServerNetwork,
  address: string,
  source: AsyncIterable<Uint8Array>,
  options: RpcOptions,
): Promise<number> {
  const stream = quiet(await network.stream(address, RESTORE, NOTHING, options));
  const abort = (): void =>
    void stream.destroy(new RpcError("ERR_RPC_INTERRUPTED", "the restore was given up"));
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    const bytes = new FramedBytes(stream);
    await bytes.frame();
    // A refusal may come before all of the archive is sent.
    const sent = send(source, stream).then(() => new Promise<never>(() => undefined));
    const parsed = Outcome.parse(await Promise.race([bytes.frame(), sent]));
    if ("message" in parsed) throw new EndpointError(parsed.status, parsed.message);
    return parsed.index;
  } finally {
    options.signal?.removeEventListener("abort", abort);
    stream.destroy();
  }
}

/** An error of the stream comes to whoever reads or writes it; while nobody does, it must not end the process. */
function quiet(stream: Duplex): Duplex {
  return stream.on("error", () => undefined);
}

/** Sends everything and ends this side; the other side stays open for the outcome. */
async function send(source: AsyncIterable<Uint8Array>, stream: Duplex): Promise<void> {
  try {
    for await (const chunk of source) {
      if (stream.destroyed) return;
      if (!stream.write(chunk)) await drained(stream);
    }
    stream.end();
  } catch (error) {
    stream.destroy(error as Error);
    throw error;
  }
}

function drained(stream: Duplex): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (act: () => void) => (): void => {
      for (const [event, listener] of Object.entries(listeners)) stream.off(event, listener);
      act();
    };
    const closed = (): void =>
      reject(new RpcError("ERR_RPC_INTERRUPTED", "the stream closed before it was sent"));
    const listeners = { drain: leave(resolve), close: leave(closed) };
    for (const [event, listener] of Object.entries(listeners)) stream.on(event, listener);
    if (stream.destroyed) listeners.close();
  });
}

function frame(value: object): Buffer {
  const body = Buffer.from(JSON.stringify(value));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** The bytes of a stream, read as frames or as they come. */
class FramedBytes {
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(stream: Duplex) {
    this.#source = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  }

  async frame(): Promise<unknown> {
    const length = (await this.#exactly(4)).readUInt32BE();
    if (length > MAX_FRAME) {
      throw new RpcError("ERR_RPC_TOO_LARGE", `a frame of ${length} bytes, and ${MAX_FRAME} are taken`);
    }
    return JSON.parse((await this.#exactly(length)).toString("utf8"));
  }

  /** Undefined at the end. */
  async next(): Promise<Buffer | undefined> {
    if (this.#held.length > 0) {
      const held = this.#held;
      this.#held = Buffer.alloc(0);
      return held;
    }
    const { value, done } = await this.#source.next();
    return done === true ? undefined : value;
  }

  async #exactly(length: number): Promise<Buffer> {
    while (this.#held.length < length) {
      const { value, done } = await this.#source.next();
      if (done === true) {
        throw new RpcError("ERR_RPC_INTERRUPTED", "the other server ended the stream before it had answered");
      }
      this.#held = Buffer.concat([this.#held, value]);
    }
    const taken = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return taken;
  }
}

/** The next `size` bytes; fails where there are fewer. */
async function* exactly(bytes: FramedBytes, size: number, address: string): AsyncGenerator<Buffer> {
  let left = size;
  while (left > 0) {
    const chunk = await bytes.next();
    if (chunk === undefined || chunk.length > left) {
      throw new RpcError(
        "ERR_RPC_INTERRUPTED",
        `${address} sent ${chunk === undefined ? `${left} bytes less` : "more"} than the ${size} bytes of its snapshot`,
      );
    }
    left -= chunk.length;
    yield chunk;
  }
}
