/** Bodies of the HTTP API's requests and answers, and the options every query takes. */
import type { ACLTokenListStub, OneTimeToken } from "./acl.js";
import type { AllocMetric } from "./allocation.js";
import type { JobDiff } from "./diff.js";
import type { Evaluation } from "./evaluation.js";
import type { Job } from "./job.js";
import type { DrainSpec, NodeEligibility } from "./node.js";
import type { SchedulerConfiguration } from "./operator.js";
import type { PlanAnnotations } from "./plan.js";
import type { MigrateStrategy, ReschedulePolicy, ScalingEvent } from "./policies.js";

/** A type whose every field, at any depth, may be missing or null. */
export type Sparse<T> = T extends string | number | boolean
  ? T
  : T extends readonly (infer E)[]
    ? Sparse<E>[]
    : T extends object
      ? { [K in keyof T]?: Sparse<T[K]> | null }
      : T;

/** A job as submitted or parsed: anything may be missing; job-wide Migrate and Reschedule are merged into groups. */
export type JobInput = Sparse<Job> & {
  Migrate?: Sparse<MigrateStrategy> | null;
  Reschedule?: Sparse<ReschedulePolicy> | null;
};

/** What every query may say. */
export interface QueryOptions {
  /** Answer from any server, possibly stale. */
  AllowStale?: boolean;
  /** ACL secret. */
  AuthToken?: string;
  /** Nanoseconds to wait for MinQueryIndex; default 5 min, at most 10 min. */
  MaxQueryTime?: number;
  /** Block until the state passes this index; 0: do not block. */
  MinQueryIndex?: number;
  Namespace?: string;
  /** Ids that begin with it. */
  Prefix?: string;
  Region?: string;
}

/** What every answer to a query says (headers X-Nomad-Index, X-Nomad-KnownLeader, X-Nomad-LastContact). */
export interface QueryMeta {
  /** Index of the state answered from. */
  Index: number;
  KnownLeader: boolean;
  /** Nanoseconds since the leader was heard; 0 on the leader. */
  LastContact: number;
}

/** What every answer to a write says. */
export interface WriteMeta {
  /** Index of the write. */
  Index: number;
}

/** POST /v1/jobs and /v1/job/:id. */
export interface JobRegisterRequest {
  /** With EnforceIndex: 0 demands that the job is new, else that its JobModifyIndex is this. */
  EnforceIndex?: boolean;
  Job: JobInput;
  JobModifyIndex?: number;
  Namespace?: string;
  PolicyOverride?: boolean;
  /** Keep the Counts that are running. */
  PreserveCounts?: boolean;
  Region?: string;
}

export interface JobRegisterResponse extends QueryMeta {
  EvalCreateIndex: number;
  /** "" for periodic and parameterized jobs. */
  EvalID: string;
  JobModifyIndex: number;
  /** For people; "" without. */
  Warnings: string;
}

/** DELETE /v1/job/:id. */
export interface JobDeregisterResponse extends QueryMeta {
  EvalCreateIndex: number;
  EvalID: string;
  JobModifyIndex: number;
  VolumeEvalID: string;
  VolumeEvalIndex: number;
}

/** POST /v1/job/:id/plan. */
export interface JobPlanRequest {
  /** Also compute the difference. */
  Diff?: boolean;
  Job: JobInput;
  Namespace?: string;
  PolicyOverride?: boolean;
  Region?: string;
}

export interface JobPlanResponse {
  Annotations: PlanAnnotations | null;
  CreatedEvals: Evaluation[] | null;
  Diff: JobDiff | null;
  /** By group: why it would not fit. */
  FailedTGAllocs: Record<string, AllocMetric> | null;
  Index: number;
  /** Pass it to the registration to apply just this plan. */
  JobModifyIndex: number;
  /** RFC 3339, for periodic jobs. */
  NextPeriodicLaunch: string | null;
  Warnings: string;
}

/** POST /v1/validate/job. */
export interface JobValidateRequest {
  Job: JobInput;
}

export interface JobValidateResponse {
  DriverConfigValidated: boolean;
  /** All errors as one text; "" when valid. */
  Error: string;
  ValidationErrors: string[] | null;
  Warnings: string;
}

/** POST /v1/jobs/parse; the answer is a JobInput. */
export interface JobsParseRequest {
  /** Fill in defaults. */
  Canonicalize?: boolean;
  JobHCL: string;
  /** Parse as HCL1. */
  hclv1?: boolean;
}

/** GET /v1/job/:id/versions. */
export interface JobVersionsResponse extends QueryMeta {
  Diffs: JobDiff[] | null;
  Versions: Job[];
}

/** POST /v1/job/:id/evaluate. */
export interface JobEvaluateRequest {
  EvalOptions?: { ForceReschedule?: boolean };
  JobID?: string;
}

/** POST /v1/job/:id/revert. */
export interface JobRevertRequest {
  ConsulToken?: string;
  /** Only when the current version is this; null: whatever it is. */
  EnforcePriorVersion?: number | null;
  JobID: string;
  JobVersion: number;
  VaultToken?: string;
}

/** POST /v1/job/:id/stable. */
export interface JobStabilityRequest {
  JobID: string;
  JobVersion: number;
  Stable: boolean;
}

export type JobStabilityResponse = WriteMeta;

/** POST /v1/job/:id/dispatch. */
export interface JobDispatchRequest {
  JobID?: string;
  Meta?: Record<string, string> | null;
  /** Base64, at most DISPATCH_PAYLOAD_LIMIT bytes decoded. */
  Payload?: string | null;
}

