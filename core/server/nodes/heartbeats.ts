import type { Logger, Metrics } from "@drover/plugin-sdk";

export interface HeartbeatOptions {
  /** Milliseconds; least TTL given to a node. */
  readonly minTTL: number;
  /** Milliseconds beyond the TTL before a node counts as down. */
  readonly grace: number;
  /** Spreads the load: with many nodes the TTL grows so that no more arrive a second. */
  readonly maxPerSecond: number;
  /** Milliseconds that nodes get after a change of leader, when nobody knows their last heartbeat. */
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
    for (const node of nodes) this.#arm(node, this.options.failoverTTL);
    if (this.#timers.size > 0) {
      this.log.info(
        { nodes: this.#timers.size, ttl_ms: this.options.failoverTTL },
        "heartbeat timers restored",
      );
    }
  }

  disable(): void {
    this.#enabled = false;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** The node was heard: gives the TTL, milliseconds, within which it must be heard again. */
  reset(nodeId: string): number {
    if (!this.#enabled) return this.options.minTTL;
    const rate = (this.#timers.size / this.options.maxPerSecond) * 1000;
    const base = Math.max(this.options.minTTL, rate);
    const ttl = Math.round(base + Math.random() * base);
    this.#arm(nodeId, ttl + this.options.grace);
    return ttl;
  }

  clear(nodeId: string): void {
    clearTimeout(this.#timers.get(nodeId));
    this.#timers.delete(nodeId);
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
