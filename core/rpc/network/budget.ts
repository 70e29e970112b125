/** Bytes that may be held at once. */
export class Budget {
  #held = 0;

  constructor(private readonly limit: number) {}

  get held(): number {
    return this.#held;
  }

  /** Gives the release of `bytes`, to be called once or more; undefined where they don't fit. */
  take(bytes: number): (() => void) | undefined {
    if (this.#held + bytes > this.limit) return undefined;
    this.#held += bytes;
    let left = bytes;
    return () => {
      this.#held -= left;
      left = 0;
    };
  }
}
