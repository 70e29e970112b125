/** Frames above the chunk size travel in pieces; the reader bounds what it keeps of unfinished ones. */
import {
  CHUNK_BYTES,
  encodeFrame,
  FRAME_VERSION,
  type Frame,
  FrameType,
  MAX_MESSAGE_BYTES,
} from "./codec.js";
import { RefusedPayload } from "./envelope.js";

const MAX_UNFINISHED = 8;
const UNFINISHED_MS = 60_000;

/** The packed frames to send for one packed frame. */
export function* fragmentsOf(bytes: Buffer, id: number): Iterable<Buffer> {
  if (bytes.length <= CHUNK_BYTES) {
    yield bytes;
    return;
  }
  const count = Math.ceil(bytes.length / CHUNK_BYTES);
  for (let index = 0; index < count; index++) {
    const piece = bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
    yield encodeFrame([FRAME_VERSION, FrameType.fragment, id, [index, count], piece]);
  }
}

interface Unfinished {
  readonly pieces: (Uint8Array | undefined)[];
  readonly since: number;
  missing: number;
  bytes: number;
}

/** Puts the pieces of one peer together. */
export class FragmentAssembly {
  private readonly unfinished = new Map<number, Unfinished>();
  private bytes = 0;

  /** The whole frame's bytes once its last piece is there. Throws a `RefusedPayload` where a bound is passed. */
  add(frame: Extract<Frame, readonly [number, typeof FrameType.fragment, ...unknown[]]>): Buffer | undefined {
    const [, , id, [index, count], piece] = frame;
    this.forgetOld();
    let message = this.unfinished.get(id);
    if (message === undefined) {
      if (this.unfinished.size >= MAX_UNFINISHED) {
        throw new RefusedPayload("oversized", `more than ${MAX_UNFINISHED} messages in fragments at once`);
      }
      message = {
        pieces: new Array(count).fill(undefined),
        since: performance.now(),
        missing: count,
        bytes: 0,
      };
      this.unfinished.set(id, message);
    }
    if (message.pieces.length !== count || index >= count || message.pieces[index] !== undefined) {
      this.forget(id);
      throw new RefusedPayload("malformed", "fragments of a message contradict each other");
    }
    if (this.bytes + piece.length > MAX_MESSAGE_BYTES + CHUNK_BYTES) {
      this.forget(id);
      throw new RefusedPayload("oversized", `unfinished messages of more than ${MAX_MESSAGE_BYTES} bytes`);
    }
    message.pieces[index] = piece;
    message.missing--;
    message.bytes += piece.length;
    this.bytes += piece.length;
    if (message.missing > 0) return undefined;
    this.forget(id);
    return Buffer.concat(message.pieces as Uint8Array[]);
  }

  private forget(id: number): void {
    this.bytes -= this.unfinished.get(id)?.bytes ?? 0;
    this.unfinished.delete(id);
  }

  /** A piece that the broker lost leaves the rest behind. */
  private forgetOld(): void {
    const before = performance.now() - UNFINISHED_MS;
    for (const [id, message] of this.unfinished) if (message.since < before) this.forget(id);
  }
}
