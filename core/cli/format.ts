/** Text layouts of the command line: columns, key-value blocks, ids, sizes and times. */

/** Rows in aligned columns, two spaces apart; empty cells print `<none>`. */
export function columns(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (cell === "" ? "<none>" : cell)));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  return cells
    .map((row) => row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at]!))).join("  "))
    .join("\n");
}

/** `ID     = web` lines, aligned at the equals sign; empty values print `<none>`. */
export function keyValues(pairs: readonly (readonly [key: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([key]) => key.length));
  return pairs.map(([key, value]) => `${key.padEnd(width)} = ${value === "" ? "<none>" : value}`).join("\n");
}

export const SHORT_ID = 8;

export function shortId(id: string, verbose = false): string {
  return verbose ? id : id.slice(0, SHORT_ID);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Bytes in binary units: `128 MiB`, `9.5 GiB`. */
export function binarySize(bytes: number): string {
  if (bytes < 10) return `${Math.max(0, Math.round(bytes))} B`;
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = Math.floor((bytes / 1024 ** power) * 10 + 0.5) / 10;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ${UNITS[power]}`;
}

export const MIB = 1024 * 1024;

/** A moment in the local time zone: `2026-11-23T14:49:12Z`, `2026-11-23T15:49:12+01:00`. */
export function formatTime(milliseconds: number): string {
  if (!(milliseconds > 0)) return "N/A";
  const offset = -new Date(milliseconds).getTimezoneOffset();
  const shifted = new Date(milliseconds + offset * 60_000).toISOString().slice(0, 19);
  if (offset === 0) return `${shifted}Z`;
  const size = Math.abs(offset);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${shifted}${offset < 0 ? "-" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** Of Unix nanoseconds. */
export function formatUnixNano(nanoseconds: number): string {
  return formatTime(Math.floor(nanoseconds / 1e6));
}

const PERIODS: readonly (readonly [unit: string, seconds: number])[] = [
  ["y", 360 * 86_400],
  ["mo", 30 * 86_400],
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
];

/** How long ago, or in how long, in its two largest units: `32s ago`, `2d3h ago`, `10m7s from now`. */
export function timeDifference(milliseconds: number, now: number): string {
  if (!(milliseconds > 0)) return "";
  const seconds = Math.round(now / 1000) - Math.round(milliseconds / 1000);
  return `${largestPeriods(Math.abs(seconds))} ${seconds < 0 ? "from now" : "ago"}`;
}

export function largestPeriods(seconds: number): string {
  const parts: string[] = [];
  let rest = Math.max(0, Math.round(seconds));
  for (const [unit, size] of PERIODS) {
    if (rest >= size) parts.push(`${Math.floor(rest / size)}${unit}`);
    rest %= size;
  }
  return parts.length === 0 ? "0s" : parts.slice(0, 2).join("");
}

/** `1 allocation`, `2 allocations`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** JSON as Nomad's command line prints it: keys in order, four spaces. */
export function printJson(value: unknown): string {
  return JSON.stringify(sortKeys(value), null, 4);
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, inner]) => [key, sortKeys(inner)]),
  );
}
