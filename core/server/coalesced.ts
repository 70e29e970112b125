/**
 * Work that is asked for often and done now and then: some milliseconds after the first request, once for all that came
 * meanwhile, and never twice at the same time.
 */
export class Coalesced {
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #again: number | undefined;

  constructor(
    /** Milliseconds between a request and the work. */
    private readonly delay: number,
    private readonly work: () => Promise<void>,
    private readonly failed: (error: unknown) => void,
  ) {}

  request(delay = this.delay): void {
    if (this.#running) {
      this.#again = Math.min(delay, this.#again ?? delay);
      return;
    }
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => void this.#run(), delay);
    this.#timer.unref();
  }

  /** Forgets what was requested; work that is under way goes on. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#again = undefined;
  }

  async #run(): Promise<void> {
    this.#timer = undefined;
    this.#running = true;
    try {
      await this.work();
    } catch (error) {
      this.failed(error);
    } finally {
      this.#running = false;
      const again = this.#again;
      this.#again = undefined;
      if (again !== undefined) this.request(again);
    }
  }
}
