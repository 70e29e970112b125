/** Bodies of requests: JSON, with syntax errors worded as Nomad's clients know them from Go. */
import { HttpError } from "@drover/plugin-sdk";

/** The body as JSON. Throws HttpError 400 where there is none or it is none. */
export function parseBody(body: Uint8Array | undefined): unknown {
  if (body === undefined || body.length === 0) throw new HttpError(400, "Request body is empty");
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8");
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new HttpError(400, describeSyntaxError(text));
  }
}

/** The body as a JSON object, without which most writes make no sense. */
export function parseObject(body: Uint8Array | undefined): Record<string, unknown> {
  const value = parseBody(body);
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new HttpError(400, `json: cannot unmarshal ${kindOf(value)} into a request: it must be an object`);
}

export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value === "boolean" ? "bool" : typeof value;
}

/** Where a JSON text goes wrong, in the words of Go's encoding/json. `text` must not be valid JSON. */
export function describeSyntaxError(text: string): string {
  const scanner = new Scanner(text);
  try {
    scanner.value("looking for beginning of value");
    scanner.space();
    if (scanner.at < text.length) scanner.fail("after top-level value");
  } catch (error) {
    if (error instanceof Found) return error.message;
    throw error;
  }
  return "invalid JSON";
}

/** Ends the scan: the first error was found. */
class Found extends Error {}

/** Deeper nesting is reported as such: the walk is recursive. */
const MAX_DEPTH = 1000;

/** Walks a JSON text as Go's scanner does, to name the first character that can't be. */
class Scanner {
  at = 0;
  #depth = 0;

  constructor(private readonly text: string) {}

  fail(context: string): never {
    if (this.at >= this.text.length) {
      throw new Found(this.text.trim() === "" ? "EOF" : "unexpected EOF");
    }
    const char = String.fromCodePoint(this.text.codePointAt(this.at)!);
    const quoted = char === "'" ? "'\\''" : char === "\\" ? "'\\\\'" : `'${printable(char)}'`;
    throw new Found(`invalid character ${quoted} ${context}`);
  }

  space(): void {
    while (this.at < this.text.length && " \t\r\n".includes(this.text[this.at]!)) this.at++;
  }

  value(context: string): void {
    this.space();
    const char = this.text[this.at];
    if (char === "{") this.#members();
    else if (char === "[") this.#elements();
    else if (char === '"') this.#string();
    else if (char === "-" || (char !== undefined && char >= "0" && char <= "9")) this.#number();
    else if (char === "t") this.#word("true");
    else if (char === "f") this.#word("false");
    else if (char === "n") this.#word("null");
    else this.fail(context);
  }

  #enter(): void {
    this.at++;
    if (++this.#depth > MAX_DEPTH) throw new Found("exceeded max depth");
  }

  #members(): void {
    this.#enter();
    this.space();
    if (this.text[this.at] !== "}") {
      for (;;) {
        this.space();
        if (this.text[this.at] !== '"') this.fail("looking for beginning of object key string");
        this.#string();
        this.space();
        if (this.text[this.at] !== ":") this.fail("after object key");
        this.at++;
        this.value("looking for beginning of value");
        this.space();
        if (this.text[this.at] === "}") break;
        if (this.text[this.at] !== ",") this.fail("after object key:value pair");
        this.at++;
      }
    }
    this.at++;
    this.#depth--;
  }

  #elements(): void {
    this.#enter();
    this.space();
    if (this.text[this.at] !== "]") {
      for (;;) {
        this.value("looking for beginning of value");
        this.space();
        if (this.text[this.at] === "]") break;
        if (this.text[this.at] !== ",") this.fail("after array element");
        this.at++;
      }
    }
    this.at++;
    this.#depth--;
  }

  #string(): void {
    this.at++;
    for (;;) {
      const char = this.text[this.at];
      if (char === undefined || char < " ") this.fail("in string literal");
      this.at++;
      if (char === '"') return;
      if (char !== "\\") continue;
      const code = this.text[this.at];
      if (code === undefined || !'"\\/bfnrtu'.includes(code)) this.fail("in string escape code");
      this.at++;
      for (let digit = 0; code === "u" && digit < 4; digit++, this.at++) {
        if (!/[0-9a-fA-F]/.test(this.text[this.at] ?? "")) this.fail("in \\u hexadecimal character escape");
      }
    }
  }

  #number(): void {
    if (this.text[this.at] === "-") this.at++;
    if (this.text[this.at] === "0") this.at++;
    else this.#digits("in numeric literal");
    if (this.text[this.at] === ".") {
      this.at++;
      this.#digits("after decimal point in numeric literal");
    }
    if (this.text[this.at] === "e" || this.text[this.at] === "E") {
      this.at++;
      if (this.text[this.at] === "+" || this.text[this.at] === "-") this.at++;
      this.#digits("in exponent of numeric literal");
    }
  }

  #digits(context: string): void {
    const start = this.at;
    while (/[0-9]/.test(this.text[this.at] ?? "")) this.at++;
    if (this.at === start) this.fail(context);
  }

  #word(word: string): void {
    for (let i = 0; i < word.length; i++, this.at++) {
      if (this.text[this.at] !== word[i]) this.fail(`in literal ${word} (expecting '${word[i]}')`);
    }
  }
}

function printable(char: string): string {
  const code = char.codePointAt(0)!;
  if (char === "\n") return "\\n";
  if (char === "\r") return "\\r";
  if (char === "\t") return "\\t";
  return code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, "0")}` : char;
}
