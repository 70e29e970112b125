/** Cron expressions in the dialect of Nomad's `periodic` block. */

/** A cron expression that cannot be read; the message says which field and why. */
export class CronError extends Error {
  override name = "CronError";
}

/** The moments a cron expression names. Numbers are those of the calendar: months from 1, Sunday 0. */
export interface CronSchedule {
  seconds: ReadonlySet<number>;
  minutes: ReadonlySet<number>;
  hours: ReadonlySet<number>;
  months: ReadonlySet<number>;
  years: ReadonlySet<number>;
  daysOfMonth: CronDays;
  daysOfWeek: CronDays;
}

/** Days by number, and the special ones. */
export interface CronDays {
  /** `*` or `?`: this field does not restrict the day. */
  any: boolean;
  numbers: ReadonlySet<number>;
  /** `L`: the last day of the month. */
  last: boolean;
  /** `15W`, `LW` (as 0): the working day nearest to that day of the month. */
  nearestWorkdays: ReadonlySet<number>;
  /** `5L`: the last such weekday of the month. */
  lastWeekdays: ReadonlySet<number>;
  /** `5#3`: the third such weekday of the month, as [weekday, nth]. */
  nthWeekdays: readonly (readonly [number, number])[];
}

interface FieldKind {
  name: string;
  min: number;
  max: number;
  names?: readonly string[];
}

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SECOND: FieldKind = { name: "second", min: 0, max: 59 };
const MINUTE: FieldKind = { name: "minute", min: 0, max: 59 };
const HOUR: FieldKind = { name: "hour", min: 0, max: 23 };
const DAY_OF_MONTH: FieldKind = { name: "day-of-month", min: 1, max: 31 };
const MONTH: FieldKind = { name: "month", min: 1, max: 12, names: MONTHS };
const DAY_OF_WEEK: FieldKind = { name: "day-of-week", min: 0, max: 7, names: DAYS };
const YEAR: FieldKind = { name: "year", min: 1970, max: 2099 };

const SHORTHANDS: ReadonlyMap<string, string> = new Map([
  ["@yearly", "0 0 0 1 1 * *"],
  ["@annually", "0 0 0 1 1 * *"],
  ["@monthly", "0 0 0 1 * * *"],
  ["@weekly", "0 0 0 * * 0 *"],
  ["@daily", "0 0 0 * * * *"],
  ["@hourly", "0 0 * * * * *"],
]);

/**
 * Reads a cron expression of five, six or seven fields. Five are minute, hour, day of month, month, day of week; a
 * sixth is the year (not the second!); seven start with the second. Throws CronError.
 */
export function parseCron(spec: string): CronSchedule {
  const trimmed = spec.trim().toLowerCase();
  const fields = (SHORTHANDS.get(trimmed) ?? trimmed).split(/\s+/);
  if (trimmed.startsWith("@") && !SHORTHANDS.has(trimmed)) {
    throw new CronError(`unknown shorthand; known are ${[...SHORTHANDS.keys()].join(", ")}`);
  }
  if (fields.length < 5 || fields[0] === "")
    throw new CronError(`missing field(s): ${fields.length} of at least 5`);
  if (fields.length > 7) throw new CronError(`too many fields: ${fields.length} of at most 7`);
  if (fields.length < 7) fields.unshift("0");
  if (fields.length < 7) fields.push("*");
  const [second, minute, hour, dayOfMonth, month, dayOfWeek, year] = fields as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  return {
    seconds: readNumbers(second, SECOND),
    minutes: readNumbers(minute, MINUTE),
    hours: readNumbers(hour, HOUR),
    daysOfMonth: readDays(dayOfMonth, DAY_OF_MONTH),
    months: readNumbers(month, MONTH),
    daysOfWeek: readDays(dayOfWeek, DAY_OF_WEEK),
    years: readNumbers(year, YEAR),
  };
}

function readNumbers(text: string, kind: FieldKind): Set<number> {
  const numbers = new Set<number>();
  for (const item of text.split(",")) addRange(item, kind, numbers);
  return numbers;
}

/** `*`, `5`, `1-5`, and any of them with `/step`. */
function addRange(item: string, kind: FieldKind, into: Set<number>): void {
  const found = /^(\*|\?|[a-z0-9]+)(?:-([a-z0-9]+))?(?:\/(\d+))?$/.exec(item);
  if (found === null) throw new CronError(`syntax error in ${kind.name} field: '${item}'`);
  const [, first, last, stepText] = found;
  const every = first === "*" || first === "?";
  const step = stepText === undefined ? 1 : Number(stepText);
  if (step < 1 || step > kind.max) throw new CronError(`invalid interval ${item} in ${kind.name} field`);
  const from = every ? kind.min : readNumber(first!, kind);
  const to = last !== undefined ? readNumber(last, kind) : every || stepText !== undefined ? kind.max : from;
  if (every && last !== undefined) throw new CronError(`syntax error in ${kind.name} field: '${item}'`);
  if (to < from) throw new CronError(`invalid range ${item} in ${kind.name} field`);
  // 7 is Sunday too.
  for (let n = from; n <= to; n += step) into.add(kind === DAY_OF_WEEK ? n % 7 : n);
}

function readNumber(text: string, kind: FieldKind): number {
  const named = kind.names?.findIndex((name) => text.startsWith(name)) ?? -1;
  const number =
    named >= 0 ? named + (kind === MONTH ? 1 : 0) : /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= kind.min && number <= kind.max)) {
    throw new CronError(
      `value '${text}' out of range in ${kind.name} field, must be in [${kind.min}, ${kind.max}]`,
    );
  }
  return number;
}

function readDays(text: string, kind: FieldKind): CronDays {
  const numbers = new Set<number>();
  const nearestWorkdays = new Set<number>();
  const lastWeekdays = new Set<number>();
  const nthWeekdays: [number, number][] = [];
  let last = false;
  for (const item of text.split(",")) {
    const nth = /^([a-z0-9]+)#([1-5])$/.exec(item);
    const lastOf = /^([0-7]|sun|mon|tue|wed|thu|fri|sat)l$/.exec(item);
    const near = /^(\d{1,2}|l)w$/.exec(item);
    if (kind === DAY_OF_MONTH && item === "l") last = true;
    else if (kind === DAY_OF_MONTH && near)
      nearestWorkdays.add(near[1] === "l" ? 0 : readNumber(near[1]!, kind));
    else if (kind === DAY_OF_WEEK && nth) nthWeekdays.push([readNumber(nth[1]!, kind) % 7, Number(nth[2])]);
    else if (kind === DAY_OF_WEEK && lastOf) lastWeekdays.add(readNumber(lastOf[1]!, kind) % 7);
    else addRange(item, kind, numbers);
  }
  return { any: text === "*" || text === "?", numbers, last, nearestWorkdays, lastWeekdays, nthWeekdays };
}
