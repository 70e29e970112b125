import type { SourcePosition } from "./error.js";
import type { Source } from "./source.js";

const SPACE = /[\s\uFEFF]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const SCALAR = /[^\s,\]}]+/y;

/** Where the value at `path` (its key, in an object) stands in valid JSON text; undefined for an unknown path. */
export function locateJson(source: Source, path: readonly (string | number)[]): SourcePosition | undefined {
  const offset = new JsonWalker(source.text).find(path);
  return offset === undefined ? undefined : source.position(offset);
}

class JsonWalker {
  #at = 0;

  constructor(readonly text: string) {}

  find(path: readonly (string | number)[]): number | undefined {
    this.#match(SPACE);
    let offset = this.#at;
    for (const step of path) {
      const found = this.#descend(step);
      if (found === undefined) return undefined;
      offset = found;
    }
    return offset;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  /** Moves to the member or element `step` of the value here; its offset, or undefined when there is none. */
  #descend(step: string | number): number | undefined {
    const open = this.text[this.#at];
    if (open !== "{" && open !== "[") return undefined;
    this.#at++;
    for (let i = 0; ; i++) {
      this.#match(SPACE);
      if (this.text[this.#at] === "}" || this.text[this.#at] === "]") return undefined;
      const offset = this.#at;
      let key: string | number = i;
      if (open === "{") {
        key = JSON.parse(this.#match(STRING)) as string;
        this.#match(SPACE);
        this.#at++;
        this.#match(SPACE);
      }
      if (key === step) return offset;
      this.#skipValue();
      this.#match(SPACE);
      if (this.text[this.#at] === ",") this.#at++;
    }
  }

  #skipValue(): void {
    let depth = 0;
    do {
      this.#match(SPACE);
      const c = this.text[this.#at];
      if (c === undefined) return;
      if (c === '"') this.#match(STRING);
      else if (c === "{" || c === "[") {
        depth++;
        this.#at++;
      } else if (c === "}" || c === "]") {
        depth--;
        this.#at++;
      } else if (c === "," || c === ":") this.#at++;
      else this.#match(SCALAR);
    } while (depth > 0);
  }
}
