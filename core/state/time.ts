/** Times as the API prints them: RFC 3339 in UTC with nanoseconds. */

const NANOS = 1_000_000_000n;
const RFC3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;
/** Go's zero time, which stands for "none". */
const ZERO_TIME = "0001-01-01T00:00:00Z";

/** RFC 3339 of Unix nanoseconds, without trailing zeros of the fraction. */
export function rfc3339(nanos: number): string {
  const whole = BigInt(Math.round(nanos));
  const seconds = whole / NANOS;
  const fraction = (whole % NANOS).toString().padStart(9, "0").replace(/0+$/, "");
  const text = new Date(Number(seconds) * 1_000).toISOString().slice(0, "2026-11-23T14:49:23".length);
  return fraction === "" ? `${text}Z` : `${text}.${fraction}Z`;
}

/** Unix nanoseconds of an RFC 3339 text; null for none and for Go's zero time. Throws for any other text. */
export function nanosOfRfc3339(text: string | null): number | null {
  if (text === null || text === "" || text === ZERO_TIME) return null;
  const match = RFC3339.exec(text);
  if (match === null) throw new RangeError(`"${text}" is not an RFC 3339 time`);
  const [, seconds = "", fraction = "", zone = ""] = match;
  return Date.parse(seconds + zone) * 1_000_000 + Number(fraction.padEnd(9, "0"));
}
