/** How long requests are held while the cluster has no leader, and how they are tried again meanwhile. */
import { setMaxListeners } from "node:events";
import { EndpointError } from "@drover/plugin-sdk";

export const NO_LEADER = "No cluster leader";

export interface HoldLimits {
  /** Milliseconds that a request is held (Nomad's RPCHoldTimeout). */
  readonly timeout: number;
  /** Requests that are held at a time; more are refused at once. */
  readonly waiting: number;
}

export const DEFAULT_HOLD: HoldLimits = { timeout: 5_000, waiting: 10_000 };
/** Tries are spread over this part of the time, so that requests that waited together don't come together. */
const JITTER_FRACTION = 16;

/** Requests that wait for a leader: bounded in number and time. */
export class Hold {
  readonly #stopped = new AbortController();
  #waiting = 0;

  constructor(readonly limits: HoldLimits = DEFAULT_HOLD) {
    // Every waiting request listens: Node's warning of more than ten listeners would tell of a leak that is none.
    setMaxListeners(limits.waiting, this.#stopped.signal);
  }

  /** Ends every wait: those who wait are refused. */
  stop(): void {
    this.#stopped.abort();
  }

  /** Time that `begin` gives to one request. */
  begin(): HeldRequest {
    const until = performance.now() + this.limits.timeout;
    return { left: () => until - performance.now(), pause: () => this.#pause(until) };
  }

  /** Rejects with an EndpointError where too many wait, and when the time is over. */
  async #pause(until: number): Promise<void> {
    const left = until - performance.now();
    if (left <= 0 || this.#stopped.signal.aborted) throw new EndpointError(500, NO_LEADER);
    if (this.#waiting >= this.limits.waiting) {
      throw new EndpointError(
        429,
        `${this.#waiting} requests wait for a cluster leader already: try again later`,
      );
    }
    this.#waiting++;
    try {
      await this.#sleep(Math.min(left, Math.random() * (this.limits.timeout / JITTER_FRACTION)));
    } finally {
      this.#waiting--;
    }
  }

  #sleep(milliseconds: number): Promise<void> {
    const { signal } = this.#stopped;
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}

/** One request's share of the hold. */
export interface HeldRequest {
  /** Milliseconds that are left; below zero when the time is over. */
  left(): number;
  /** A jittered wait before the next try. Rejects with EndpointError 500 `No cluster leader` when the time is over. */
  pause(): Promise<void>;
}

/** Rejects with EndpointError 500 `No cluster leader` where `work` takes longer than `left` milliseconds. */
export async function within<T>(left: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new EndpointError(500, NO_LEADER)), Math.max(0, left));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
