/**
 * Jobs as Nomad 1.1's API prints them (https://developer.hashicorp.com/nomad/api-docs/json-jobs).
 *
 * Durations are nanoseconds. `T | null` marks what the API prints as `null`. The types describe a job after
 * canonicalization (defaults filled in), which is what the state store holds; `JobInput` in requests.ts is the form
 * a client may submit.
 */
import type {
  Affinity,
  Constraint,
  EphemeralDisk,
  MigrateStrategy,
  Multiregion,
  ParameterizedJobConfig,
  PeriodicConfig,
  ReschedulePolicy,
  RestartPolicy,
  ScalingPolicy,
  Spread,
  UpdateStrategy,
} from "./policies.js";
import type { NetworkResource } from "./resources.js";
import type { Consul, Service } from "./service.js";
import type { Task, VolumeRequest } from "./task.js";

/** Which scheduler places a job. `_core` is the server's own garbage collection. */
export const JobType = {
  Service: "service",
  Batch: "batch",
  System: "system",
  SysBatch: "sysbatch",
  Core: "_core",
} as const;
/** A scheduler plugin may add its own name, so any string is admitted. */
export type JobType = (typeof JobType)[keyof typeof JobType] | (string & {});

/** `pending`: nothing placed yet. `running`: live evaluations or allocations. `dead`: all terminal or stopped. */
export const JobStatus = { Pending: "pending", Running: "running", Dead: "dead" } as const;
export type JobStatus = (typeof JobStatus)[keyof typeof JobStatus];

/** Priority when the job names none. */
export const JOB_DEFAULT_PRIORITY = 50;
/** Lowest priority a job may ask for. */
export const JOB_MIN_PRIORITY = 1;
/** Highest priority a job may ask for. */
export const JOB_MAX_PRIORITY = 100;
/** Priority of the server's own `_core` evaluations: above every job. */
export const CORE_JOB_PRIORITY = JOB_MAX_PRIORITY * 2;
/** How many versions of a job the state store keeps besides the stable one's. */
export const JOB_TRACKED_VERSIONS = 6;
/** Namespace when a request names none. */
export const DEFAULT_NAMESPACE = "default";
/** Region when the configuration names none. */
export const DEFAULT_REGION = "global";
/** Between a periodic parent's id and the launch time in Unix seconds: `cron/periodic-1795445352`. */
export const PERIODIC_LAUNCH_SUFFIX = "/periodic-";
/** Between a parameterized parent's id and `<unix seconds>-<8 hex>`: `render/dispatch-1795445352-b397c29d`. */
export const DISPATCH_LAUNCH_SUFFIX = "/dispatch-";

/** A job: what to run, how often and where. Key in the state store: (Namespace, ID), and Version for old versions. */
export interface Job {
  /** Soft preferences for every group. */
  Affinities: Affinity[] | null;
  /** Place all of a plan or none of it; default false. */
  AllAtOnce: boolean;
  /** Hard requirements for every group. */
  Constraints: Constraint[] | null;
  /** Consul namespace (Enterprise); "" is the agent's. */
  ConsulNamespace: string;
  /** Consul token of the submitter; only checked at registration, stored as "". */
  ConsulToken: string;
  /** Index of the first registration. */
  CreateIndex: number;
  /** Where it may run; at least one. */
  Datacenters: string[];
  /** True on a child made by dispatching a parameterized job. */
  Dispatched: boolean;
  /** Unique in its namespace. */
  ID: string;
  /** Index of the last change to the specification itself (not to its status). */
  JobModifyIndex: number;
  /** Free-form; reaches tasks as NOMAD_META_<KEY>. */
  Meta: Record<string, string> | null;
  /** Index of the last change, status included. */
  ModifyIndex: number;
  /** Multi-region roll-out (Enterprise); null without. */
  Multiregion: Multiregion | null;
  /** For people; defaults to ID, need not be unique. */
  Name: string;
  /** Namespace it lives in; default "default". */
  Namespace: string;
  /** Accessor of the ACL token that submitted it; "" with ACLs off. */
  NomadTokenID: string;
  /** Set on a template that runs only when dispatched. */
  ParameterizedJob: ParameterizedJobConfig | null;
  /** Parent's ID on a periodic or dispatched child, else "". */
  ParentID: string;
  /** Base64 of the dispatch payload on a dispatched child. */
  Payload: string | null;
  /** Set on a job launched by the clock. */
  Periodic: PeriodicConfig | null;
  /** 1 to 100, higher first; default 50. */
  Priority: number;
  /** Region it runs in; default "global". */
  Region: string;
  /** Spreads of every group. */
  Spreads: Spread[] | null;
  /** This version was deployed successfully: auto-revert may go back to it. */
  Stable: boolean;
  /** pending, running or dead; derived by the state store. */
  Status: JobStatus | "";
  /** Why it has that status. */
  StatusDescription: string;
  /** Deregistered but not purged. */
  Stop: boolean;
  /** Unix nanoseconds of the submission of this version. */
  SubmitTime: number;
  /** What to run; at least one. */
  TaskGroups: TaskGroup[];
  /** service, batch, system or a scheduler plugin's. */
  Type: JobType;
  /** Job-wide update strategy that groups were merged from. */
  Update: UpdateStrategy;
  /** Vault namespace (Enterprise). */
  VaultNamespace: string;
  /** Vault token of the submitter; only checked at registration, stored as "". */
  VaultToken: string;
  /** Counts up from 0 with every change of the specification. */
  Version: number;
}

