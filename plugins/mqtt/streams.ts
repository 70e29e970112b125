/** The two ends of a stream of file frames, with credit: the sender never has more on the way than the reader granted. */
import { type FileFrame, RemoteError } from "@drover/plugin-sdk";
import { RefusedPayload } from "./envelope.js";

/** Frames on the way at most. With frames of 64 KiB a slow reader costs 1 MiB. */
export const STREAM_WINDOW = 16;
const FRAME_DATA_BYTES = 64 * 1024;
/** How long a frame may be missing while later ones are there. */
const GAP_MS = 10_000;

type Item = { readonly frame: FileFrame } | { readonly end: RemoteError | undefined };

/** The reading end. Frames may arrive out of order; `read` hands them out in order. */
export class StreamReader {
  private limit = STREAM_WINDOW;
  private next = 0;
  private readonly early = new Map<number, Item>();
  private failure: Error | undefined;
  private wake: (() => void) | undefined;
  private gapTimer: NodeJS.Timeout | undefined;

  /** `grant` tells the sender that it may send frames below `limit`. */
  constructor(private readonly grant: (limit: number) => void) {}

  /** Takes an item off the wire; throws a `RefusedPayload` when the sender has no credit for it. */
  push(sequence: number, item: Item): void {
    // The end costs no credit: the sender may send it right away.
    const allowed = "end" in item ? this.limit : this.limit - 1;
    if (sequence > allowed || sequence < this.next || this.early.has(sequence)) {
      throw new RefusedPayload("malformed", `stream frame ${sequence} without credit (limit ${this.limit})`);
    }
    this.early.set(sequence, item);
    this.watchGap();
    this.wake?.();
  }

  fail(error: Error): void {
    this.failure ??= error;
    this.wake?.();
  }

  /** Ends normally at the sender's end; throws what the sender or the link reported. */
  async *read(): AsyncGenerator<FileFrame, void, undefined> {
    try {
      while (true) {
        const item = this.early.get(this.next);
        if (item === undefined) {
          if (this.failure !== undefined) throw this.failure;
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
          this.wake = undefined;
          continue;
        }
        this.early.delete(this.next++);
        this.watchGap();
        if ("end" in item) {
          if (item.end !== undefined) throw item.end;
          return;
        }
        if (this.limit - this.next <= STREAM_WINDOW / 2) {
          this.limit = this.next + STREAM_WINDOW;
          this.grant(this.limit);
        }
        yield item.frame;
      }
    } finally {
      clearTimeout(this.gapTimer);
    }
  }

  private watchGap(): void {
    const gap = this.early.size > 0 && !this.early.has(this.next);
    if (!gap) {
      clearTimeout(this.gapTimer);
      this.gapTimer = undefined;
      return;
    }
    this.gapTimer ??= setTimeout(() => {
      this.fail(
        new RemoteError("lost", `frame ${this.next} of the stream did not arrive: the broker lost it`),
      );
    }, GAP_MS);
  }
}

export interface StreamSink {
  data(sequence: number, frame: FileFrame): void;
  end(sequence: number, error: { code: string; message: string } | null): void;
}

/** The sending end. */
export class StreamWriter {
  private readonly abort = new AbortController();
  private limit: number;
  private wake: (() => void) | undefined;

  constructor(
    limit: number,
    private readonly sink: StreamSink,
  ) {
    this.limit = limit;
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  grant(limit: number): void {
    this.limit = Math.max(this.limit, limit);
    this.wake?.();
  }

  /** The reader left or the link is gone; nothing more is sent. */
  cancel(): void {
    this.abort.abort();
    this.wake?.();
  }

  /** Sends everything; never rejects: what goes wrong is told to the reader. */
  async run(frames: AsyncIterable<FileFrame>, describe: (error: unknown) => RemoteError): Promise<void> {
    let sequence = 0;
    try {
      for await (const frame of frames) {
        for (const piece of split(frame)) {
          while (sequence >= this.limit && !this.signal.aborted) {
            await new Promise<void>((resolve) => {
              this.wake = resolve;
            });
          }
          if (this.signal.aborted) return;
          this.sink.data(sequence++, piece);
        }
      }
      if (!this.signal.aborted) this.sink.end(sequence, null);
    } catch (error) {
      // An iterator that was told to stop may well throw for it.
      if (this.signal.aborted) return;
      const { code, message } = describe(error);
      this.sink.end(sequence, { code, message });
    }
  }
}

/** `Offset` counts after the data, so the pieces count back from it. */
function* split(frame: FileFrame): Iterable<FileFrame> {
  const data = frame.Data;
  if (data === undefined || data.length <= FRAME_DATA_BYTES) {
    yield frame;
    return;
  }
  for (let start = 0; start < data.length; start += FRAME_DATA_BYTES) {
    const end = Math.min(start + FRAME_DATA_BYTES, data.length);
    yield { ...frame, Offset: frame.Offset - (data.length - end), Data: data.subarray(start, end) };
  }
}
