import type { EtcdClient } from "./client.js";

/**
 * Part of the lease that is not used: clocks of two machines don't run equally fast, and who is told that it leads no more
 * needs a moment to stop.
 */
const MARGIN = 0.1;

/**
 * This server's lease. etcd ends it no earlier than its length after it *received* a renewal; this side counts from before
 * the renewal was *sent*, by the monotonic clock, which runs on while the process is stopped. So it always knows first.
 */
export class Session {
  #validUntil: number;
  #expiry: NodeJS.Timeout | undefined;

  private constructor(
    private readonly client: EtcdClient,
    /** etcd's id of the lease. */
    readonly lease: string,
    sent: number,
    ttl: number,
    /** Called once the lease may have expired; it may come back to life with a renewal. */
    private readonly onExpired: () => void,
  ) {
    this.#validUntil = sent + ttl * (1 - MARGIN);
    this.#arm();
  }

  static async open(client: EtcdClient, ttl: number, onExpired: () => void): Promise<Session> {
    const sent = performance.now();
    const { id, ttl: granted } = await client.grant(Math.ceil(ttl / 1000));
    return new Session(client, id, sent, granted, onExpired);
  }

  /** Whether nobody else can have seen this lease expire yet. */
  get isValid(): boolean {
    return performance.now() < this.#validUntil;
  }

  /** Milliseconds for which it is valid without another renewal. */
  get remaining(): number {
    return Math.max(0, this.#validUntil - performance.now());
  }

  /** Rejects with an `EtcdFailure`; `lease-lost` when etcd has ended it. */
  async renew(): Promise<void> {
    const sent = performance.now();
    const ttl = await this.client.renew(this.lease);
    this.#validUntil = Math.max(this.#validUntil, sent + ttl * (1 - MARGIN));
    this.#arm();
  }

  /** Counts as expired from now on, whatever etcd thinks. */
  abandon(): void {
    clearTimeout(this.#expiry);
    this.#validUntil = Number.NEGATIVE_INFINITY;
  }

  #arm(): void {
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => {
      if (this.isValid) this.#arm();
      else this.onExpired();
    }, this.remaining + 1);
    this.#expiry.unref();
  }
}
