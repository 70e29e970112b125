/** When a periodic job launches next. */
import type { PeriodicConfig } from "@drover/plugin-sdk";
import { type CronSchedule, parseCron } from "./cron.js";

const DAY = 86_400_000;
/** Far enough for a 29th of February on a certain weekday. */
const HORIZON_DAYS = 366 * 29;

/**
 * Unix milliseconds of the first launch after `now`; undefined when there is none, or when the expression or the time
 * zone can't be read.
 */
export function nextLaunch(
  periodic: Pick<PeriodicConfig, "Spec" | "TimeZone">,
  now: number,
): number | undefined {
  let schedule: CronSchedule;
  let zone: Zone;
  try {
    schedule = parseCron(periodic.Spec);
    zone = zoneOf(periodic.TimeZone);
  } catch {
    // The server checks both when a job is registered; a status must not fail for an old one it no longer takes.
    return undefined;
  }
  const local = zone.local(now);
  const firstDay = Math.floor(local / DAY) * DAY;
  for (let day = 0; day < HORIZON_DAYS; day++) {
    const midnight = firstDay + day * DAY;
    if (!matchesDay(schedule, new Date(midnight))) continue;
    for (const hour of ascending(schedule.hours)) {
      for (const minute of ascending(schedule.minutes)) {
        for (const second of ascending(schedule.seconds)) {
          const moment = zone.unix(midnight + ((hour * 60 + minute) * 60 + second) * 1000);
          // A local time that daylight saving skips comes out as another; it is no launch.
          if (moment !== undefined && moment > now) return moment;
        }
      }
    }
  }
  return undefined;
}

function ascending(numbers: ReadonlySet<number>): number[] {
  return [...numbers].sort((a, b) => a - b);
}

/** `date` carries a local calendar day in its UTC fields. */
function matchesDay(schedule: CronSchedule, date: Date): boolean {
  if (!schedule.years.has(date.getUTCFullYear()) || !schedule.months.has(date.getUTCMonth() + 1))
    return false;
  const { daysOfMonth, daysOfWeek } = schedule;
  if (daysOfMonth.any && daysOfWeek.any) return true;
  const day = date.getUTCDate();
  const weekday = date.getUTCDay();
  const last = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate();
  const byMonth =
    !daysOfMonth.any &&
    (daysOfMonth.numbers.has(day) ||
      (daysOfMonth.last && day === last) ||
      [...daysOfMonth.nearestWorkdays].some((wanted) => nearestWorkday(date, wanted, last) === day));
  const byWeek =
    !daysOfWeek.any &&
    (daysOfWeek.numbers.has(weekday) ||
      (daysOfWeek.lastWeekdays.has(weekday) && day + 7 > last) ||
      daysOfWeek.nthWeekdays.some(([wanted, nth]) => wanted === weekday && Math.ceil(day / 7) === nth));
  return byMonth || byWeek;
}

/** The working day nearest to a day of the month, inside that month; 0 is its last day. */
function nearestWorkday(date: Date, wanted: number, last: number): number {
  const day = wanted === 0 ? last : wanted;
  if (day > last) return -1;
  const weekday = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), day)).getUTCDay();
  if (weekday === 6) return day > 1 ? day - 1 : day + 2;
  if (weekday === 0) return day < last ? day + 1 : day - 2;
  return day;
}

interface Zone {
  /** Local calendar time, as if it were UTC. */
  local(unix: number): number;
  unix(local: number): number | undefined;
}

function zoneOf(name: string): Zone {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: name === "" || name === "Local" ? "UTC" : name,
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
  const local = (unix: number) => {
    const part = Object.fromEntries(
      format.formatToParts(unix).map(({ type, value }) => [type, Number(value)]),
    );
    return Date.UTC(part.year!, part.month! - 1, part.day!, part.hour!, part.minute!, part.second!);
  };
  return {
    local,
    unix(wanted) {
      // The offset of the guess is that of the answer, unless a change of the clock lies between; then ask once more.
      const guess = wanted - (local(wanted) - wanted);
      const moment = wanted - (local(guess) - guess);
      return local(moment) === wanted ? moment : undefined;
    },
  };
}
