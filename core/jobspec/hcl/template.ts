import type { Range, Source } from "./source.js";
import type { Expr, TemplatePart } from "./syntax.js";

interface Strip {
  /** `~` at the start: blanks before it go away. */
  stripBefore: boolean;
  /** `~` at the end: blanks after it go away. */
  stripAfter: boolean;
}

/** What a template consists of before its directives are paired. */
export type TemplateToken =
  | { kind: "text"; value: string }
  | ({ kind: "interpolation"; part: Extract<TemplatePart, { kind: "interpolation" }> } & Strip)
  | ({
      kind: "directive";
      keyword: "if" | "else" | "endif" | "for" | "endfor";
      condition?: Expr;
      loop?: { keyName: string | null; valueName: string; collection: Expr };
      range: Range;
    } & Strip);

/** Removes the indentation that all lines of a `<<-` heredoc share; lines of blanks only do not count. */
export function dedent(tokens: readonly TemplateToken[]): TemplateToken[] {
  const starts = new Map<number, number>();
  let shared = Number.POSITIVE_INFINITY;
  let atLineStart = true;
  tokens.forEach((token, i) => {
    if (atLineStart) {
      const isBlankLine = token.kind === "text" && token.value.trim() === "" && token.value.endsWith("\n");
      if (!isBlankLine) {
        const indent = token.kind === "text" ? token.value.length - token.value.trimStart().length : 0;
        shared = Math.min(shared, indent);
        starts.set(i, indent);
      }
    }
    atLineStart = token.kind === "text" && token.value.endsWith("\n");
  });
  return tokens.map((token, i) =>
    token.kind === "text" && starts.has(i) ? { ...token, value: token.value.slice(shared) } : token,
  );
}

/** Pairs the directives of a template and applies strip markers. */
export class Template {
  readonly #tokens: TemplateToken[];
  #at = 0;

  constructor(
    tokens: readonly TemplateToken[],
    readonly source: Source,
  ) {
    this.#tokens = strip(tokens);
  }

  parts(): TemplatePart[] {
    const parts = this.#until([]);
    const left = this.#tokens[this.#at];
    if (left?.kind === "directive") {
      throw this.#misplaced(left.range, `"${left.keyword}" has no beginning.`);
    }
    return parts;
  }

  #until(ends: readonly string[], opener?: Range): TemplatePart[] {
    const parts: TemplatePart[] = [];
    for (;;) {
      const token = this.#tokens[this.#at];
      if (token === undefined) {
        if (opener !== undefined) throw this.#misplaced(opener, `This directive needs ${ends.join(" or ")}.`);
        return parts;
      }
      if (token.kind === "text") parts.push(token);
      else if (token.kind === "interpolation") parts.push(token.part);
      else if (token.keyword === "if" || token.keyword === "for") {
        this.#at++;
        parts.push(token.keyword === "if" ? this.#if(token) : this.#for(token));
      } else return parts;
      this.#at++;
    }
  }

  #if(token: Extract<TemplateToken, { kind: "directive" }>): TemplatePart {
    const whenTrue = this.#until(["else", "endif"], token.range);
    let whenFalse: TemplatePart[] = [];
    if (this.#keyword() === "else") {
      this.#at++;
      whenFalse = this.#until(["endif"], token.range);
    }
    if (this.#keyword() !== "endif") throw this.#misplaced(token.range, "This if needs an endif.");
    return { kind: "if", condition: token.condition!, whenTrue, whenFalse };
  }

  #for(token: Extract<TemplateToken, { kind: "directive" }>): TemplatePart {
    const body = this.#until(["endfor"], token.range);
    if (this.#keyword() !== "endfor") throw this.#misplaced(token.range, "This for needs an endfor.");
    return { kind: "for", ...token.loop!, body };
  }

  #keyword(): string | undefined {
    const token = this.#tokens[this.#at];
    return token?.kind === "directive" ? token.keyword : undefined;
  }

  #misplaced(range: Range, detail: string): Error {
    return this.source.error(range, "Invalid template directive", detail);
  }
}

function strip(tokens: readonly TemplateToken[]): TemplateToken[] {
  const result = [...tokens];
  result.forEach((token, i) => {
    if (token.kind === "text") return;
    if (token.stripBefore) {
      for (let j = i - 1; j >= 0; j--) {
        const before = result[j]!;
        if (before.kind !== "text") break;
        result[j] = { kind: "text", value: before.value.trimEnd() };
        if (before.value.trimEnd() !== "") break;
      }
    }
    if (token.stripAfter) {
      for (let j = i + 1; j < result.length; j++) {
        const after = result[j]!;
        if (after.kind !== "text") break;
        result[j] = { kind: "text", value: after.value.trimStart() };
        if (after.value.trimStart() !== "") break;
      }
    }
  });
  return result;
}
