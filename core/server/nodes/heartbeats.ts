import type { Logger, Metrics } from "@drover/plugin-sdk";

export interface HeartbeatOptions {
  /** Milliseconds; least TTL given to a node. */
  readonly minTTL: number;
  /** Milliseconds beyond the TTL before a node counts as down. */
  readonly grace: number;
  /** Spreads the load: with many nodes the TTL grows so that no more arrive a second. */
  readonly maxPerSecond: number;
  /** Milliseconds that nodes get at least after a change of leader, when nobody knows their last heartbeat. */
  readonly failoverTTL: number;
}

/**
 * A timer for each node that is not down. Node timers are monotonic, so a wall clock that is set does not expire anyone.
 */
export class Heartbeats {
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #enabled = false;

  constructor(
    private readonly options: HeartbeatOptions,
    private readonly onMissed: (nodeId: string) => void,
    private readonly log: Logger,
    private readonly metrics: Metrics,
  ) {}

  get active(): number {
    return this.#timers.size;
  }

  /** On becoming leader: `nodes` are all that are not down. */
  enable(nodes: Iterable<string>): void {
    this.#enabled = true;
    const known = [...nodes];
    // The leader before may have given a node its longest TTL in the moment before it ended.
    const longest = 2 * this.#baseTTL(known.length) + this.options.grace;
    const ttl = Math.max(this.options.failoverTTL, longest);
    for (const node of known) this.#arm(node, ttl);
    if (known.length > 0)
      this.log.info({ nodes: known.length, ttl_ms: Math.round(ttl) }, "heartbeat timers restored");
  }

  disable(): void {
    this.#enabled = false;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** The node was heard: gives the TTL, milliseconds, within which it must be heard again. */
  reset(nodeId: string): number {
    if (!this.#enabled) return this.options.minTTL;
    const base = this.#baseTTL(this.#timers.size);
    const ttl = Math.round(base + Math.random() * base);
    this.#arm(nodeId, ttl + this.options.grace);
    return ttl;
  }

  clear(nodeId: string): void {
    clearTimeout(this.#timers.get(nodeId));
    this.#timers.delete(nodeId);
  }

  /** Least TTL of one of so many nodes; the longest is twice that. */
  #baseTTL(nodes: number): number {
    return Math.max(this.options.minTTL, (nodes / this.options.maxPerSecond) * 1000);
  }

  #arm(nodeId: string, after: number): void {
    clearTimeout(this.#timers.get(nodeId));
    const timer = setTimeout(() => {
      this.#timers.delete(nodeId);
      this.metrics.increment("nomad.heartbeat.invalidate");
      this.onMissed(nodeId);
    }, after);
    timer.unref();
    this.#timers.set(nodeId, timer);
  }
}
