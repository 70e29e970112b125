/** A deadline on work that is interrupted by waiting for others: the time in which it waits does not count. */
export class WorkClock {
  readonly #onPassed: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** Milliseconds left when the timer was armed. */
  #left = 0;
  #armedAt = 0;
  #pauses = 0;
  /** Which arming a look at a passed timer belongs to. */
  #generation = 0;
  #stopped = false;

  /** Whether the work is done. */
  get stopped(): boolean {
    return this.#stopped;
  }

  constructor(onPassed: () => void) {
    this.#onPassed = onPassed;
  }

  /** Begins anew with so many milliseconds. */
  start(milliseconds: number): void {
    this.#disarm();
    this.#left = milliseconds;
    this.#arm();
  }

  /** Stops counting until `resume` was called as often. */
  pause(): void {
    if (this.#pauses++ === 0) this.#disarm();
  }

  resume(): void {
    if (--this.#pauses === 0) this.#arm();
  }

  stop(): void {
    this.#stopped = true;
    this.#disarm();
  }

  #arm(): void {
    if (this.#stopped || this.#pauses > 0) return;
    const generation = ++this.#generation;
    this.#armedAt = performance.now();
    this.#timer = setTimeout(() => {
      // After a pause of this event loop the word that the work is done may lie unread: timers run before messages.
      setImmediate(() => {
        if (generation === this.#generation) this.#onPassed();
      });
    }, this.#left);
  }

  #disarm(): void {
    this.#generation++;
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#left = Math.max(0, this.#left - (performance.now() - this.#armedAt));
  }
}
