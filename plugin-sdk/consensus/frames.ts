/** Frames on a stream: the length (4 bytes, little endian), then that many bytes. */
import type { Writable } from "node:stream";

const HEADER = 4;

/** Writes one frame without copying its body; gives whether the stream takes more right now. */
export function writeFrame(stream: Writable, body: Uint8Array): boolean {
  const header = Buffer.allocUnsafe(HEADER);
  header.writeUInt32LE(body.length);
  stream.write(header);
  return stream.write(body);
}

/**
 * The frames of a stream, in order; ends with it. A frame that lies in one chunk is a view of it. Throws for a frame of
 * more than `maxBytes` and for an end in the middle of one.
 */
export async function* readFrames(
  source: AsyncIterable<Buffer>,
  maxBytes: number,
): AsyncGenerator<Buffer, void, undefined> {
  let chunks: Buffer[] = [];
  let held = 0;
  /** Bytes until the next frame is whole; unknown before its header is there. */
  let wanted: number | undefined;
  for await (const chunk of source) {
    chunks.push(chunk);
    held += chunk.length;
    while (held >= (wanted ?? HEADER)) {
      const joined = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, held);
      if (wanted === undefined) {
        wanted = HEADER + joined.readUInt32LE(0);
        if (wanted - HEADER > maxBytes) {
          throw new Error(`a frame of ${wanted - HEADER} bytes came, and ${maxBytes} are taken at most`);
        }
        chunks = [joined];
        continue;
      }
      const rest = joined.subarray(wanted);
      const frame = joined.subarray(HEADER, wanted);
      chunks = rest.length > 0 ? [rest] : [];
      held = rest.length;
      wanted = undefined;
      yield frame;
    }
  }
  if (held > 0) throw new Error("the stream ended in the middle of a frame");
}
