/**
 * A fence around what a thread must not be ended in. `Worker.terminate()` while a thread is inside of a native call of LMDB
 * aborts or corrupts the whole process: the binding finds that it may no longer run JavaScript, and can't report it. The thread
 * says when it goes in and out, by one word of shared memory; whoever wants to end it closes the fence first. A thread that is
 * inside then comes out and waits to be ended, one that is outside doesn't get in again.
 */
import { setTimeout as delay } from "node:timers/promises";

const Outside = 0;
const Inside = 1;
/** Outside, and to be ended: it waits where it wants in. */
const Closed = 2;
/** Inside, and to be ended: it waits where it comes out. */
const Closing = 3;
/** Waits to be ended. */
const Parked = 4;

/** Milliseconds between two looks at a thread that is inside. */
const LOOK = 1;

export class ThreadFence {
  readonly #word: Int32Array<SharedArrayBuffer>;

  /** `memory`: that of the thread's own fence, 4 bytes. */
  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.#word = new Int32Array(memory);
  }

  /** Goes in, does it, and comes out. Not to be nested. */
  within<T>(work: () => T): T {
    while (Atomics.compareExchange(this.#word, 0, Outside, Inside) !== Outside) this.#park();
    try {
      return work();
    } finally {
      if (Atomics.compareExchange(this.#word, 0, Inside, Outside) !== Inside) this.#park();
    }
  }

  /**
   * For another thread: resolves with true once this one is outside and stays there, with false when it is still inside after so
   * many milliseconds.
   */
  async close(limit: number): Promise<boolean> {
    for (const until = performance.now() + limit; ; ) {
      const state = Atomics.load(this.#word, 0);
      if (state === Closed || state === Parked) return true;
      if (state === Outside) Atomics.compareExchange(this.#word, 0, Outside, Closed);
      else {
        if (state === Inside) Atomics.compareExchange(this.#word, 0, Inside, Closing);
        if (performance.now() >= until) return false;
        await delay(LOOK);
      }
    }
  }

  /** For another thread: lets a thread go on that isn't to be ended after all. */
  open(): void {
    for (;;) {
      const state = Atomics.load(this.#word, 0);
      if (state === Outside || state === Inside) return;
      const next = state === Closing ? Inside : Outside;
      if (Atomics.compareExchange(this.#word, 0, state, next) === state) break;
    }
    Atomics.notify(this.#word, 0);
  }

  /** Waits until the thread is ended, or the fence is opened. */
  #park(): void {
    const state = Atomics.load(this.#word, 0);
    if (state === Outside || Atomics.compareExchange(this.#word, 0, state, Parked) !== state) return;
    while (Atomics.load(this.#word, 0) === Parked) Atomics.wait(this.#word, 0, Parked);
  }
}
