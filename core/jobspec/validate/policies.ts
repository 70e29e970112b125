import type {
  MigrateStrategy,
  ParameterizedJobConfig,
  PeriodicConfig,
  ReschedulePolicy,
  RestartPolicy,
  ScalingPolicy,
  UpdateStrategy,
} from "@drover/plugin-sdk";
import { CronError, parseCron } from "../cron.js";
import { formatDuration, SECOND } from "../duration.js";
import { type ErrorList, quoted } from "./errors.js";

const MIN_RESTART_INTERVAL = 5 * SECOND;
const MIN_RESCHEDULE_DELAY = 5 * SECOND;
const MIN_RESCHEDULE_INTERVAL = 15 * SECOND;

const d = formatDuration;

export function checkRestart(r: RestartPolicy, list: ErrorList): void {
  list.check(r.Mode !== "fail" && r.Mode !== "delay", `Unsupported restart mode: ${quoted(r.Mode)}`);
  list.check(r.Attempts < 0, `Restart attempts can not be less than zero: ${r.Attempts} < 0`);
  if (r.Attempts === 0 && r.Mode !== "fail") {
    list.add(`Restart policy ${quoted(r.Mode)} with ${r.Attempts} attempts is ambiguous`);
  }
  list.check(r.Delay < 0, `Delay can not be less than zero (got ${d(r.Delay)})`);
  if (r.Interval < MIN_RESTART_INTERVAL) {
    list.add(`Interval can not be less than ${d(MIN_RESTART_INTERVAL)} (got ${d(r.Interval)})`);
  }
  if (r.Attempts * r.Delay > r.Interval) {
    list.add(
      `Can't restart the TaskGroup ${r.Attempts} times in an interval of ${d(r.Interval)} with a delay of ${d(r.Delay)}`,
    );
  }
}

/** Time that `attempts` reschedules take when every allocation fails at once. */
function rescheduleTime(r: ReschedulePolicy): number {
  let total = 0;
  let delay = r.Delay;
  let before = 0;
  for (let i = 0; i < Math.min(r.Attempts, 10_000); i++) {
    total += r.DelayFunction === "constant" ? r.Delay : Math.min(delay, r.MaxDelay);
    if (r.DelayFunction === "exponential") delay *= 2;
    else if (r.DelayFunction === "fibonacci") [before, delay] = [delay, delay + before];
  }
  return total;
}

export function checkReschedule(r: ReschedulePolicy, list: ErrorList): void {
  list.check(r.Attempts < 0, `Reschedule attempts can not be less than zero: ${r.Attempts} < 0`);
  if (r.Attempts <= 0 && !r.Unlimited) return;
  if (r.Attempts > 0) {
    list.check(r.Interval <= 0, "Interval must be a non zero value if Attempts > 0");
    if (r.Unlimited) {
      list.add(
        `Reschedule Policy with Attempts = ${r.Attempts}, Interval = ${d(r.Interval)}, and Unlimited = ${r.Unlimited} is ambiguous`,
      );
    }
  }
  const tooShort = r.Delay < MIN_RESCHEDULE_DELAY;
  list.check(tooShort, `Delay cannot be less than ${d(MIN_RESCHEDULE_DELAY)} (got ${d(r.Delay)})`);
  const known = ["constant", "exponential", "fibonacci"];
  if (!known.includes(r.DelayFunction)) {
    list.add(
      `Invalid delay function ${quoted(r.DelayFunction)}, must be one of ${known.map(quoted).join(" ")}`,
    );
    return;
  }
  if (r.DelayFunction !== "constant") {
    const min = d(MIN_RESCHEDULE_DELAY);
    list.check(
      r.MaxDelay < MIN_RESCHEDULE_DELAY,
      `Max Delay cannot be less than ${min} (got ${d(r.MaxDelay)})`,
    );
    list.check(
      r.MaxDelay < r.Delay,
      `Max Delay cannot be less than Delay ${d(r.Delay)} (got ${d(r.MaxDelay)})`,
    );
  }
  if (r.Unlimited || r.Interval <= 0) return;
  if (r.Interval < MIN_RESCHEDULE_INTERVAL) {
    list.add(`Interval cannot be less than ${d(MIN_RESCHEDULE_INTERVAL)} (got ${d(r.Interval)})`);
  }
  const needed = rescheduleTime(r);
  if (!tooShort && needed > r.Interval) {
    list.add(
      `Can't make ${r.Attempts} attempts in ${d(r.Interval)} with initial delay ${d(r.Delay)} and delay function ` +
        `${quoted(r.DelayFunction)}; set the interval to at least ${d(needed)} to accommodate ${r.Attempts} attempts`,
    );
  }
}

