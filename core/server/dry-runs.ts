import { type DryRunOutcome, type DryRunTask, EndpointError } from "@drover/plugin-sdk";

/** Milliseconds that a scheduler may work on a dry run: a thread does nothing else meanwhile. */
const BUDGET = 5_000;
/** Milliseconds until a dry run is given up, its wait for a turn included. */
const DEADLINE = 15_000;
/** Dry runs that may wait for their turn. */
const WAITING_LIMIT = 64;

export type DryRunRequest = Omit<DryRunTask, "budget">;

export interface DryRunLimits {
  readonly budget: number;
  readonly deadline: number;
  readonly waiting: number;
  /** How long a slot rests after a dry run, in times of what that took. */
  readonly rest: number;
}

/**
 * Admits dry runs to the scheduling pool: one at a time for two threads, and after each the threads are left alone for as
 * long as it took, so that planning takes at most half of what evaluations need.
 */
export class DryRuns {
  readonly #slots: number;
  readonly #limits: DryRunLimits;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(
    private readonly run: (task: DryRunTask) => Promise<DryRunOutcome>,
    threads: number,
    limits: Partial<DryRunLimits> = {},
  ) {
    this.#slots = Math.max(1, Math.floor(threads / 2));
    this.#limits = { budget: BUDGET, deadline: DEADLINE, waiting: WAITING_LIMIT, rest: 1, ...limits };
  }

  /** Rejects with an EndpointError: 429 when too many wait, 503 when it took too long, 500 when the scheduler failed. */
  async plan(request: DryRunRequest): Promise<DryRunOutcome> {
    const { job } = request;
    const { deadline } = this.#limits;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const text = `no dry run of job "${job.ID}" within ${deadline / 1000} s: the schedulers are busy, try again later`;
        reject(new EndpointError(503, text));
      }, deadline);
    });
    try {
      await this.#turn(late);
      return await Promise.race([this.#runOnce(request), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Takes a slot, now or when one comes free. */
  async #turn(late: Promise<never>): Promise<void> {
    if (this.#running < this.#slots) {
      this.#running++;
      return;
    }
    if (this.#waiting.size >= this.#limits.waiting) {
      throw new EndpointError(429, `${this.#waiting.size} dry runs wait already: try again in some seconds`);
    }
    let called: () => void = () => undefined;
    const turn = new Promise<void>((resolve) => {
      called = resolve;
    });
    this.#waiting.add(called);
    try {
      await Promise.race([turn, late]);
    } catch (error) {
      // A slot that was handed over in the same moment goes on to the next.
      if (!this.#waiting.delete(called)) this.#release();
      throw error;
    }
  }

  async #runOnce(request: DryRunRequest): Promise<DryRunOutcome> {
    const begin = performance.now();
    try {
      return await this.run({ ...request, budget: this.#limits.budget });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new EndpointError(500, `dry run of job "${request.job.ID}": ${why}`);
    } finally {
      setTimeout(() => this.#release(), (performance.now() - begin) * this.#limits.rest).unref();
    }
  }

  /** Hands the slot to whoever waits longest. */
  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#running--;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
