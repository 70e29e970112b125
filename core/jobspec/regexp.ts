import { runInNewContext } from "node:vm";

/** Longest time one pattern may take on one text; Go's engine is linear, this one is not. */
const TIMEOUT_MS = 200;

/** A pattern takes too long on a text. */
export class RegexpTimeout extends Error {
  override name = "RegexpTimeout";
}

/** POSIX classes as RE2 knows them inside brackets. */
const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\x00-\\x7F",
  blank: "\\t ",
  cntrl: "\\x00-\\x1F\\x7F",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

/**
 * A regular expression in RE2's syntax, which Nomad uses, as one of ours. Throws SyntaxError for what RE2 refuses
 * (look-around, back-references) or cannot be read.
 */
export function compileRe2(pattern: string, flags = ""): RegExp {
  if (/\(\?(?:[=!]|<[=!])/.test(pattern)) throw new SyntaxError("look-around is not supported");
  if (/(?:^|[^\\])(?:\\\\)*\\[1-9]/.test(pattern)) throw new SyntaxError("back-references are not supported");
  let allFlags = flags;
  const rest = pattern.replace(/^\(\?([ims]+)\)/, (_, inline: string) => {
    allFlags += inline;
    return "";
  });
  const translated = rest
    .replace(/\(\?P</g, "(?<")
    .replace(/\[:(\^?)(\w+):\]/g, (whole, negated: string, name: string) => {
      const set = POSIX_CLASSES[name];
      if (set === undefined || negated !== "") throw new SyntaxError(`unknown character class ${whole}`);
      return set;
    })
    .replace(/\\([AzQE])/g, (_, letter: string) => {
      if (letter === "A") return "(?<![\\s\\S])";
      if (letter === "z") return "(?![\\s\\S])";
      throw new SyntaxError("\\Q…\\E is not supported");
    })
    .replace(/\\p([A-Z])(?!\w)/g, "\\p{$1}");
  try {
    return new RegExp(translated, `${[...new Set(allFlags)].join("")}u`);
  } catch (error) {
    // Many patterns escape characters needlessly ("\-", "\/"), which only the mode without "u" tolerates.
    if (/\\p\{/i.test(translated)) throw error;
    return new RegExp(translated, [...new Set(allFlags)].join(""));
  }
}

/** `text` with every match of `pattern` replaced ($1 and ${name} refer to groups). Throws RegexpTimeout. */
export function replaceRe2(text: string, pattern: string, replacement: string): string {
  const regexp = compileRe2(pattern, "g");
  const js = replacement.replace(/\$\{(\w+)\}/g, (_, name: string) =>
    /^\d+$/.test(name) ? `$${name}` : `$<${name}>`,
  );
  try {
    // A context of its own is the one way to interrupt a running match.
    return String(
      runInNewContext(
        "text.replace(regexp, replacement)",
        { text, regexp, replacement: js },
        { timeout: TIMEOUT_MS },
      ),
    );
  } catch (error) {
    // The error comes from the other context, so it is no instance of our Error.
    const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
    if (code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw new RegexpTimeout(`the pattern ${pattern} takes too long on this text`, { cause: error });
  }
}