export interface JobDispatchResponse extends WriteMeta {
  DispatchedJobID: string;
  EvalCreateIndex: number;
  EvalID: string;
  JobCreateIndex: number;
}

/** POST /v1/job/:id/periodic/force. */
export interface PeriodicForceResponse extends WriteMeta {
  EvalCreateIndex: number;
  EvalID: string;
}

/** POST /v1/job/:id/scale. */
export interface JobScaleRequest {
  /** Null: only record the message. */
  Count?: number | null;
  Error?: boolean;
  Message?: string;
  Meta?: Record<string, unknown> | null;
  PolicyOverride?: boolean;
  /** `Group` names the group. */
  Target: Record<string, string>;
}

/** A group in the answer of GET /v1/job/:id/scale. */
export interface TaskGroupScaleStatus {
  Desired: number;
  Events: ScalingEvent[] | null;
  Healthy: number;
  Placed: number;
  Running: number;
  Unhealthy: number;
}

/** GET /v1/job/:id/scale. */
export interface JobScaleStatus {
  JobCreateIndex: number;
  JobID: string;
  JobModifyIndex: number;
  JobStopped: boolean;
  Namespace: string;
  TaskGroups: Record<string, TaskGroupScaleStatus>;
}

/** POST /v1/allocation/:id/stop. */
export interface AllocStopResponse extends WriteMeta {
  EvalID: string;
}

/** PUT /v1/client/allocation/:id/signal. */
export interface AllocSignalRequest {
  /** E.g. "SIGUSR1". */
  Signal: string;
  /** "": every task. */
  Task: string;
}

/** PUT /v1/client/allocation/:id/restart. */
export interface AllocRestartRequest {
  /** "": every task. */
  TaskName: string;
}

/** POST /v1/node/:id/drain. A null DrainSpec ends the drain. */
export interface NodeUpdateDrainRequest {
  DrainSpec: DrainSpec | null;
  /** After the end of a drain: eligible again. */
  MarkEligible?: boolean;
  Meta?: Record<string, string> | null;
  NodeID?: string;
}

export interface NodeDrainUpdateResponse extends WriteMeta {
  EvalCreateIndex: number;
  EvalIDs: string[] | null;
  NodeModifyIndex: number;
}

/** POST /v1/node/:id/eligibility. */
export interface NodeUpdateEligibilityRequest {
  Eligibility: NodeEligibility;
  NodeID?: string;
}

export type NodeEligibilityUpdateResponse = NodeDrainUpdateResponse;

/** A server as agents are told of it. */
export interface NodeServerInfo {
  Datacenter: string;
  /** `host:port`. */
  RPCAdvertiseAddr: string;
  RPCMajorVersion: number;
  RPCMinorVersion: number;
}

/** Answer to registrations, heartbeats and POST /v1/node/:id/evaluate. */
export interface NodeUpdateResponse extends QueryMeta {
  EvalCreateIndex: number;
  EvalIDs: string[] | null;
  /** Servers' features, null or bits. */
  Features: number;
  /** Nanoseconds until the next heartbeat is due. */
  HeartbeatTTL: number;
  LeaderRPCAddr: string;
  NodeModifyIndex: number;
  NumNodes: number;
  Servers: NodeServerInfo[] | null;
}

/** POST /v1/deployment/pause/:id. */
export interface DeploymentPauseRequest {
  DeploymentID: string;
  Pause: boolean;
}

/** POST /v1/deployment/promote/:id: All, or the named Groups. */
export interface DeploymentPromoteRequest {
  All?: boolean;
  DeploymentID: string;
  Groups?: string[] | null;
}

/** POST /v1/deployment/allocation-health/:id. */
export interface DeploymentAllocHealthRequest {
  DeploymentID: string;
  HealthyAllocationIDs?: string[] | null;
  UnhealthyAllocationIDs?: string[] | null;
}

export interface DeploymentUpdateResponse extends WriteMeta {
  DeploymentModifyIndex: number;
  EvalCreateIndex: number;
  EvalID: string;
  /** Version rolled back to; null: none. */
  RevertedJobVersion: number | null;
}

/** GET /v1/operator/scheduler/configuration. */
export interface SchedulerConfigurationResponse extends QueryMeta {
  SchedulerConfig: SchedulerConfiguration;
}

/** PUT /v1/operator/scheduler/configuration. */
export interface SchedulerSetConfigurationResponse extends WriteMeta {
  /** False when check-and-set lost. */
  Updated: boolean;
}

/** POST /v1/acl/token/onetime. */
export interface OneTimeTokenResponse extends WriteMeta {
  OneTimeToken: OneTimeToken;
}

/** POST /v1/acl/token/onetime/exchange. */
export interface OneTimeTokenExchangeRequest {
  OneTimeSecretID: string;
}

/** GET /v1/acl/tokens. */
export type ACLTokensResponse = ACLTokenListStub[];

/** A file of an allocation (GET /v1/client/fs/ls and /stat). */
export interface AllocFileInfo {
  /** MIME type; only from stat. */
  ContentType?: string;
  /** Like ls: "-rw-r--r--". */
  FileMode: string;
  IsDir: boolean;
  /** RFC 3339. */
  ModTime: string;
  Name: string;
  /** Bytes. */
  Size: number;
}

/** A frame of streamed files and logs; an empty object is a heartbeat. */
export interface StreamFrame {
  /** Base64. */
  Data?: string;
  File?: string;
  /** "truncated" or "deleted". */
  FileEvent?: string;
  /** Bytes: where the frame's data ends in the file. */
  Offset?: number;
}
