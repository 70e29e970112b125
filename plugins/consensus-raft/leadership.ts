import type { LeadershipListener, Logger, Metrics } from "@drover/plugin-sdk";

/** Whether this server leads, and who wants to know. */
export class LeadershipState {
  readonly #listeners = new Set<LeadershipListener>();
  /** Term in which this server leads. */
  #term: number | null = null;

  constructor(
    private readonly log: Logger,
    private readonly metrics: Metrics,
  ) {}

  get leading(): boolean {
    return this.#term !== null;
  }

  /** `leads` is the term in which this server leads, `term` the present one. */
  set(leads: number | null, term: number): void {
    if (leads === this.#term) return;
    // Two terms of its own in a row are two leaderships: others may have led in between.
    const ended = this.#term !== null;
    this.#term = null;
    if (ended) this.#tell(false, term);
    this.#term = leads;
    if (leads !== null) this.#tell(true, leads);
  }

  /** Tells `listener` the present state and every change from now on. */
  listen(listener: LeadershipListener, term: number): () => void {
    this.#listeners.add(listener);
    this.#notify(listener, this.leading, term);
    return () => this.#listeners.delete(listener);
  }

  #tell(leading: boolean, term: number): void {
    this.metrics.increment(leading ? "nomad.raft.state.leader" : "nomad.raft.state.follower");
    for (const listener of [...this.#listeners]) this.#notify(listener, leading, term);
  }

  #notify(listener: LeadershipListener, leading: boolean, term: number): void {
    try {
      listener(leading, term);
    } catch (error) {
      this.log.error({ error: (error as Error).stack }, "a leadership listener failed");
    }
  }
}
