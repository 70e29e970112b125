/** Bounds how many blocking queries wait at a time: each holds a request, a timer and a watch. */
import { HttpError } from "@drover/plugin-sdk";

export class WatchLimit {
  #waiting = 0;

  constructor(private readonly limit: number) {}

  get waiting(): number {
    return this.#waiting;
  }

  /** Takes a place until the returned object is disposed; throws HttpError 429 when all are taken. */
  enter(): Disposable {
    if (this.#waiting >= this.limit) {
      throw new HttpError(
        429,
        `Too many blocking queries: ${this.limit} are waiting already. Retry later, or raise max_blocking_queries of ` +
          'the plugin "http-api".',
        { "Retry-After": "1" },
      );
    }
    this.#waiting++;
    let left = false;
    return {
      [Symbol.dispose]: () => {
        if (left) return;
        left = true;
        this.#waiting--;
      },
    };
  }
}
