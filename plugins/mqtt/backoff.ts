/** Delays between attempts to connect. */
const FIRST_MS = 100;
/** In the first minute of an outage the pace stays high, so that nodes are back within a second of their server. */
const EARLY_CAP_MS = 1_000;
const EARLY_MS = 60_000;
const LATE_CAP_MS = 15_000;

/** Exponential, with jitter that spreads a thousand nodes over half of each delay. */
export class Backoff {
  private attempt = 0;
  private since = 0;

  next(): number {
    const now = performance.now();
    if (this.attempt === 0) this.since = now;
    const cap = now - this.since < EARLY_MS ? EARLY_CAP_MS : LATE_CAP_MS;
    const delay = Math.min(cap, FIRST_MS * 2 ** Math.min(this.attempt, 20));
    this.attempt++;
    return delay * (0.5 + Math.random() / 2);
  }

  reset(): void {
    this.attempt = 0;
  }
}
