/** Requests, answers and streams of one session, the same code on both sides. */
import { type FileFrame, type Logger, RemoteError } from "@drover/plugin-sdk";
import {
  decodeFrame,
  encodeFrame,
  FRAME_VERSION,
  type Frame,
  FrameType,
  MAX_MESSAGE_BYTES,
} from "./codec.js";
import { RefusedPayload } from "./envelope.js";
import { FragmentAssembly, fragmentsOf } from "./fragments.js";
import { STREAM_WINDOW, StreamReader, StreamWriter } from "./streams.js";

const CALL_TIMEOUT_MS = 10_000;
const MAX_OPEN_STREAMS = 64;

export interface ConversationOptions {
  readonly log: Logger;
  /** Seals and publishes; `streamId` is set for what belongs on a stream's own topic. */
  send(bytes: Buffer, streamId?: number): void;
  /** Answers a request of the other side. */
  handle(method: string, body: object): Promise<unknown>;
  /** Opens a stream for the other side; absent where this side has none. */
  stream?(method: string, body: object, signal: AbortSignal): AsyncIterable<FileFrame>;
  /** Requests of the other side being worked on at once; more are answered `busy`. */
  readonly maxConcurrent: number;
  /** A call got no answer in time; `silent` when nothing at all arrived since it was made. */
  onTimeout?(silent: boolean): void;
}

export interface CallOptions {
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

interface PendingCall {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Conversation {
  private lastId = 0;
  private lastMessage = 0;
  private lastReceived = 0;
  private working = 0;
  private ended: RemoteError | undefined;
  private readonly calls = new Map<number, PendingCall>();
  private readonly readers = new Map<number, StreamReader>();
  private readonly writers = new Map<number, StreamWriter>();
  private readonly assembly = new FragmentAssembly();

  constructor(private readonly options: ConversationOptions) {}

  /** Rejects with the `RemoteError` of the other side, `timeout`, `unreachable`, `too_large` or the signal's reason. */
  call(method: string, body: object, options: CallOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.ended !== undefined) throw this.ended;
      options.signal?.throwIfAborted();
      const id = ++this.lastId;
      const sent = performance.now();
      const timeout = options.timeout ?? CALL_TIMEOUT_MS;
      const finish = (): void => {
        clearTimeout(timer);
        options.signal?.removeEventListener("abort", cancelled);
        this.calls.delete(id);
      };
      const cancelled = (): void => {
        finish();
        this.trySend([FRAME_VERSION, FrameType.cancel, id, null, null]);
        reject(options.signal?.reason as Error);
      };
      const timer = setTimeout(() => {
        finish();
        this.trySend([FRAME_VERSION, FrameType.cancel, id, null, null]);
        reject(new RemoteError("timeout", `no answer to ${method} within ${timeout} ms`));
        this.options.onTimeout?.(this.lastReceived < sent);
      }, timeout);
      options.signal?.addEventListener("abort", cancelled, { once: true });
      this.calls.set(id, {
        resolve: (value) => {
          finish();
          resolve(value);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
      });
      try {
        this.send([FRAME_VERSION, FrameType.request, id, method, body as Record<string, unknown>]);
      } catch (error) {
        finish();
        throw error;
      }
    });
  }

  /** Opens a stream on the other side; leaving the loop or aborting closes it there. */
  async *stream(
    method: string,
    body: object,
    signal: AbortSignal,
  ): AsyncGenerator<FileFrame, void, undefined> {
    signal.throwIfAborted();
    if (this.ended !== undefined) throw this.ended;
    const id = ++this.lastId;
    const reader = new StreamReader((limit) =>
      this.trySend([FRAME_VERSION, FrameType.credit, id, null, { limit }]),
    );
    const aborted = (): void => reader.fail(signal.reason as Error);
    let open = true;
    try {
      this.readers.set(id, reader);
      signal.addEventListener("abort", aborted, { once: true });
      await this.opened(id, method, body, signal);
      yield* reader.read();
      open = false;
    } catch (error) {
      if (error instanceof RemoteError && error.code !== "timeout" && error.code !== "lost") open = false;
      throw error;
    } finally {
      signal.removeEventListener("abort", aborted);
      this.readers.delete(id);
      if (open) this.trySend([FRAME_VERSION, FrameType.cancel, id, null, null]);
    }
  }

