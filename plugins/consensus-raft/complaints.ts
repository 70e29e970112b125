/** Milliseconds until the same is written again. */
const REPEAT = 60_000;
/** Sources that are told apart; strangers may come under any name. */
const SOURCES = 256;

/** Keeps what goes wrong with every try, several times a second, from filling the log. */
export class Complaints {
  readonly #last = new Map<string, { readonly text: string; readonly at: number }>();

  /** Whether `text` about `source` is news. */
  due(source: string, text: string): boolean {
    const now = performance.now();
    const last = this.#last.get(source);
    if (last?.text === text && now - last.at < REPEAT) return false;
    this.#last.delete(source);
    this.#last.set(source, { text, at: now });
    if (this.#last.size > SOURCES) this.#last.delete(this.#last.keys().next().value!);
    return true;
  }

  /** It goes well again. */
  clear(source: string): void {
    this.#last.delete(source);
  }
}
