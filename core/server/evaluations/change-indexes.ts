/** The index of the last change by key, in order of change. Of more than `limit` keys the older half is forgotten. */
export class ChangeIndexes {
  readonly #at = new Map<string, number>();
  #newest = 0;

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.#at.size;
  }

  /** Remembers a change; gives the highest index that was forgotten for it, 0 where none was. */
  note(key: string, index: number): number {
    // Anew at the end, so that the map stays in order of change.
    this.#at.delete(key);
    this.#at.set(key, index);
    this.#newest = Math.max(this.#newest, index);
    if (this.#at.size <= this.limit) return 0;
    let forgotten = 0;
    let left = this.#at.size >> 1;
    for (const [old, at] of this.#at) {
      if (left-- === 0) break;
      forgotten = Math.max(forgotten, at);
      this.#at.delete(old);
    }
    return forgotten;
  }

  /** Index of the key's last change; 0 where none is remembered. */
  at(key: string): number {
    return this.#at.get(key) ?? 0;
  }

  /** Whether a key that `matches` changed after `index`. */
  someAfter(index: number, matches: (key: string) => boolean): boolean {
    if (this.#newest <= index) return false;
    for (const [key, at] of this.#at) if (at > index && matches(key)) return true;
    return false;
  }

  clear(): void {
    this.#at.clear();
    this.#newest = 0;
  }
}
