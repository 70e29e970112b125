import type { HclError } from "./error.js";
import type { Source } from "./source.js";

const IDENTIFIER = /[\p{L}_][\p{L}\p{Nd}_-]*/uy;
const NUMBER = /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const INLINE_SPACE = /(?:[ \t\r]|\/\*[\s\S]*?\*\/)+/y;
const LINE_COMMENT = /(?:#|\/\/)[^\n]*/y;

/** A reading position in a source text, with the lexical pieces that structure and expressions share. */
export class Cursor {
  offset = 0;

  constructor(readonly source: Source) {
    // A byte order mark is allowed at the start of a file.
    if (source.text.charCodeAt(0) === 0xfeff) this.offset = 1;
  }

  get text(): string {
    return this.source.text;
  }

  get atEnd(): boolean {
    return this.offset >= this.text.length;
  }

  startsWith(piece: string): boolean {
    return this.text.startsWith(piece, this.offset);
  }

  /** Reads `piece` when it comes next. */
  take(piece: string): boolean {
    if (!this.startsWith(piece)) return false;
    this.offset += piece.length;
    return true;
  }

  expect(piece: string, what: string): void {
    if (!this.take(piece)) throw this.unexpected(`Expected ${what}.`);
  }

  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.offset;
    const found = pattern.exec(this.text)?.[0];
    if (found !== undefined) this.offset += found.length;
    return found;
  }

  identifier(): string | undefined {
    return this.match(IDENTIFIER);
  }

  number(): string | undefined {
    return this.match(NUMBER);
  }

  /** Skips blanks and comments; newlines too unless `keepNewlines`. */
  skipSpace(keepNewlines = false): void {
    for (;;) {
      const before = this.offset;
      this.match(INLINE_SPACE);
      this.match(LINE_COMMENT);
      if (!keepNewlines) this.take("\n");
      if (this.offset === before) return;
    }
  }

  unexpected(detail: string): HclError {
    const end = Math.min(this.offset + 1, this.text.length);
    return this.source.error({ start: this.offset, end }, "Invalid expression", detail);
  }
}
