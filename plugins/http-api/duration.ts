/** Durations as Go writes them: `300ms`, `1m30s`, `2h`. */

const UNITS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};
const PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/y;

/** Nanoseconds, or undefined for a text that is no duration. */
export function parseDuration(text: string): number | undefined {
  const negative = text.startsWith("-");
  const body = text.replace(/^[-+]/, "");
  if (body === "0") return 0;
  if (body === "") return undefined;
  let total = 0;
  PART.lastIndex = 0;
  for (let at = 0; at < body.length; at = PART.lastIndex) {
    PART.lastIndex = at;
    const match = PART.exec(body);
    if (match === null) return undefined;
    total += Number(match[1]) * UNITS[match[2]!]!;
  }
  return negative ? -total : total;
}
