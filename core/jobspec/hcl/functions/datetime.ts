import { parseDuration } from "../../duration.js";
import { FunctionError, type HclFunction } from "../evaluate.js";
import { fn } from "./arguments.js";

const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const TIMESTAMP = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(Z|([+-])(\d{2}):(\d{2}))$/;

/** A timestamp shifted so that the UTC accessors of `at` show local time in its own zone. */
function readTimestamp(text: string): { at: Date; offset: string } {
  const found = TIMESTAMP.exec(text);
  const utc = found === null ? Number.NaN : Date.parse(text);
  if (found === null || Number.isNaN(utc))
    throw new FunctionError(`${JSON.stringify(text)} is not an RFC 3339 timestamp`);
  const minutes =
    found[1] === "Z" ? 0 : (found[2] === "-" ? -1 : 1) * (Number(found[3]) * 60 + Number(found[4]));
  return { at: new Date(utc + minutes * 60_000), offset: found[1]! };
}

/** Letters of a format and what they print; https://developer.hashicorp.com/nomad/docs/job-specification/hcl2/functions/datetime/formatdate */
function formatdate(spec: string, timestamp: string): string {
  const { at, offset } = readTimestamp(timestamp);
  const two = (n: number) => String(n).padStart(2, "0");
  const hour12 = at.getUTCHours() % 12 || 12;
  const zone = offset === "Z" ? "+00:00" : offset;
  const parts: Record<string, string> = {
    YYYY: String(at.getUTCFullYear()).padStart(4, "0"),
    YY: two(at.getUTCFullYear() % 100),
    MMMM: MONTHS[at.getUTCMonth()]!,
    MMM: MONTHS[at.getUTCMonth()]!.slice(0, 3),
    MM: two(at.getUTCMonth() + 1),
    M: String(at.getUTCMonth() + 1),
    DD: two(at.getUTCDate()),
    D: String(at.getUTCDate()),
    EEEE: DAYS[at.getUTCDay()]!,
    EEE: DAYS[at.getUTCDay()]!.slice(0, 3),
    hh: two(at.getUTCHours()),
    h: String(at.getUTCHours()),
    HH: two(hour12),
    H: String(hour12),
    AA: at.getUTCHours() < 12 ? "AM" : "PM",
    aa: at.getUTCHours() < 12 ? "am" : "pm",
    mm: two(at.getUTCMinutes()),
    m: String(at.getUTCMinutes()),
    ss: two(at.getUTCSeconds()),
    s: String(at.getUTCSeconds()),
    ZZZZZ: zone,
    ZZZZ: zone.replace(":", ""),
    ZZZ: zone === "+00:00" ? "UTC" : zone.replace(":", ""),
    Z: zone === "+00:00" ? "Z" : zone,
  };
  return spec.replace(/'((?:[^']|'')*)'|([A-Za-z])\2*/g, (run, quoted: string | undefined) => {
    if (quoted !== undefined) return quoted.replaceAll("''", "'");
    const part = parts[run];
    if (part === undefined)
      throw new FunctionError(`"${run}" is not a part of a date; put literal text in single quotes`);
    return part;
  });
}

function timeadd(timestamp: string, duration: string): string {
  const { at } = readTimestamp(timestamp);
  const nanoseconds = parseDuration(duration);
  if (nanoseconds === undefined)
    throw new FunctionError(`${JSON.stringify(duration)} is not a duration such as "1h30m"`);
  const offset = TIMESTAMP.exec(timestamp)![1]!;
  const later = new Date(at.getTime() + nanoseconds / 1e6);
  if (Number.isNaN(later.getTime())) throw new FunctionError("the result is outside the range of dates");
  return later.toISOString().replace(/(\.000)?Z$/, offset);
}

export const datetimeFunctions: Readonly<Record<string, HclFunction>> = {
  formatdate: fn(2, 2, (a) => formatdate(a.string(0), a.string(1))),
  timeadd: fn(2, 2, (a) => timeadd(a.string(0), a.string(1))),
  timestamp: fn(0, 0, () => new Date().toISOString().replace(/\.\d+Z$/, "Z")),
};