export function checkUpdate(u: UpdateStrategy, list: ErrorList): void {
  const known = ["checks", "task_states", "manual"];
  list.check(!known.includes(u.HealthCheck), `Invalid health check given: ${quoted(u.HealthCheck)}`);
  list.check(u.MaxParallel < 0, `Max parallel can not be less than zero: ${u.MaxParallel} < 0`);
  list.check(u.Canary < 0, `Canary count can not be less than zero: ${u.Canary} < 0`);
  list.check(u.Canary === 0 && u.AutoPromote, "Auto Promote requires a Canary count greater than zero");
  list.check(u.MinHealthyTime < 0, `Minimum healthy time may not be less than zero: ${d(u.MinHealthyTime)}`);
  list.check(u.HealthyDeadline <= 0, `Healthy deadline must be greater than zero: ${d(u.HealthyDeadline)}`);
  list.check(u.ProgressDeadline < 0, `Progress deadline must be zero or greater: ${d(u.ProgressDeadline)}`);
  if (u.MinHealthyTime >= u.HealthyDeadline) {
    const times = `${d(u.MinHealthyTime)} > ${d(u.HealthyDeadline)}`;
    list.add(`Minimum healthy time must be less than healthy deadline: ${times}`);
  }
  if (u.ProgressDeadline !== 0 && u.HealthyDeadline >= u.ProgressDeadline) {
    const times = `${d(u.HealthyDeadline)} > ${d(u.ProgressDeadline)}`;
    list.add(`Healthy deadline must be less than progress deadline: ${times}`);
  }
  list.check(u.Stagger <= 0, `Stagger must be greater than zero: ${d(u.Stagger)}`);
}

export function checkMigrate(m: MigrateStrategy, list: ErrorList): void {
  list.check(m.MaxParallel < 0, `MaxParallel must be >= 0 but found ${m.MaxParallel}`);
  const known = ["checks", "task_states"];
  list.check(!known.includes(m.HealthCheck), `Invalid HealthCheck: ${quoted(m.HealthCheck)}`);
  list.check(m.MinHealthyTime < 0, `MinHealthyTime is ${d(m.MinHealthyTime)} but must be >= 0`);
  list.check(m.HealthyDeadline < 0, `HealthyDeadline is ${d(m.HealthyDeadline)} but must be >= 0`);
  list.check(m.MinHealthyTime > m.HealthyDeadline, "MinHealthyTime must be less than HealthyDeadline");
}

function knownTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch (error) {
    // A RangeError is how Intl says that it does not know the zone.
    if (error instanceof RangeError) return false;
    throw error;
  }
}

export function checkPeriodic(p: PeriodicConfig, list: ErrorList): void {
  if (p.Spec === "") {
    list.add("Must specify a spec");
    return;
  }
  if (!knownTimeZone(p.TimeZone))
    list.add(`Invalid time zone ${quoted(p.TimeZone)}: unknown time zone ${p.TimeZone}`);
  if (p.SpecType !== "cron") {
    list.add(`Unknown periodic specification type ${quoted(p.SpecType)}`);
    return;
  }
  try {
    parseCron(p.Spec);
  } catch (error) {
    if (!(error instanceof CronError)) throw error;
    list.add(`Invalid cron spec ${quoted(p.Spec)}: ${error.message}`);
  }
}

export function checkParameterized(p: ParameterizedJobConfig, list: ErrorList): void {
  const known = ["optional", "required", "forbidden"];
  list.check(!known.includes(p.Payload), `Unknown payload requirement: ${quoted(p.Payload)}`);
  const both = (p.MetaRequired ?? []).filter((key) => p.MetaOptional?.includes(key));
  if (both.length > 0) {
    list.add(
      `Required and optional meta keys should be disjoint. Following keys exist in both: ${both.join(", ")}`,
    );
  }
}

export function checkScaling(s: ScalingPolicy, count: number, list: ErrorList): void {
  if (s.Max < 0) list.add("maximum count must be specified and non-negative");
  list.check(s.Min < 0, "minimum count must be specified and non-negative");
  list.check(s.Max < s.Min, "maximum count must not be less than minimum count");
  list.check(s.Max < count, "task group count must not be greater than maximum count in scaling policy");
  list.check(count < s.Min, "task group count must not be less than minimum count in scaling policy");
}
