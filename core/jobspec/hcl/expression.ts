import type { Cursor } from "./cursor.js";
import type { Range } from "./source.js";
import type { BinaryOperator, Expr } from "./syntax.js";
import { dedent, Template, type TemplateToken } from "./template.js";

/** Operators by rising precedence. */
const PRECEDENCE: readonly (readonly BinaryOperator[])[] = [
  ["||"],
  ["&&"],
  ["==", "!="],
  ["<=", ">=", "<", ">"],
  ["+", "-"],
  ["*", "/", "%"],
];

/** Deeper nesting than this is refused, so that no text can exhaust the stack. */
const MAX_DEPTH = 200;

/**
 * Reads HCL expressions. The parser of hcl2json has already accepted the text (see parser.ts); this one keeps what that
 * one loses: the order of blocks, the position of everything, escapes and strip markers of templates.
 */
export class ExpressionParser {
  #depth = 0;

  constructor(readonly cursor: Cursor) {}

  /** One expression. With `keepNewlines` a newline ends it, as in an attribute or an object item. */
  parse(keepNewlines: boolean): Expr {
    if (++this.#depth > MAX_DEPTH) {
      throw this.cursor.source.error(
        { start: this.cursor.offset, end: this.cursor.offset + 1 },
        "Expression nested too deeply",
        `Expressions may be nested ${MAX_DEPTH} levels deep.`,
      );
    }
    const condition = this.#binary(0, keepNewlines);
    const result = this.#conditional(condition, keepNewlines);
    this.#depth--;
    return result;
  }

