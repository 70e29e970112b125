/** Milliseconds between two lines of one kind. */
const INTERVAL = 10_000;
const MAX_KINDS = 1024;

/** Keeps a peer that tries again and again from filling the log: of one kind of line, one in ten seconds. */
export class Repeated {
  readonly #last = new Map<string, number>();

  isDue(kind: string): boolean {
    const now = performance.now();
    const last = this.#last.get(kind);
    if (last !== undefined && now - last < INTERVAL) return false;
    this.#last.delete(kind);
    this.#last.set(kind, now);
    if (this.#last.size > MAX_KINDS) this.#last.delete(this.#last.keys().next().value!);
    return true;
  }
}
