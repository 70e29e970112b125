/** Durations as Go writes them ("1h5m30s", "1.5h", "250ms") and as the API carries them: nanoseconds. */

const UNITS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Largest duration Go can hold (about 292 years). */
const MAX_NANOSECONDS = 2 ** 63;

export const SECOND = 1e9;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

/** Nanoseconds of a Go duration text, or undefined when it is none or too long. */
export function parseDuration(text: string): number | undefined {
  const found = /^([+-]?)(0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/.exec(text);
  if (found === null) return undefined;
  let total = 0;
  for (const [, amount, unit] of found[2]!.matchAll(/(\d+\.?\d*|\.\d+)([a-zµμ]+)/g)) {
    total += Math.round(Number(amount) * UNITS[unit!]!);
  }
  if (total >= MAX_NANOSECONDS) return undefined;
  return found[1] === "-" && total !== 0 ? -total : total;
}

/** A duration as Go prints it: "1h5m0s", "30s", "1.5s", "250ms", "0s". */
export function formatDuration(nanoseconds: number): string {
  const sign = nanoseconds < 0 ? "-" : "";
  const size = Math.abs(nanoseconds);
  if (size === 0) return "0s";
  if (size < 1e3) return `${sign}${size}ns`;
  if (size < 1e6) return `${sign}${size / 1e3}µs`;
  if (size < 1e9) return `${sign}${size / 1e6}ms`;
  const hours = Math.floor(size / HOUR);
  const minutes = Math.floor((size % HOUR) / MINUTE);
  // Whole nanoseconds first, then the decimal point: division of a float would print 1.0999999.
  const rest = Math.round(size % MINUTE);
  const fraction = `${rest % 1e9}`.padStart(9, "0").replace(/0+$/, "");
  const seconds = `${Math.floor(rest / 1e9)}${fraction === "" ? "" : `.${fraction}`}s`;
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`;
}
