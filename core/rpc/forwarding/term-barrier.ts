import { type Consensus, NotLeaderError } from "@drover/plugin-sdk";

/**
 * A new leader's state may lack entries that its predecessor acknowledged. Nothing is decided or answered on it before one
 * barrier in its term has passed (Raft dissertation, section 6.4); after that the leader's own state is the newest.
 */
export class TermBarrier {
  #passed = -1;
  #passing: { readonly term: number; readonly done: Promise<void> } | undefined;

  constructor(private readonly consensus: Consensus) {}

  /** Whether this server leads and its state holds all that earlier leaders acknowledged. */
  get passed(): boolean {
    return this.consensus.isLeader() && this.#passed === this.consensus.term();
  }

  /** Resolves once `passed`; rejects with NotLeaderError when leadership is lost on the way. */
  async pass(): Promise<void> {
    if (this.passed) return;
    const term = this.consensus.term();
    if (this.#passing?.term !== term) {
      this.#passing = { term, done: this.consensus.barrier().then(() => undefined) };
    }
    const passing = this.#passing;
    try {
      await passing.done;
    } catch (error) {
      if (this.#passing === passing) this.#passing = undefined;
      throw error;
    }
    if (!this.consensus.isLeader() || this.consensus.term() !== term)
      throw new NotLeaderError(this.consensus.leader());
    this.#passed = term;
  }
}
