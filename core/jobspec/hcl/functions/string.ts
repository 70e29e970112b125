import { replaceRe2 } from "../../regexp.js";
import { FunctionError, type HclFunction } from "../evaluate.js";
import { type Arguments, fn } from "./arguments.js";
import { format } from "./format.js";

const ANY = Number.POSITIVE_INFINITY;

/** formatlist: lists are walked in step, everything else repeats. */
function formatlist(args: Arguments): string[] {
  const rest = args.all.slice(1);
  const lengths = rest.filter(Array.isArray).map((list) => list.length);
  const length = lengths[0] ?? 1;
  if (lengths.some((other) => other !== length)) throw new FunctionError("the lists have different lengths");
  return Array.from({ length }, (_, i) =>
    format(
      args.string(0),
      rest.map((item) => (Array.isArray(item) ? item[i]! : item)),
    ),
  );
}

function substr(args: Arguments): string {
  const characters = [...args.string(0)];
  const offset = args.integer(1);
  const length = args.integer(2);
  const start = offset < 0 ? Math.max(0, characters.length + offset) : offset;
  return characters.slice(start, length < 0 ? undefined : start + length).join("");
}

function trimSet(text: string, set: string): string {
  const characters = [...text];
  const cut = new Set(set);
  let start = 0;
  let end = characters.length;
  while (start < end && cut.has(characters[start]!)) start++;
  while (end > start && cut.has(characters[end - 1]!)) end--;
  return characters.slice(start, end).join("");
}

function join(args: Arguments): string {
  const items = args.all.slice(1).flatMap((_, i) => args.strings(i + 1));
  return items.join(args.string(0));
}

function regexReplace(args: Arguments): string {
  try {
    return replaceRe2(args.string(0), args.string(1), args.string(2));
  } catch (error) {
    throw new FunctionError(
      `cannot use the pattern: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

export const stringFunctions: Readonly<Record<string, HclFunction>> = {
  chomp: fn(1, 1, (a) => a.string(0).replace(/[\r\n]+$/, "")),
  format: fn(1, ANY, (a) => format(a.string(0), a.all.slice(1))),
  formatlist: fn(1, ANY, formatlist),
  indent: fn(2, 2, (a) =>
    a.string(1).replaceAll("\n", `\n${" ".repeat(Math.min(1000, Math.max(0, a.integer(0))))}`),
  ),
  join: fn(2, ANY, join),
  lower: fn(1, 1, (a) => a.string(0).toLowerCase()),
  regex_replace: fn(3, 3, regexReplace),
  replace: fn(3, 3, (a) => a.string(0).replaceAll(a.string(1), () => a.string(2))),
  split: fn(2, 2, (a) => (a.string(1) === "" ? [""] : a.string(1).split(a.string(0)))),
  strlen: fn(1, 1, (a) => [...new Intl.Segmenter().segment(a.string(0))].length),
  strrev: fn(1, 1, (a) =>
    Array.from(new Intl.Segmenter().segment(a.string(0)), (s) => s.segment)
      .reverse()
      .join(""),
  ),
  substr: fn(3, 3, substr),
  title: fn(1, 1, (a) =>
    a
      .string(0)
      .replace(/(^|[^\p{L}\p{N}_'])(\p{Ll})/gu, (_, before, letter) => before + letter.toUpperCase()),
  ),
  trim: fn(2, 2, (a) => trimSet(a.string(0), a.string(1))),
  trimprefix: fn(2, 2, (a) =>
    a.string(0).startsWith(a.string(1)) ? a.string(0).slice(a.string(1).length) : a.string(0),
  ),
  trimspace: fn(1, 1, (a) => a.string(0).trim()),
  trimsuffix: fn(2, 2, (a) =>
    a.string(1) !== "" && a.string(0).endsWith(a.string(1))
      ? a.string(0).slice(0, -a.string(1).length)
      : a.string(0),
  ),
  upper: fn(1, 1, (a) => a.string(0).toUpperCase()),
};
