/** Placement rules and life-cycle policies of jobs and groups. Durations are nanoseconds. */

/** A hard requirement (`constraint` block). */
export interface Constraint {
  /** Left side, interpolated: `${attr.kernel.name}`, `${node.class}`, `${meta.rack}`. */
  LTarget: string;
  /** See ConstraintOperand; default "=". */
  Operand: string;
  /** Right side. */
  RTarget: string;
}

/** Operands of constraints and affinities beyond `=`, `==`, `is`, `!=`, `not`, `<`, `<=`, `>`, `>=`. */
export const ConstraintOperand = {
  DistinctHosts: "distinct_hosts",
  DistinctProperty: "distinct_property",
  Regexp: "regexp",
  Version: "version",
  Semver: "semver",
  SetContains: "set_contains",
  SetContainsAll: "set_contains_all",
  SetContainsAny: "set_contains_any",
  IsSet: "is_set",
  IsNotSet: "is_not_set",
} as const;
export type ConstraintOperand = (typeof ConstraintOperand)[keyof typeof ConstraintOperand];

/** A soft preference (`affinity` block); negative weights repel. */
export interface Affinity {
  LTarget: string;
  Operand: string;
  RTarget: string;
  /** -100 to 100, not 0; default 50. */
  Weight: number;
}

/** A share of the allocations for one value of the attribute. */
export interface SpreadTarget {
  /** 0 to 100; the sum over a spread's targets is at most 100. */
  Percent: number;
  Value: string;
}

/** Spread allocations over the values of an attribute. */
export interface Spread {
  Attribute: string;
  /** Null: evenly over all values. */
  SpreadTarget: SpreadTarget[] | null;
  /** 0 to 100; default 50. */
  Weight: number;
}

/** What decides that an allocation is healthy. */
export const HealthCheck = { Checks: "checks", TaskStates: "task_states", Manual: "manual" } as const;
export type HealthCheck = (typeof HealthCheck)[keyof typeof HealthCheck];

/** Rolling updates, canaries and their roll-back (`update` block). */
export interface UpdateStrategy {
  /** Promote when all canaries are healthy. */
  AutoPromote: boolean;
  /** Go back to the last stable version when the deployment fails. */
  AutoRevert: boolean;
  /** Canaries placed before anything is replaced; default 0. */
  Canary: number;
  /** Default "checks". */
  HealthCheck: HealthCheck | "";
  /** Within which an allocation must be healthy; default 5m. */
  HealthyDeadline: number;
  /** Allocations replaced at once; default 1; 0 disables deployments. */
  MaxParallel: number;
  /** How long it must stay healthy; default 10s. */
  MinHealthyTime: number;
  /** Within which an allocation must become healthy or the deployment fails; default 10m; 0: first failure fails. */
  ProgressDeadline: number;
  /** Between system job updates; default 30s. */
  Stagger: number;
}

/** How allocations leave a draining node (`migrate` block). */
export interface MigrateStrategy {
  /** Default "checks". */
  HealthCheck: HealthCheck;
  /** Default 5m. */
  HealthyDeadline: number;
  /** At once; default 1. */
  MaxParallel: number;
  /** Default 10s. */
  MinHealthyTime: number;
}

/** Launch by the clock (`periodic` block). */
export interface PeriodicConfig {
  Enabled: boolean;
  /** Do not launch while an earlier child runs. */
  ProhibitOverlap: boolean;
  /** Cron expression. */
  Spec: string;
  /** "cron". */
  SpecType: string;
  /** IANA name; default "UTC". */
  TimeZone: string;
}

/** Whether a dispatch carries a payload. */
export const DispatchPayload = {
  Optional: "optional",
  Required: "required",
  Forbidden: "forbidden",
} as const;
export type DispatchPayload = (typeof DispatchPayload)[keyof typeof DispatchPayload];

/** Largest dispatch payload, bytes. */
export const DISPATCH_PAYLOAD_LIMIT = 16 * 1024;

/** A job that runs when dispatched (`parameterized` block). */
export interface ParameterizedJobConfig {
  MetaOptional: string[] | null;
  MetaRequired: string[] | null;
  /** Default "optional". */
  Payload: DispatchPayload;
}

