import { type Diagnostic, HclError, type SourcePosition } from "./error.js";

/** Half-open range of UTF-16 offsets in a source text. */
export interface Range {
  start: number;
  end: number;
}

/** A named text that can tell line and column of any offset. */
export class Source {
  readonly #lineStarts: number[] = [0];

  constructor(
    readonly file: string,
    readonly text: string,
  ) {
    for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) this.#lineStarts.push(i + 1);
  }

  position(offset: number): SourcePosition {
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#lineStarts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    let column = 1;
    for (const _ of this.text.slice(this.#lineStarts[low], offset)) column++;
    return { line: low + 1, column };
  }

  diagnostic(range: Range, summary: string, detail: string): Diagnostic {
    const start = this.position(range.start);
    const end = this.position(range.end);
    return { file: this.file, ...start, endLine: end.line, endColumn: end.column, summary, detail };
  }

  error(range: Range, summary: string, detail: string): HclError {
    return new HclError([this.diagnostic(range, summary, detail)], this.text);
  }

  slice(range: Range): string {
    return this.text.slice(range.start, range.end);
  }
}
