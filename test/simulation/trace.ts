/** A running hash of what happened (FNV-1a over 32 bits, twice with different bases): the same history, the same hash. */
export class Trace {
  #a = 0x811c9dc5;
  #b = 0x01234567;

  add(...values: readonly (string | number)[]): void {
    for (const value of values) {
      const text = String(value);
      for (let position = 0; position < text.length; position++) this.#mix(text.charCodeAt(position));
      this.#mix(0x1f);
    }
  }

  get hash(): string {
    return [this.#a, this.#b].map((part) => (part >>> 0).toString(16).padStart(8, "0")).join("");
  }

  #mix(code: number): void {
    this.#a = Math.imul(this.#a ^ code, 0x01000193);
    this.#b = Math.imul(this.#b ^ (code + 0x5b), 0x01000193);
  }
}
