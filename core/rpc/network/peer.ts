import { RpcError } from "@drover/plugin-sdk";
import type { PeerSession } from "./peer-session.js";

/** Milliseconds between tries at an address that can't be reached: doubled from the first, at most the last, a part of it random. */
const BACKOFF = { first: 50, last: 500 } as const;

/** The way to one address: at most one session and one attempt at a time, with a back-off between attempts that failed. */
export class Peer {
  #session: PeerSession | undefined;
  #dialling: Promise<PeerSession> | undefined;
  #failures = 0;
  #retryAt = 0;
  #lastError: RpcError | undefined;

  constructor(private readonly open: () => Promise<PeerSession>) {}

  get current(): PeerSession | undefined {
    return this.#session?.usable === true ? this.#session : undefined;
  }

  /** Rejects with an `RpcError`, at once while the address is backed off from. */
  async session(): Promise<PeerSession> {
    const { current } = this;
    if (current !== undefined) return current;
    if (this.#dialling !== undefined) return this.#dialling;
    if (this.#lastError !== undefined && performance.now() < this.#retryAt) {
      const { code, message } = this.#lastError;
      throw new RpcError(code, message, { cause: this.#lastError });
    }
    const dialling = this.#dial();
    this.#dialling = dialling;
    try {
      return await dialling;
    } finally {
      this.#dialling = undefined;
    }
  }

  /** The session in use takes no further calls; the next one opens another. */
  retire(): void {
    this.#session?.retire();
    this.#session = undefined;
    this.#lastError = undefined;
    this.#failures = 0;
  }

  async #dial(): Promise<PeerSession> {
    try {
      this.#session = await this.open();
      this.#failures = 0;
      this.#lastError = undefined;
      return this.#session;
    } catch (error) {
      this.#lastError =
        error instanceof RpcError
          ? error
          : new RpcError("ERR_RPC_UNREACHABLE", (error as Error).message, { cause: error });
      const wait = Math.min(BACKOFF.first * 2 ** this.#failures++, BACKOFF.last);
      this.#retryAt = performance.now() + wait * (0.5 + Math.random() / 2);
      throw this.#lastError;
    }
  }
}