  /** The other side answers the opening at once, so a lost opening doesn't look like a quiet log. */
  private opened(id: number, method: string, body: object, signal: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.calls.delete(id);
        reject(new RemoteError("timeout", `no answer to ${method} within ${CALL_TIMEOUT_MS} ms`));
      }, CALL_TIMEOUT_MS);
      const finish = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", cancelled);
        this.calls.delete(id);
      };
      const cancelled = (): void => {
        finish();
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", cancelled, { once: true });
      this.calls.set(id, {
        resolve: (value) => {
          finish();
          resolve(value);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
      });
      try {
        const request = body as Record<string, unknown>;
        this.send([FRAME_VERSION, FrameType.open, id, method, { request, limit: STREAM_WINDOW }]);
      } catch (error) {
        finish();
        throw error;
      }
    });
  }

  /** Takes an opened body; throws a `RefusedPayload` for what breaks the protocol. */
  receive(bytes: Buffer): void {
    this.lastReceived = performance.now();
    const frame = decodeFrame(bytes);
    if (frame[1] !== FrameType.fragment) {
      this.take(frame);
      return;
    }
    const whole = this.assembly.add(frame);
    if (whole === undefined) return;
    const assembled = decodeFrame(whole);
    if (assembled[1] === FrameType.fragment)
      throw new RefusedPayload("malformed", "fragments inside a fragment");
    this.take(assembled);
  }

  /** Everything that waits is told; nothing more is sent. */
  end(error: RemoteError): void {
    if (this.ended !== undefined) return;
    this.ended = error;
    for (const call of [...this.calls.values()]) call.reject(error);
    for (const reader of this.readers.values()) reader.fail(error);
    for (const writer of this.writers.values()) writer.cancel();
  }

  private take(frame: Exclude<Frame, readonly [number, typeof FrameType.fragment, ...unknown[]]>): void {
    switch (frame[1]) {
      case FrameType.request:
        void this.answer(frame[2], frame[3], frame[4]);
        return;
      // An answer to nothing comes late, after the caller gave up.
      case FrameType.answer:
        this.calls.get(frame[2])?.resolve(frame[4]);
        return;
      case FrameType.error:
        this.calls.get(frame[2])?.reject(new RemoteError(frame[4].code, frame[4].message));
        return;
      case FrameType.cancel:
        this.writers.get(frame[2])?.cancel();
        return;
      case FrameType.open:
        void this.serveStream(frame[2], frame[3], frame[4].request, frame[4].limit);
        return;
      case FrameType.data:
        this.readers.get(frame[2])?.push(frame[3], { frame: frame[4] as FileFrame });
        return;
      case FrameType.end: {
        const error = frame[4] === null ? undefined : new RemoteError(frame[4].code, frame[4].message);
        this.readers.get(frame[2])?.push(frame[3], { end: error });
        return;
      }
      case FrameType.credit:
        this.writers.get(frame[2])?.grant(frame[4].limit);
        return;
    }
  }

  private async answer(id: number, method: string, body: object): Promise<void> {
    if (this.working >= this.options.maxConcurrent) {
      this.answerError(
        id,
        new RemoteError("busy", `${this.working} requests are being worked on: try again later`),
      );
      return;
    }
    this.working++;
    try {
      const answer = await this.options.handle(method, body);
      this.send([FRAME_VERSION, FrameType.answer, id, null, answer]);
    } catch (error) {
      this.answerError(id, this.describe(method, error));
    } finally {
      this.working--;
    }
  }

  private async serveStream(id: number, method: string, body: object, limit: number): Promise<void> {
    const { stream } = this.options;
    let writer: StreamWriter | undefined;
    try {
      if (stream === undefined)
        throw new RemoteError("unknown_method", `no streams can be opened here (${method})`);
      if (this.writers.has(id)) throw new RemoteError("bad_request", `stream ${id} is open already`);
      if (this.writers.size >= MAX_OPEN_STREAMS) {
        throw new RemoteError("busy", `${MAX_OPEN_STREAMS} streams are open: close one first`);
      }
      writer = new StreamWriter(Math.min(limit, STREAM_WINDOW), {
        data: (sequence, frame) => this.send([FRAME_VERSION, FrameType.data, id, sequence, frame], id),
        end: (sequence, error) => this.trySend([FRAME_VERSION, FrameType.end, id, sequence, error], id),
      });
      const frames = stream.call(this.options, method, body, writer.signal);
      this.writers.set(id, writer);
      this.send([FRAME_VERSION, FrameType.answer, id, null, null]);
      await writer.run(frames, (error) => this.describe(method, error));
    } catch (error) {
      this.answerError(id, this.describe(method, error));
    } finally {
      if (writer !== undefined && this.writers.get(id) === writer) this.writers.delete(id);
    }
  }

  private describe(method: string, error: unknown): RemoteError {
    if (error instanceof RemoteError) return error;
    const message = error instanceof Error ? error.message : String(error);
    this.options.log.warn({ method, error: message }, `${method} failed: ${message}`);
    return new RemoteError("internal", message.slice(0, 16_384));
  }

  private answerError(id: number, error: RemoteError): void {
    const { code, message } = error;
    this.trySend([FRAME_VERSION, FrameType.error, id, null, { code, message }]);
  }

  /** Throws `RemoteError`: `too_large`, or what ended the conversation. */
  private send(frame: Frame, streamId?: number): void {
    if (this.ended !== undefined) throw this.ended;
    const bytes = encodeFrame(frame);
    if (bytes.length > MAX_MESSAGE_BYTES) {
      throw new RemoteError(
        "too_large",
        `message of ${bytes.length} bytes is above ${MAX_MESSAGE_BYTES} bytes`,
      );
    }
    this.lastMessage++;
    for (const piece of fragmentsOf(bytes, this.lastMessage)) this.options.send(piece, streamId);
  }

  /** For what tells the other side about an end: when it can't be sent, the link is gone and the other side knows. */
  private trySend(frame: Frame, streamId?: number): void {
    if (this.ended !== undefined) return;
    try {
      this.send(frame, streamId);
    } catch (error) {
      this.options.log.debug({ error: (error as Error).message }, "frame could not be sent");
    }
  }
}
