/** A read that waits until a majority confirmed that the leader still leads (dissertation, section 6.4). */
interface PendingRead {
  readonly context: number;
  /** Server that asked. */
  readonly from: string;
  readonly index: number;
  /** Heartbeat round that confirms it. */
  readonly round: number;
}

/** The leader's queue of reads; each heartbeat round confirms every read that was asked before it was sent. */
export class ReadQueue {
  #round = 0;
  #pending: PendingRead[] = [];
  /** Highest round each server answered. */
  readonly #answered = new Map<string, number>();

  get round(): number {
    return this.#round;
  }
  get waiting(): boolean {
    return this.#pending.length > 0;
  }

  /** Queues a read at commit index `index`; the caller sends a heartbeat of the new round. */
  add(context: number, from: string, index: number): void {
    this.#round++;
    this.#pending.push({ context, from, index, round: this.#round });
  }

  /** Notes an answer; gives the reads that a majority of `voters` (which may count `self`) has now confirmed. */
  answered(server: string, round: number, self: string, voters: readonly string[]): PendingRead[] {
    this.#answered.set(server, Math.max(round, this.#answered.get(server) ?? 0));
    const quorum = Math.floor(voters.length / 2) + 1;
    const rounds = voters
      .map((voter) => (voter === self ? this.#round : (this.#answered.get(voter) ?? 0)))
      .sort((a, b) => b - a);
    const confirmed = rounds[quorum - 1] ?? 0;
    const ready = this.#pending.filter((read) => read.round <= confirmed);
    if (ready.length > 0) this.#pending = this.#pending.filter((read) => read.round > confirmed);
    return ready;
  }

  /** Everything still waiting, when leadership ends. */
  drain(): PendingRead[] {
    const pending = this.#pending;
    this.#pending = [];
    return pending;
  }
}