/** Tasks placed together on one node, `Count` times. */
export interface TaskGroup {
  /** Soft preferences of this group. */
  Affinities: Affinity[] | null;
  /** Hard requirements of this group. */
  Constraints: Constraint[] | null;
  /** Consul settings of the group. */
  Consul: Consul | null;
  /** Number of allocations; default 1 (0 is allowed; a system job runs one a node). */
  Count: number;
  /** Disk shared by the group's tasks. */
  EphemeralDisk: EphemeralDisk;
  /** Free-form; overrides the job's. */
  Meta: Record<string, string> | null;
  /** How many leave a draining node at once; null on batch and system jobs. */
  Migrate: MigrateStrategy | null;
  /** Unique in the job. */
  Name: string;
  /** At most one network, shared by the tasks. */
  Networks: NetworkResource[] | null;
  /** When a failed allocation moves to another node; null on system jobs. */
  ReschedulePolicy: ReschedulePolicy | null;
  /** When a failed task restarts in place; tasks inherit it. */
  RestartPolicy: RestartPolicy;
  /** Bounds for `Count` and the policy of an external autoscaler. */
  Scaling: ScalingPolicy | null;
  /** Services registered for the group. */
  Services: Service[] | null;
  /** Nanoseconds between deregistering services and killing tasks. */
  ShutdownDelay: number | null;
  /** Spreads of this group. */
  Spreads: Spread[] | null;
  /** Nanoseconds after which a client cut off from its servers stops the group; null: never. */
  StopAfterClientDisconnect: number | null;
  /** At least one. */
  Tasks: Task[];
  /** Rolling update strategy; null on batch jobs. */
  Update: UpdateStrategy | null;
  /** Volumes tasks may mount, by name. */
  Volumes: Record<string, VolumeRequest> | null;
}

/** Allocation counts by client status for one group. `Queued`: wanted but not placed. */
export interface TaskGroupSummary {
  Complete: number;
  Failed: number;
  Lost: number;
  Queued: number;
  Running: number;
  Starting: number;
}

/** Children of a periodic or parameterized job by status. */
export interface JobChildrenSummary {
  Dead: number;
  Pending: number;
  Running: number;
}

/** Summary of a job, kept up to date by the state store (GET /v1/job/:id/summary). */
export interface JobSummary {
  /** Null where the job cannot have children and none were counted. */
  Children: JobChildrenSummary | null;
  CreateIndex: number;
  JobID: string;
  ModifyIndex: number;
  Namespace: string;
  /** By group name. */
  Summary: Record<string, TaskGroupSummary>;
}

/** A row of GET /v1/jobs. */
export interface JobListStub {
  CreateIndex: number;
  Datacenters: string[];
  ID: string;
  JobModifyIndex: number;
  JobSummary: JobSummary | null;
  ModifyIndex: number;
  Multiregion: Multiregion | null;
  Name: string;
  Namespace: string;
  /** True when dispatched children may be made from it. */
  ParameterizedJob: boolean;
  ParentID: string;
  /** True when the clock launches it. */
  Periodic: boolean;
  Priority: number;
  Status: JobStatus | "";
  StatusDescription: string;
  Stop: boolean;
  /** Unix nanoseconds. */
  SubmitTime: number;
  Type: JobType;
}

/** True when no allocation of the job should run: it was purged (null) or stopped. */
export function jobStopped(job: Pick<Job, "Stop"> | null | undefined): boolean {
  return job === null || job === undefined || job.Stop;
}

/** True when the clock launches the job (periodic and enabled). */
export function jobPeriodicActive(
  job: Pick<Job, "Periodic" | "ParameterizedJob" | "Dispatched" | "Stop">,
): boolean {
  return job.Periodic?.Enabled === true && !job.Stop && !jobParameterized(job);
}

/** True for a parameterized template; false for its dispatched children, which run. */
export function jobParameterized(job: Pick<Job, "ParameterizedJob" | "Dispatched">): boolean {
  return job.ParameterizedJob !== null && !job.Dispatched;
}

/** The group of that name, or undefined. */
export function lookupTaskGroup(job: Pick<Job, "TaskGroups">, name: string): TaskGroup | undefined {
  return job.TaskGroups.find((group) => group.Name === name);
}
