import type {
  MigrateStrategy,
  ReschedulePolicy,
  RestartPolicy,
  Sparse,
  UpdateStrategy,
} from "@drover/plugin-sdk";
import { DEFAULT_CPU_MHZ, DEFAULT_MEMORY_MB } from "@drover/plugin-sdk";
import { HOUR, MINUTE, SECOND } from "./duration.js";
import { runsOnEveryNode } from "./job-types.js";

/** Sets every field that is null or missing and returns the object. */
export function fill<T extends object>(target: T, defaults: Partial<T>): T {
  for (const [key, value] of Object.entries(defaults)) {
    const name = key as keyof T;
    if (target[name] === null || target[name] === undefined)
      target[name] = structuredClone(value) as T[keyof T];
  }
  return target;
}

export function defaultUpdate(): UpdateStrategy {
  return {
    AutoPromote: false,
    AutoRevert: false,
    Canary: 0,
    HealthCheck: "checks",
    HealthyDeadline: 5 * MINUTE,
    MaxParallel: 1,
    MinHealthyTime: 10 * SECOND,
    ProgressDeadline: 10 * MINUTE,
    Stagger: 30 * SECOND,
  };
}

/** The update strategy of a stored job that has none. */
export function blankUpdate(): UpdateStrategy {
  return {
    AutoPromote: false,
    AutoRevert: false,
    Canary: 0,
    HealthCheck: "",
    HealthyDeadline: 0,
    MaxParallel: 0,
    MinHealthyTime: 0,
    ProgressDeadline: 0,
    Stagger: 0,
  };
}

/** True for an update strategy with every field present and zero: the stored form of "none". */
export function isBlank(update: Sparse<UpdateStrategy> | null | undefined): boolean {
  if (update === null || update === undefined) return false;
  return Object.entries(blankUpdate()).every(([key, zero]) => update[key as keyof UpdateStrategy] === zero);
}

export function defaultReschedule(jobType: string): ReschedulePolicy {
  const none: ReschedulePolicy = {
    Attempts: 0,
    Delay: 0,
    DelayFunction: "",
    Interval: 0,
    MaxDelay: 0,
    Unlimited: false,
  };
  if (jobType === "service") {
    return { ...none, Delay: 30 * SECOND, DelayFunction: "exponential", MaxDelay: HOUR, Unlimited: true };
  }
  if (runsOnEveryNode(jobType)) return none;
  return { ...none, Attempts: 1, Delay: 5 * SECOND, DelayFunction: "constant", Interval: 24 * HOUR };
}

export function defaultMigrate(): MigrateStrategy {
  return { HealthCheck: "checks", HealthyDeadline: 5 * MINUTE, MaxParallel: 1, MinHealthyTime: 10 * SECOND };
}

export function defaultRestart(jobType: string): RestartPolicy {
  const lasting = jobType === "service" || jobType === "system";
  return {
    Attempts: lasting ? 2 : 3,
    Delay: 15 * SECOND,
    Interval: lasting ? 30 * MINUTE : 24 * HOUR,
    Mode: "fail",
  };
}

export function defaultResources(): { CPU: number; Cores: number; MemoryMB: number } {
  return { CPU: DEFAULT_CPU_MHZ, Cores: 0, MemoryMB: DEFAULT_MEMORY_MB };
}
