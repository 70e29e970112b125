import { constants, type Http2Stream } from "node:http2";
import { Duplex } from "node:stream";
import { RpcError } from "@drover/plugin-sdk";

export interface RpcStreamOptions {
  /** The other end, for errors. */
  readonly peer: string;
  /** Called before the first byte goes out, and before the end. */
  onFirstWrite?(): void;
}

/**
 * A stream of `ServerNetwork` over one HTTP/2 stream: nothing is read from the wire that nobody asked for, a write is done
 * when it left, and a connection that breaks is an `RpcError` instead of an early end.
 */
export class RpcStream extends Duplex {
  #ended = false;
  #finished = false;

  constructor(
    private readonly http2: Http2Stream,
    private readonly options: RpcStreamOptions,
  ) {
    super({ allowHalfOpen: true });
    // Whoever reads or writes learns of it there; one that is done with the stream must not end the process by its breaking.
    this.on("error", () => undefined);
    http2.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) http2.pause();
    });
    http2.pause();
    // Node ends the readable side of a stream that was cancelled too, and before it says so. Once the frame is dealt with, the
    // stream's state tells them apart, or its close.
    http2.once("end", () => {
      setImmediate(() => {
        if (!http2.closed && http2.state.remoteClose === 1) this.#end();
      });
    });
    http2.on("error", (error) => this.destroy(this.#interrupted(error)));
    http2.once("close", () => {
      if (http2.rstCode === constants.NGHTTP2_NO_ERROR && http2.readableEnded) this.#end();
      if (!this.#ended || !this.#finished) this.destroy(this.#interrupted());
    });
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.push(null);
  }

  override _read(): void {
    this.http2.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.options.onFirstWrite?.();
    this.http2.write(chunk, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.options.onFirstWrite?.();
    this.#finished = true;
    this.http2.end(callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.http2.closed && !(this.#ended && this.#finished)) {
      this.http2.close(error === null ? constants.NGHTTP2_CANCEL : constants.NGHTTP2_INTERNAL_ERROR);
    }
    callback(error);
  }

  #interrupted(cause?: Error): RpcError {
    return new RpcError(
      "ERR_RPC_INTERRUPTED",
      `the stream to ${this.options.peer} broke`,
      cause === undefined ? undefined : { cause },
    );
  }
}
