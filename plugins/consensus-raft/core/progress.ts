/** What a leader knows of one other server's log. */
export class Progress {
  /** Highest index known to be durable there. */
  match = 0;
  next: number;
  /**
   * `probe`: one append at a time until the logs meet; `replicate`: a pipeline; `snapshot`: waits for an installation.
   */
  state: "probe" | "replicate" | "snapshot" = "probe";
  /** Whether it answered since the leader last checked its quorum. */
  active = false;
  /** Index of the snapshot under way and ticks left before another try. */
  snapshotIndex = 0;
  snapshotTicks = 0;
  #probing = false;
  /** Last index of each append under way, in order. */
  #inflight: number[] = [];

  constructor(
    lastIndex: number,
    private readonly maxInflight: number,
  ) {
    this.next = lastIndex + 1;
  }

  get paused(): boolean {
    if (this.state === "snapshot") return true;
    return this.state === "probe" ? this.#probing : this.#inflight.length >= this.maxInflight;
  }

  sent(lastIndex: number): void {
    if (this.state === "probe") {
      this.#probing = true;
    } else if (lastIndex >= this.next) {
      this.next = lastIndex + 1;
      this.#inflight.push(lastIndex);
    }
  }

  /** Takes an acceptance; gives whether `match` grew. */
  accepted(match: number): boolean {
    const grew = match > this.match;
    if (grew) this.match = match;
    this.next = Math.max(this.next, match + 1);
    this.#inflight = this.#inflight.filter((last) => last > match);
    if (this.state === "probe" || (this.state === "snapshot" && this.match >= this.snapshotIndex)) {
      this.state = "replicate";
      this.next = this.match + 1;
      this.#inflight = [];
    }
    this.#probing = false;
    return grew;
  }

  probe(next: number): void {
    this.state = "probe";
    this.next = Math.max(next, this.match + 1);
    this.#probing = false;
    this.#inflight = [];
  }

  installing(index: number, ticks: number): void {
    this.state = "snapshot";
    this.snapshotIndex = index;
    this.snapshotTicks = ticks;
    this.#inflight = [];
  }

  /** A heartbeat came back: the link works, so one more append may go even where earlier ones were lost. */
  unblock(): void {
    this.#probing = false;
    if (this.#inflight.length >= this.maxInflight) this.#inflight.shift();
  }
}