  #conditional(condition: Expr, keepNewlines: boolean): Expr {
    this.cursor.skipSpace(keepNewlines);
    if (!this.cursor.take("?")) return condition;
    const whenTrue = this.parse(keepNewlines);
    this.cursor.skipSpace(keepNewlines);
    this.cursor.expect(":", 'the ":" of a conditional');
    const whenFalse = this.parse(keepNewlines);
    return {
      kind: "conditional",
      condition,
      whenTrue,
      whenFalse,
      start: condition.start,
      end: whenFalse.end,
    };
  }

  #binary(level: number, keepNewlines: boolean): Expr {
    const operators = PRECEDENCE[level];
    if (operators === undefined) return this.#unary(keepNewlines);
    let left = this.#binary(level + 1, keepNewlines);
    for (;;) {
      this.cursor.skipSpace(keepNewlines);
      const operator = operators.find((o) => this.cursor.startsWith(o));
      if (operator === undefined) return left;
      this.cursor.offset += operator.length;
      const right = this.#binary(level + 1, keepNewlines);
      left = { kind: "binary", operator, left, right, start: left.start, end: right.end };
    }
  }

  #unary(keepNewlines: boolean): Expr {
    this.cursor.skipSpace(keepNewlines);
    const start = this.cursor.offset;
    for (const operator of ["-", "!"] as const) {
      if (this.cursor.take(operator)) {
        if (++this.#depth > MAX_DEPTH) throw this.cursor.unexpected("Too many operators in a row.");
        const operand = this.#unary(keepNewlines);
        this.#depth--;
        return { kind: "unary", operator, operand, start, end: operand.end };
      }
    }
    return this.#postfix(this.#primary(keepNewlines), keepNewlines);
  }

  #postfix(target: Expr, keepNewlines: boolean): Expr {
    let result = target;
    for (;;) {
      const before = this.cursor.offset;
      this.cursor.skipSpace(keepNewlines);
      if (this.cursor.startsWith("...")) {
        this.cursor.offset = before;
        return result;
      }
      if (this.cursor.take(".")) {
        this.cursor.skipSpace(keepNewlines);
        result = this.cursor.startsWith("*")
          ? this.#attributeSplat(result, keepNewlines)
          : this.#attribute(result);
      } else if (this.cursor.take("[")) {
        this.cursor.skipSpace();
        result = this.cursor.startsWith("*") ? this.#fullSplat(result, keepNewlines) : this.#index(result);
      } else {
        this.cursor.offset = before;
        return result;
      }
    }
  }

  #attribute(target: Expr): Expr {
    const start = this.cursor.offset;
    const digits = this.cursor.match(/\d+/y);
    const name = digits === undefined ? this.cursor.identifier() : undefined;
    if (digits === undefined && name === undefined)
      throw this.cursor.unexpected("Expected an attribute name.");
    const end = this.cursor.offset;
    const key: Expr = { kind: "literal", value: name ?? Number(digits), start, end };
    return { kind: "index", target, key, start: target.start, end };
  }

  #index(target: Expr): Expr {
    const key = this.parse(false);
    this.cursor.skipSpace();
    this.cursor.expect("]", 'the closing "]" of an index');
    return { kind: "index", target, key, start: target.start, end: this.cursor.offset };
  }

  /** `list.*.name.0`: attributes and legacy indexes after it belong to each element, brackets to the result. */
  #attributeSplat(target: Expr, keepNewlines: boolean): Expr {
    this.cursor.expect("*", '"*"');
    let each: Expr = { kind: "anonymous", start: this.cursor.offset, end: this.cursor.offset };
    for (;;) {
      const before = this.cursor.offset;
      this.cursor.skipSpace(keepNewlines);
      if (this.cursor.startsWith("...") || !this.cursor.take(".")) {
        this.cursor.offset = before;
        break;
      }
      this.cursor.skipSpace(keepNewlines);
      each = this.#attribute(each);
    }
    return { kind: "splat", target, each, start: target.start, end: this.cursor.offset };
  }

  /** `list[*].name[0]`: everything after it belongs to each element. */
  #fullSplat(target: Expr, keepNewlines: boolean): Expr {
    this.cursor.expect("*", '"*"');
    this.cursor.skipSpace();
    this.cursor.expect("]", 'the closing "]" of a splat');
    const anonymous: Expr = { kind: "anonymous", start: this.cursor.offset, end: this.cursor.offset };
    const each = this.#postfix(anonymous, keepNewlines);
    return { kind: "splat", target, each, start: target.start, end: this.cursor.offset };
  }

  #primary(keepNewlines: boolean): Expr {
    const cursor = this.cursor;
    const start = cursor.offset;
    if (cursor.take("(")) {
      const inner = this.parse(false);
      cursor.skipSpace();
      cursor.expect(")", 'the closing ")"');
      return { ...inner, start, end: cursor.offset };
    }
    if (cursor.startsWith('"')) return this.#quoted();
    if (cursor.startsWith("<<")) return this.#heredoc();
    if (cursor.take("[")) return this.#tuple(start);
    if (cursor.take("{")) return this.#object(start);
    const number = cursor.number();
    if (number !== undefined) return { kind: "literal", value: Number(number), start, end: cursor.offset };
    const name = cursor.identifier();
    if (name === undefined) throw cursor.unexpected("Expected the start of an expression.");
    return this.#named(name, start, keepNewlines);
  }

  #named(name: string, start: number, keepNewlines: boolean): Expr {
    const cursor = this.cursor;
    const nameRange = { start, end: cursor.offset };
    if (name === "true" || name === "false") return { kind: "literal", value: name === "true", ...nameRange };
    if (name === "null") return { kind: "literal", value: null, ...nameRange };
    cursor.skipSpace(keepNewlines);
    if (!cursor.take("(")) {
      cursor.offset = nameRange.end;
      return { kind: "variable", name, ...nameRange };
    }
    const args: Expr[] = [];
    let expandLast = false;
    for (;;) {
      cursor.skipSpace();
      if (cursor.take(")")) break;
      if (expandLast) throw cursor.unexpected('"..." is allowed after the last argument only.');
      args.push(this.parse(false));
      cursor.skipSpace();
      if (cursor.take("...")) expandLast = true;
      cursor.skipSpace();
      if (!cursor.take(",") && !cursor.startsWith(")")) throw cursor.unexpected('Expected "," or ")".');
    }
    return { kind: "call", name, nameRange, args, expandLast, start, end: cursor.offset };
  }

  #tuple(start: number): Expr {
    const cursor = this.cursor;
    if (this.#startsFor()) return this.#for(start, "]");
    const items: Expr[] = [];
    for (;;) {
      cursor.skipSpace();
      if (cursor.take("]")) return { kind: "tuple", items, start, end: cursor.offset };
      items.push(this.parse(false));
      cursor.skipSpace();
      if (!cursor.take(",") && !cursor.startsWith("]")) throw cursor.unexpected('Expected "," or "]".');
    }
  }

  #object(start: number): Expr {
    const cursor = this.cursor;
    if (this.#startsFor()) return this.#for(start, "}");
    const items: { key: Expr; value: Expr }[] = [];
    for (;;) {
      cursor.skipSpace();
      if (cursor.take("}")) return { kind: "object", items, start, end: cursor.offset };
      const key = this.#objectKey();
      cursor.skipSpace();
      if (!cursor.take("=") && !cursor.take(":"))
        throw cursor.unexpected('Expected "=" or ":" after an object key.');
      const value = this.parse(true);
      items.push({ key, value });
      cursor.skipSpace(true);
      if (!cursor.take(",") && !cursor.startsWith("\n") && !cursor.startsWith("}")) {
        throw cursor.unexpected('Expected a newline, "," or "}" after an object item.');
      }
    }
  }

  /** A bare name is a key of that name; anything else is an expression. */
  #objectKey(): Expr {
    const start = this.cursor.offset;
    const name = this.cursor.identifier();
    if (name !== undefined) {
      const end = this.cursor.offset;
      this.cursor.skipSpace(true);
      if (/^[=:]/.test(this.cursor.text.slice(this.cursor.offset, this.cursor.offset + 1))) {
        return { kind: "literal", value: name, start, end };
      }
      this.cursor.offset = start;
    }
    return this.parse(true);
  }

  #startsFor(): boolean {
    const before = this.cursor.offset;
    this.cursor.skipSpace();
    if (this.cursor.identifier() === "for") {
      this.cursor.skipSpace();
      const after = this.cursor.text[this.cursor.offset];
      if (after !== "=" && after !== ":") return true;
    }
    this.cursor.offset = before;
    return false;
  }

  #for(start: number, close: "]" | "}"): Expr {
    const cursor = this.cursor;
    const { keyName, valueName, collection } = this.#forHeader();
    cursor.skipSpace();
    cursor.expect(":", 'the ":" of a for expression');
    let value = this.parse(false);
    let key: Expr | null = null;
    cursor.skipSpace();
    if (close === "}") {
      cursor.expect("=>", '"=>" between key and value');
      key = value;
      value = this.parse(false);
      cursor.skipSpace();
    }
    const grouped = cursor.take("...");
    cursor.skipSpace();
    let condition: Expr | null = null;
    const beforeIf = cursor.offset;
    if (cursor.identifier() === "if") condition = this.parse(false);
    else cursor.offset = beforeIf;
    cursor.skipSpace();
    cursor.expect(close, `the closing "${close}" of a for expression`);
    return {
      kind: "for",
      keyName,
      valueName,
      collection,
      key,
      value,
      condition,
      grouped,
      start,
      end: cursor.offset,
    };
  }

  /** `k, v in collection`, after the word `for`. */
  #forHeader(): { keyName: string | null; valueName: string; collection: Expr } {
    const cursor = this.cursor;
    const names: string[] = [];
    do {
      cursor.skipSpace();
      const name = cursor.identifier();
      if (name === undefined) throw cursor.unexpected("Expected the name of a loop variable.");
      names.push(name);
      cursor.skipSpace();
    } while (names.length < 2 && cursor.take(","));
    if (cursor.identifier() !== "in") throw cursor.unexpected('Expected "in" after the loop variables.');
    const collection = this.parse(false);
    const [first, second] = names;
    return second === undefined
      ? { keyName: null, valueName: first!, collection }
      : { keyName: first!, valueName: second, collection };
  }

  #quoted(): Expr {
    const cursor = this.cursor;
    const start = cursor.offset;
    cursor.expect('"', "a quote");
    const tokens = this.#templateTokens((text) => text[cursor.offset] === '"', "quoted");
    cursor.expect('"', "the closing quote of a string");
    return this.#template(tokens, { start, end: cursor.offset });
  }

  #heredoc(): Expr {
    const cursor = this.cursor;
    const start = cursor.offset;
    const header = cursor.match(/<<(-?)([\p{L}_][\p{L}\p{Nd}_-]*)\r?\n/uy);
    if (header === undefined) throw cursor.unexpected("Expected a heredoc marker and a newline.");
    const indented = header.startsWith("<<-");
    const marker = header.slice(indented ? 3 : 2).trim();
    const closing = new RegExp(`[ \\t]*${marker}(?=\\r?\\n|$)`, "y");
    const closes = (text: string): boolean => {
      if (text[cursor.offset - 1] !== "\n") return false;
      closing.lastIndex = cursor.offset;
      return closing.test(text);
    };
    const tokens = this.#templateTokens(closes, "heredoc");
    cursor.match(closing);
    return this.#template(indented ? dedent(tokens) : tokens, { start, end: cursor.offset });
  }

  #template(tokens: TemplateToken[], range: Range): Expr {
    return { kind: "template", parts: new Template(tokens, this.cursor.source).parts(), ...range };
  }

  /** Cuts a template into literal text, `${…}` and `%{…}`; literal text of a heredoc is cut at line ends. */
  #templateTokens(closes: (text: string) => boolean, form: "quoted" | "heredoc"): TemplateToken[] {
    const cursor = this.cursor;
    const tokens: TemplateToken[] = [];
    let literal = "";
    const flush = () => {
      if (literal !== "") tokens.push({ kind: "text", value: literal });
      literal = "";
    };
    while (!closes(cursor.text)) {
      if (cursor.atEnd) throw cursor.unexpected("The text ends inside a string.");
      if (cursor.take("$${")) literal += "${";
      else if (cursor.take("%%{")) literal += "%{";
      else if (cursor.startsWith("${")) {
        flush();
        tokens.push(this.#interpolation());
      } else if (cursor.startsWith("%{")) {
        flush();
        tokens.push(this.#directive());
      } else if (form === "quoted" && cursor.startsWith("\\")) literal += this.#escape();
      else {
        // Runs of plain characters at once; each stop character is looked at above.
        const run =
          cursor.match(form === "quoted" ? /[^"\\$%]+/y : /[^$%\n]+/y) ?? cursor.text[cursor.offset++]!;
        literal += run;
        if (form === "heredoc" && run === "\n") flush();
      }
    }
    flush();
    return tokens;
  }

  #escape(): string {
    const cursor = this.cursor;
    const simple: Record<string, string> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\" };
    const found = cursor.match(/\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[nrt"\\])/y);
    if (found === undefined) throw cursor.unexpected("This escape sequence is not known.");
    if (found.length === 2) return simple[found[1]!]!;
    const code = Number.parseInt(found.slice(2), 16);
    if (code > 0x10ffff) throw cursor.unexpected("This is not a Unicode character.");
    return String.fromCodePoint(code);
  }

  #interpolation(): TemplateToken {
    const cursor = this.cursor;
    const start = cursor.offset;
    cursor.expect("${", '"${"');
    const stripBefore = cursor.take("~");
    const expr = this.parse(false);
    cursor.skipSpace();
    const stripAfter = cursor.take("~");
    cursor.expect("}", 'the closing "}" of an interpolation');
    const range = { start, end: cursor.offset };
    return { kind: "interpolation", part: { kind: "interpolation", expr, range }, stripBefore, stripAfter };
  }

  #directive(): TemplateToken {
    const cursor = this.cursor;
    const start = cursor.offset;
    cursor.expect("%{", '"%{"');
    const stripBefore = cursor.take("~");
    cursor.skipSpace();
    const keyword = cursor.identifier();
    let token: Omit<Extract<TemplateToken, { kind: "directive" }>, "stripBefore" | "stripAfter" | "range">;
    if (keyword === "if") token = { kind: "directive", keyword, condition: this.parse(false) };
    else if (keyword === "for") token = { kind: "directive", keyword, loop: this.#forHeader() };
    else if (keyword === "else" || keyword === "endif" || keyword === "endfor")
      token = { kind: "directive", keyword };
    else throw cursor.unexpected("Expected if, else, endif, for or endfor.");
    cursor.skipSpace();
    const stripAfter = cursor.take("~");
    cursor.expect("}", 'the closing "}" of a template directive');
    return { ...token, stripBefore, stripAfter, range: { start, end: cursor.offset } };
  }
}
