import { RpcError, type RpcOptions } from "@drover/plugin-sdk";

/** Longest timer that Node keeps, milliseconds. */
const MAX_TIMER = 2 ** 31 - 1;

/** The time and the signal of one call. */
export class Deadline {
  readonly #end: number;
  readonly #timer: NodeJS.Timeout;
  #connected = false;
  #over: RpcError | undefined;
  #fail: ((error: RpcError) => void) | undefined;
  readonly #abort = () => this.#finish(new RpcError("ERR_RPC_INTERRUPTED", `${this.what} was given up`));

  constructor(
    private readonly options: RpcOptions,
    private readonly what: string,
  ) {
    const { deadline, signal } = options;
    this.#end = performance.now() + deadline;
    this.#timer = setTimeout(() => this.#finish(this.#late()), Math.min(deadline, MAX_TIMER));
    if (signal?.aborted) this.#abort();
    else signal?.addEventListener("abort", this.#abort, { once: true });
  }

  /** Milliseconds that are left. */
  left(): number {
    return this.#end - performance.now();
  }

  /** The time ends while a connection is awaited: nothing was sent. */
  async connecting<T>(session: Promise<T>): Promise<T> {
    this.#connected = false;
    let stop: (() => void) | undefined;
    try {
      return await Promise.race([
        session,
        new Promise<never>((_resolve, reject) => {
          stop = this.watch(reject);
        }),
      ]);
    } finally {
      stop?.();
      this.#connected = true;
    }
  }

  /** `fail` is called once when the time is over or the signal aborts, at once where that is so. Returns its removal. */
  watch(fail: (error: RpcError) => void): () => void {
    if (this.#over !== undefined) {
      fail(this.#over);
      return () => undefined;
    }
    this.#fail = fail;
    return () => {
      this.#fail = undefined;
    };
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.options.signal?.removeEventListener("abort", this.#abort);
  }

  #finish(error: RpcError): void {
    if (this.#over !== undefined) return;
    this.#over = error;
    this.#fail?.(error);
  }

  #late(): RpcError {
    const { deadline } = this.options;
    return this.#connected
      ? new RpcError("ERR_RPC_DEADLINE", `no answer to ${this.what} within ${deadline} ms`)
      : new RpcError("ERR_RPC_UNREACHABLE", `no connection for ${this.what} within ${deadline} ms`);
  }
}
