import { majority } from "./ballot.js";

/** A read that waits until a majority confirmed that the leader still leads (dissertation, section 6.4). */
export interface PendingRead {
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
  /** Asked before the leader committed an entry of its term, so that its commit index says too little. */
  #early: Pick<PendingRead, "context" | "from">[] = [];
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

  addEarly(context: number, from: string): void {
    this.#early.push({ context, from });
  }

  takeEarly(): Pick<PendingRead, "context" | "from">[] {
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** Notes an answer; gives the reads that a majority of `voters` (which may count `self`) has now confirmed. */
  answered(server: string, round: number, self: string, voters: readonly string[]): PendingRead[] {
    this.#answered.set(server, Math.max(round, this.#answered.get(server) ?? 0));
    const rounds = voters
      .map((voter) => (voter === self ? this.#round : (this.#answered.get(voter) ?? 0)))
      .sort((a, b) => b - a);
    const confirmed = rounds[majority(voters) - 1] ?? 0;
    const ready = this.#pending.filter((read) => read.round <= confirmed);
    if (ready.length > 0) this.#pending = this.#pending.filter((read) => read.round > confirmed);
    return ready;
  }

  /** Everything still waiting, when leadership ends. */
  drain(): Pick<PendingRead, "context" | "from">[] {
    const left = [...this.#pending, ...this.takeEarly()];
    this.#pending = [];
    return left;
  }
}

/** Reads that a follower sent on to its leader. */
export class ForwardedReads {
  /** By the number they have on the wire. */
  readonly #asked = new Map<number, { readonly context: number; ticks: number }>();
  #number: number;

  /**
   * `start`: a random number. Answers to a server's earlier life must not answer its new reads, so each life numbers its
   * reads from somewhere else.
   */
  constructor(start: number) {
    this.#number = start;
  }

  /** Gives the number to ask the leader with. */
  add(context: number): number {
    this.#asked.set(++this.#number, { context, ticks: 0 });
    return this.#number;
  }

  /** The read's own context; undefined for an answer that nobody waits for. */
  take(number: number): number | undefined {
    const context = this.#asked.get(number)?.context;
    this.#asked.delete(number);
    return context;
  }

  /** Gives up what was asked `limit` ticks ago: the question or its answer was lost. */
  tick(limit: number): number[] {
    const lost: number[] = [];
    for (const [number, read] of this.#asked) {
      if (++read.ticks < limit) continue;
      this.#asked.delete(number);
      lost.push(read.context);
    }
    return lost;
  }

  drain(): number[] {
    const contexts = [...this.#asked.values()].map((read) => read.context);
    this.#asked.clear();
    return contexts;
  }
}
