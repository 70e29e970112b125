/** Counts what is refused and says it once: a flood of bad payloads must not become a flood of log lines. */
import type { Logger, Metrics } from "@drover/plugin-sdk";

const REPEAT_AFTER_MS = 10 * 60_000;
const MAX_REMEMBERED = 1_000;

export class Refusals {
  private readonly counts = new Map<string, number>();
  /** When (who, reason) was last logged; bounded, because strangers choose `who`. */
  private readonly logged = new Map<string, number>();

  constructor(
    private readonly log: Logger,
    private readonly metrics: Metrics,
    private readonly metric: string,
  ) {}

  /** `who` is a node id or an address, `detail` must not quote the payload. */
  refuse(reason: string, who: string, detail: string): void {
    this.count(reason);
    const known = this.logged.has(`${who} ${reason}`) || this.logged.size < MAX_REMEMBERED;
    const key = known ? `${who} ${reason}` : `others ${reason}`;
    const now = performance.now();
    const last = this.logged.get(key);
    if (last !== undefined && now - last < REPEAT_AFTER_MS) return;
    this.logged.set(key, now);
    this.log.warn(
      { from: who, reason, count: this.counts.get(reason) },
      `refused from ${who}: ${reason}: ${detail}; more of these are counted and not logged for 10 minutes`,
    );
  }

  /** Counts without a word, for what is expected now and then. */
  count(reason: string): void {
    this.counts.set(reason, (this.counts.get(reason) ?? 0) + 1);
    this.metrics.increment(this.metric, 1, { reason });
  }

  toJSON(): Record<string, number> {
    return Object.fromEntries(this.counts);
  }
}
