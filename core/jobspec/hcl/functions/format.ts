import { FunctionError } from "../evaluate.js";
import type { HclValue } from "../syntax.js";
import { numberText, scalarText, toNumber } from "../values.js";

const VERB = /%(?:%|([-+# 0]*)(\d+)?(?:\.(\d+))?(?:\[(\d+)\])?([a-zA-Z]))/g;
/** Widths beyond this are mistakes or attacks. */
const MAX_WIDTH = 10_000;

/** Text of `spec` with its verbs (%s %d %q %v %t %f %e %g %b %o %x %X) filled in, as cty's format does. */
export function format(spec: string, args: readonly HclValue[]): string {
  let next = 0;
  let highest = 0;
  const result = spec.replace(VERB, (whole, flags: string, width, precision, position, verb) => {
    if (whole === "%%") return "%";
    const at = position === undefined ? next : Number(position) - 1;
    next = at + 1;
    highest = Math.max(highest, next);
    const value = args[at];
    if (value === undefined) throw new FunctionError(`there is no argument ${at + 1} for ${whole}`);
    if (Number(width ?? 0) > MAX_WIDTH || Number(precision ?? 0) > 100)
      throw new FunctionError(`${whole} is too wide`);
    const text = verbText(whole, verb, flags, precision === undefined ? undefined : Number(precision), value);
    return pad(text, flags, Number(width ?? 0), verb);
  });
  if (spec.replace(VERB, "").includes("%"))
    throw new FunctionError("there is a % that begins no verb; write %% for one");
  if (highest < args.length)
    throw new FunctionError(`too many arguments; only ${highest} used by the format text`);
  return result;
}

function verbText(
  whole: string,
  verb: string,
  flags: string,
  precision: number | undefined,
  value: HclValue,
): string {
  const number = () => {
    const n = toNumber(value);
    if (n === undefined) throw new FunctionError(`${whole} needs a number`);
    return n;
  };
  const signed = (text: string, n: number) => (n >= 0 && flags.includes("+") ? `+${text}` : text);
  const integer = () => Math.trunc(number());
  switch (verb) {
    case "v":
      if (flags.includes("#")) return JSON.stringify(value);
      return value === null ? "null" : (scalarText(value) ?? JSON.stringify(value));
    case "s": {
      const text = scalarText(value);
      if (text === undefined) throw new FunctionError(`${whole} needs a string`);
      return precision === undefined ? text : [...text].slice(0, precision).join("");
    }
    case "q":
      return JSON.stringify(scalarText(value) ?? "");
    case "t":
      if (typeof value !== "boolean") throw new FunctionError(`${whole} needs a bool`);
      return String(value);
    case "d":
      return signed(numberText(integer()), number());
    case "b":
      return signed(integer().toString(2), number());
    case "o":
      return signed(integer().toString(8), number());
    case "x":
    case "X": {
      const hex =
        typeof value === "string" && toNumber(value) === undefined
          ? Buffer.from(value).toString("hex")
          : integer().toString(16);
      return verb === "X" ? hex.toUpperCase() : hex;
    }
    case "f":
      return signed(number().toFixed(precision ?? 6), number());
    case "e":
    case "E": {
      const text = number()
        .toExponential(precision ?? 6)
        .replace(/e([+-])(\d)$/, "e$10$2");
      return signed(verb === "E" ? text.toUpperCase() : text, number());
    }
    case "g":
    case "G":
      return signed(
        precision === undefined ? String(number()) : String(Number(number().toPrecision(precision || 1))),
        number(),
      );
    default:
      throw new FunctionError(`unsupported verb ${whole}`);
  }
}

function pad(text: string, flags: string, width: number, verb: string): string {
  if (flags.includes("-")) return text.padEnd(width);
  if (!flags.includes("0") || !"dbofeEgGxX".includes(verb)) return text.padStart(width);
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  return sign + text.slice(sign.length).padStart(width - sign.length, "0");
}
