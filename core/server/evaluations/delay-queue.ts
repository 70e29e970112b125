import { Heap } from "../heap.js";

/** Longest delay that one timer of Node takes. */
const MAX_TIMER = 2 ** 31 - 1;

interface Entry<T> {
  readonly item: T;
  /** `performance.now()` at which it is due: a wall clock that is set back must not hold work up. */
  readonly due: number;
}

/** Holds items back for a time and gives them out in order of their due time, with one timer for all. */
export class DelayQueue<T> {
  readonly #heap = new Heap<Entry<T>>((a, b) => a.due < b.due);
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly release: (item: T) => void) {}

  get size(): number {
    return this.#heap.size;
  }

  /** Holds `item` for `delay` milliseconds. */
  add(item: T, delay: number): void {
    this.#heap.push({ item, due: performance.now() + delay });
    this.#schedule();
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#heap.clear();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const next = this.#heap.peek();
    if (next === undefined) return;
    this.#timer = setTimeout(
      () => this.#drain(),
      Math.min(Math.max(0, next.due - performance.now()), MAX_TIMER),
    );
    this.#timer.unref();
  }

  #drain(): void {
    for (
      let next = this.#heap.peek();
      next !== undefined && next.due <= performance.now();
      next = this.#heap.peek()
    ) {
      this.#heap.pop();
      this.release(next.item);
    }
    this.#schedule();
  }
}
