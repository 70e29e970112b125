/** The end of a file or log: `-tail`, `-n` and `-c` of `alloc logs` and `alloc fs`. */
import type { StreamFrame } from "@drover/plugin-sdk";
import { type Command, InvalidArgumentError } from "commander";

export interface TailFlags {
  readonly f?: boolean;
  readonly tail?: boolean;
  readonly n?: number;
  readonly c?: number;
}

export interface Tail {
  /** Bytes to ask for, from the end. */
  readonly bytes: number;
  /** Lines to keep of them; undefined: all. */
  readonly lines: number | undefined;
}

const DEFAULT_LINES = 10;
/** Room for a line; a longer one is shown from its middle on. */
const LINE_BYTES = 1024;

export function withTailFlags(command: Command): Command {
  return command
    .option("-f", "go on as it grows, until interrupted")
    .option("--tail", "only the end: the last 10 lines unless -n or -c say otherwise")
    .option("-n <lines>", "lines of the end", wholeNumber)
    .option("-c <bytes>", "bytes of the end", wholeNumber);
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

/** What to show of the end; undefined for everything. */
export function tailOf(flags: TailFlags): Tail | undefined {
  if (flags.c !== undefined) return { bytes: flags.c, lines: undefined };
  if (flags.n === undefined && flags.tail !== true) return undefined;
  const lines = flags.n ?? DEFAULT_LINES;
  return { bytes: Math.max(1, lines) * LINE_BYTES, lines };
}

/**
 * Writes the bytes of the frames; of what there was at the start only the last lines. A heartbeat, the bytes asked for, or
 * the end of the stream tells where the start ends.
 */
export async function lastLines(
  frames: AsyncIterable<StreamFrame>,
  tail: Tail | undefined,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  let held: Buffer | undefined = tail?.lines === undefined ? undefined : Buffer.alloc(0);
  const release = async () => {
    if (held === undefined) return;
    const bytes = cut(held, tail!.lines!);
    held = undefined;
    if (bytes.length > 0) await write(bytes);
  };
  for await (const frame of frames) {
    const bytes = frame.Data === undefined ? undefined : Buffer.from(frame.Data, "base64");
    if (held === undefined) {
      if (bytes !== undefined) await write(bytes);
      continue;
    }
    if (bytes !== undefined) held = Buffer.concat([held, bytes]);
    if (bytes === undefined || held.length >= tail!.bytes) await release();
  }
  await release();
}

function cut(bytes: Buffer, lines: number): Buffer {
  if (lines === 0) return Buffer.alloc(0);
  let found = 0;
  // The newline at the very end ends the last line; it begins none.
  for (let at = bytes.length - 2; at >= 0; at--) {
    if (bytes[at] === 0x0a && ++found === lines) return bytes.subarray(at + 1);
  }
  return bytes;
}
