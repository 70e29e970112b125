interface Event {
  readonly time: number;
  /** Breaks ties, so that the order never depends on the heap. */
  readonly order: number;
  readonly run: () => void;
}

/** What is going to happen, by virtual time in milliseconds: a binary heap. */
export class EventQueue {
  #heap: Event[] = [];
  #order = 0;
  #now = 0;

  get now(): number {
    return this.#now;
  }

  after(delay: number, run: () => void): void {
    const event = { time: this.#now + delay, order: this.#order++, run };
    let position = this.#heap.length;
    while (position > 0) {
      const parent = (position - 1) >> 1;
      if (!before(event, this.#heap[parent]!)) break;
      this.#heap[position] = this.#heap[parent]!;
      position = parent;
    }
    this.#heap[position] = event;
  }

  /** Lets the next event happen; gives false when there is none. */
  step(): boolean {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (first === undefined || last === undefined) return false;
    if (this.#heap.length > 0) this.#sink(last);
    this.#now = first.time;
    first.run();
    return true;
  }

  #sink(event: Event): void {
    const heap = this.#heap;
    let position = 0;
    for (;;) {
      let child = 2 * position + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, event)) break;
      heap[position] = heap[child]!;
      position = child;
    }
    heap[position] = event;
  }
}

function before(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}
