/** Rate limit: `rate` tokens a second, up to `burst` of them saved. */
export class TokenBucket {
  private tokens: number;
  private last = performance.now();

  constructor(
    private readonly rate: number,
    private readonly burst: number,
  ) {
    this.tokens = burst;
  }

  /** Takes a token, on credit where none is left; how many milliseconds to wait until it would have been there. */
  take(): number {
    this.refill();
    this.tokens--;
    return this.tokens >= 0 ? 0 : (-this.tokens / this.rate) * 1_000;
  }

  /** Takes a token only if there is one. */
  tryTake(): boolean {
    this.refill();
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }

  private refill(): void {
    const now = performance.now();
    this.tokens = Math.min(this.burst, this.tokens + ((now - this.last) / 1_000) * this.rate);
    this.last = now;
  }
}
