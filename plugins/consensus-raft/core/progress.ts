export interface FlowLimits {
  /** Appends under way to one server. */
  readonly maxInflightAppends: number;
  /** Bytes of data under way to one server; a single append may be larger. */
  readonly maxInflightBytes: number;
}

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
  /** Ticks since it answered; null while it never did. */
  contact: number | null = null;
  /** Snapshot that was offered, and ticks until it is offered again. */
  snapshotIndex = 0;
  snapshotTicks = 0;
  /** Ticks until it is forgotten, counted once its removal is committed; null for a server of the configuration. */
  leavesIn: number | null = null;
  /** Highest commit index that was sent. */
  sentCommit = 0;
  #probing = false;
  /** Appends under way, in order: last index and bytes. */
  #inflight: { readonly last: number; readonly bytes: number }[] = [];
  #inflightBytes = 0;

  constructor(
    lastIndex: number,
    private readonly limits: FlowLimits,
  ) {
    this.next = lastIndex + 1;
  }

  get paused(): boolean {
    if (this.state === "snapshot") return true;
    return this.state === "probe" ? this.#probing : this.#full;
  }

  get #full(): boolean {
    const { maxInflightAppends, maxInflightBytes } = this.limits;
    return this.#inflight.length >= maxInflightAppends || this.#inflightBytes >= maxInflightBytes;
  }

  heard(): void {
    this.active = true;
    this.contact = 0;
  }

  sent(lastIndex: number, bytes: number, commit: number): void {
    this.sentCommit = Math.max(this.sentCommit, commit);
    if (this.state === "probe") {
      this.#probing = true;
    } else if (lastIndex >= this.next) {
      this.next = lastIndex + 1;
      this.#inflight.push({ last: lastIndex, bytes });
      this.#inflightBytes += bytes;
    }
  }

  /** Takes an acceptance, on a leader whose log starts after `base`; gives whether `match` grew. */
  accepted(match: number, base: number): boolean {
    const grew = match > this.match;
    if (grew) this.match = match;
    this.next = Math.max(this.next, match + 1);
    while (this.#inflight.length > 0 && this.#inflight[0]!.last <= match) this.#dropOldest();
    // Whatever snapshot it took: where the log goes on from its match, appends do the rest.
    if (this.state === "probe" || (this.state === "snapshot" && this.match >= base)) {
      this.state = "replicate";
      this.next = this.match + 1;
      this.#clearInflight();
    }
    this.#probing = false;
    return grew;
  }

  probe(next: number): void {
    this.state = "probe";
    this.next = Math.max(next, this.match + 1);
    this.#probing = false;
    this.#clearInflight();
  }

  installing(index: number, ticks: number): void {
    this.state = "snapshot";
    this.snapshotIndex = index;
    this.snapshotTicks = ticks;
    this.#clearInflight();
  }

  /** A heartbeat came back: the link works, so one more append may go even where earlier ones were lost. */
  unblock(): void {
    this.#probing = false;
    if (this.#full) this.#dropOldest();
  }

  #dropOldest(): void {
    this.#inflightBytes -= this.#inflight.shift()?.bytes ?? 0;
  }

  #clearInflight(): void {
    this.#inflight = [];
    this.#inflightBytes = 0;
  }
}