/** Where a task finds the dispatch payload. */
export interface DispatchPayloadConfig {
  /** Relative to the task's `local/`; "" writes none. */
  File: string;
}

/** How regions follow one another (Enterprise). */
export interface MultiregionStrategy {
  MaxParallel: number;
  /** "", "fail_all" or "fail_local". */
  OnFailure: string;
}

/** One region of a multi-region job (Enterprise). */
export interface MultiregionRegion {
  Count: number;
  Datacenters: string[] | null;
  Meta: Record<string, string> | null;
  Name: string;
}

/** A multi-region job (Enterprise). */
export interface Multiregion {
  Regions: MultiregionRegion[] | null;
  Strategy: MultiregionStrategy | null;
}

/** After the attempts of an interval: wait and go on, or fail the allocation. */
export const RestartMode = { Delay: "delay", Fail: "fail" } as const;
export type RestartMode = (typeof RestartMode)[keyof typeof RestartMode];

/** Restarts of a failed task on its node (`restart` block). Defaults: service 2 in 30m, batch 3 in 24h, delay 15s, fail. */
export interface RestartPolicy {
  Attempts: number;
  /** Before a restart, plus up to a quarter of jitter. */
  Delay: number;
  Interval: number;
  Mode: RestartMode;
}

/** How the delay grows with every attempt. */
export const DelayFunction = {
  Constant: "constant",
  Exponential: "exponential",
  Fibonacci: "fibonacci",
} as const;
export type DelayFunction = (typeof DelayFunction)[keyof typeof DelayFunction];

/**
 * Moving a failed allocation to another node (`reschedule` block). Defaults: service unlimited, exponential from 30s
 * to 1h; batch 1 attempt in 24h, constant 5s.
 */
export interface ReschedulePolicy {
  /** In an interval, when not Unlimited. */
  Attempts: number;
  Delay: number;
  DelayFunction: DelayFunction | "";
  Interval: number;
  MaxDelay: number;
  Unlimited: boolean;
}

/** Disk shared by a group's tasks (`ephemeral_disk` block). */
export interface EphemeralDisk {
  /** Carry the data to another node; only with Sticky. */
  Migrate: boolean;
  /** Default 300. */
  SizeMB: number;
  /** Prefer the same node when it is replaced. */
  Sticky: boolean;
}

/** What a scaling policy applies to. */
export interface ScalingTarget {
  Group: string;
  Job: string;
  Namespace: string;
  /** Task of a vertical policy. */
  Task?: string;
}

/** "horizontal": the group's Count; "vertical_cpu" and "vertical_mem": a task's resources (Enterprise). */
export const ScalingPolicyType = {
  Horizontal: "horizontal",
  VerticalCPU: "vertical_cpu",
  VerticalMem: "vertical_mem",
} as const;
export type ScalingPolicyType = (typeof ScalingPolicyType)[keyof typeof ScalingPolicyType];

/** Bounds and an autoscaler's policy (`scaling` block). */
export interface ScalingPolicy {
  CreateIndex: number;
  Enabled: boolean;
  ID: string;
  Max: number;
  Min: number;
  ModifyIndex: number;
  /** Opaque to the servers: for the autoscaler. */
  Policy: Record<string, unknown> | null;
  Target: ScalingTarget;
  Type: ScalingPolicyType;
}

/** A row of GET /v1/scaling/policies. */
export interface ScalingPolicyListStub {
  CreateIndex: number;
  Enabled: boolean;
  ID: string;
  ModifyIndex: number;
  Target: ScalingTarget;
  Type: ScalingPolicyType;
}

/** One scaling of a group, newest first in GET /v1/job/:id/scale. */
export interface ScalingEvent {
  /** Null when only a message was recorded. */
  Count: number | null;
  CreateIndex: number;
  Error: boolean;
  /** Evaluation it made; null without. */
  EvalID: string | null;
  Message: string;
  Meta: Record<string, unknown> | null;
  PreviousCount: number;
  /** Unix nanoseconds. */
  Time: number;
}
