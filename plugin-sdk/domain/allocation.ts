/** Allocations: a task group placed on a node (https://developer.hashicorp.com/nomad/api-docs/allocations). */
import { allocIndexOf } from "./ids.js";
import type { Job, JobType } from "./job.js";
import type { AllocatedResources, DNSConfig, Resources } from "./resources.js";
import type { TaskEvent } from "./task-event.js";

/** What the servers want of an allocation. `evict`: preempted for a job of higher priority. */
export const AllocDesiredStatus = { Run: "run", Stop: "stop", Evict: "evict" } as const;
export type AllocDesiredStatus = (typeof AllocDesiredStatus)[keyof typeof AllocDesiredStatus];

/** What the node reports. `lost`: set by the servers when the node went away. */
export const AllocClientStatus = {
  Pending: "pending",
  Running: "running",
  Complete: "complete",
  Failed: "failed",
  Lost: "lost",
} as const;
export type AllocClientStatus = (typeof AllocClientStatus)[keyof typeof AllocClientStatus];

/** State of a task: not started, started, ended for good. */
export const TaskStatus = { Pending: "pending", Running: "running", Dead: "dead" } as const;
export type TaskStatus = (typeof TaskStatus)[keyof typeof TaskStatus];

/** An operator's or the drainer's wish for an allocation; null: not asked. */
export interface DesiredTransition {
  /** Reschedule even past the limits of the policy. */
  ForceReschedule: boolean | null;
  /** Move it: the node drains, or an operator stopped it. */
  Migrate: boolean | null;
  /** It may be rescheduled (its deployment allows it). */
  Reschedule: boolean | null;
}

/** Health of an allocation in its deployment. */
export interface AllocDeploymentStatus {
  Canary: boolean;
  /** Null until decided. */
  Healthy: boolean | null;
  ModifyIndex: number;
  /** RFC 3339 of the decision. */
  Timestamp: string;
}

/** One earlier attempt. */
export interface RescheduleEvent {
  /** Nanoseconds waited before this attempt. */
  Delay: number;
  PrevAllocID: string;
  PrevNodeID: string;
  /** Unix nanoseconds. */
  RescheduleTime: number;
}

/** Earlier attempts at this allocation, oldest first. */
export interface RescheduleTracker {
  Events: RescheduleEvent[];
}

/** What a driver needs to find a task again (remote task drivers). */
export interface TaskHandle {
  /** Base64. */
  DriverState: string | null;
  Version: number;
}

/** A task as its node reports it. */
export interface TaskState {
  /** Newest last; the agent keeps the last ten. */
  Events: TaskEvent[];
  Failed: boolean;
  /** RFC 3339, null while not ended. */
  FinishedAt: string | null;
  /** RFC 3339, null when it never restarted. */
  LastRestart: string | null;
  Restarts: number;
  /** RFC 3339, null before the first start. */
  StartedAt: string | null;
  State: TaskStatus;
  TaskHandle: TaskHandle | null;
}

/** Network of an allocation in `bridge` or CNI mode. */
export interface NetworkStatus {
  /** IP address in the allocation's namespace; "" in host mode. */
  Address: string;
  DNS: DNSConfig | null;
  InterfaceName: string;
}

/** Field of an AllocState. */
export const AllocStateField = { ClientStatus: "ClientStatus" } as const;
export type AllocStateField = (typeof AllocStateField)[keyof typeof AllocStateField];

/** A past value of a field, kept where decisions depend on when it changed. */
export interface AllocState {
  Field: AllocStateField;
  Value: string;
  /** RFC 3339. */
  Time: string;
}

/** Scores one node got. */
export interface NodeScoreMeta {
  NodeID: string;
  /** Mean of the scores, what nodes are ranked by. */
  NormScore: number;
  /** By scorer: `binpack`, `job-anti-affinity`, `node-reschedule-penalty`, `node-affinity`, `allocation-spread`… */
  Scores: Record<string, number>;
}

/** What the scheduler saw while it placed (or failed to place) an allocation. */
export interface AllocMetric {
  /** Nanoseconds. */
  AllocationTime: number;
  /** By node class: nodes without room. */
  ClassExhausted: Record<string, number> | null;
  /** By node class: nodes filtered. */
  ClassFiltered: Record<string, number> | null;
  /** Further failures of the same group, not listed one by one. */
  CoalescedFailures: number;
  /** By constraint: nodes it filtered. */
  ConstraintFiltered: Record<string, number> | null;
  /** By dimension (`cpu`, `memory`, `disk`, `network: …`): nodes short of it. */
  DimensionExhausted: Record<string, number> | null;
  /** By datacenter: ready nodes. */
  NodesAvailable: Record<string, number> | null;
  NodesEvaluated: number;
  NodesExhausted: number;
  NodesFiltered: number;
  /** Dimensions of an exhausted quota (Enterprise). */
  QuotaExhausted: string[] | null;
  /** By task: what could not be had. */
  ResourcesExhausted: Record<string, Resources> | null;
  /** The best nodes, best first, at most five. */
  ScoreMetaData: NodeScoreMeta[] | null;
  /** Deprecated by ScoreMetaData; "<node>.<scorer>" to score. */
  Scores: Record<string, number> | null;
}

/**
 * An allocation (GET /v1/allocation/:id). Optional fields are left out of the JSON while empty, as the API does.
 *
 * Rows in the state store carry `Job: null` and `JobVersion`: readers join the job by (Namespace, JobID, JobVersion,
 * JobCreateIndex). The API's answer has the job and neither JobVersion nor JobCreateIndex; Resources, SharedResources
 * and TaskResources are derived from AllocatedResources when it is printed.
 */
export interface Allocation {
  /** Index of the last change made by servers; agents fetch an allocation again when it moves. */
  AllocModifyIndex: number;
  /** History of fields, oldest first. */
  AllocStates?: AllocState[] | null;
  AllocatedResources: AllocatedResources;
  ClientDescription: string;
  ClientStatus: AllocClientStatus;
  CreateIndex: number;
  /** Unix nanoseconds. */
  CreateTime: number;
  /** Deployment that placed it; "" without. */
  DeploymentID: string;
  DeploymentStatus: AllocDeploymentStatus | null;
  DesiredDescription?: string;
  DesiredStatus: AllocDesiredStatus;
  DesiredTransition?: DesiredTransition;
  /** Evaluation that placed or last changed it. */
  EvalID: string;
  /** Delayed evaluation that will replace it. */
  FollowupEvalID?: string;
  ID: string;
  /** Null in the state store (see above). */
  Job: Job | null;
  /** CreateIndex of the job it was made from; in rows of the state store only, beside JobVersion. */
  JobCreateIndex?: number;
  JobID: string;
  /** Version of the job it was placed or last updated for. */
  JobVersion: number;
  Metrics: AllocMetric | null;
  ModifyIndex: number;
  /** Unix nanoseconds. */
  ModifyTime: number;
  /** `<job>.<group>[<index>]`. */
  Name: string;
  Namespace: string;
  NetworkStatus: NetworkStatus | null;
  /** Allocation that replaced this one. */
  NextAllocation?: string;
  NodeID: string;
  NodeName: string;
  /** Allocations it pushed aside. */
  PreemptedAllocations?: string[] | null;
  /** Allocation that pushed it aside. */
  PreemptedByAllocation?: string;
  /** Allocation this one replaces. */
  PreviousAllocation?: string;
  RescheduleTracker?: RescheduleTracker | null;
  /** Legacy: sum over tasks and shared; only in answers of the API. */
  Resources?: Resources | null;
  /** Legacy: what the tasks share; only in answers of the API. */
  SharedResources?: Resources | null;
  TaskGroup: string;
  /** Legacy: by task; only in answers of the API. */
  TaskResources?: Record<string, Resources> | null;
  /** By task, null until the node reported. */
  TaskStates: Record<string, TaskState> | null;
}

/** Key of what the state store knows of an outline besides. */
export const STORED_OUTLINE: unique symbol = Symbol.for("drover.allocation.stored");

/** Rows of the node columns, as far as outlines need them. */
export interface NodeRows {
  /** Changes whenever a node, its status or its attributes changed. */
  readonly nodesVersion: number;
  row(nodeId: string): number | undefined;
  /** Of many nodes at once, whose ids are UUIDs and come as bytes one after the other; -1 for one without a row. */
  rowsOf?(ids: Uint8Array, rows: Int32Array): void;
}

/** What an outline can tell quicker than by its fields. */
export interface StoredOutline {
  whole(): Allocation;
  nodeRow(columns: NodeRows): number | undefined;
  /** As `allocIndexOf` tells it of the name. */
  nameIndex(): number;
}

/**
 * What decides about an allocation in most cases. The state store gives outlines without reading the allocations' rows;
 * `wholeAllocation` reads the rest of one. They are read as they are: a copy by `{ ...outline }` may have nothing in it.
 */
export type AllocationOutline = Readonly<
  Pick<
    Allocation,
    | "AllocatedResources"
    | "ClientStatus"
    | "CreateIndex"
    | "DeploymentID"
    | "DesiredStatus"
    | "ID"
    | "JobID"
    | "JobVersion"
    | "Name"
    | "Namespace"
    | "NodeID"
    | "TaskGroup"
  >
> & {
  readonly DesiredTransition?: DesiredTransition | undefined;
  readonly JobCreateIndex?: number | undefined;
  readonly NextAllocation?: string | undefined;
  /** Missing where the outline is the whole allocation. */
  readonly [STORED_OUTLINE]?: StoredOutline;
};

/** The allocation of an outline; of one from a snapshot as long as that is open. */
export function wholeAllocation(outline: AllocationOutline): Allocation {
  return outline[STORED_OUTLINE]?.whole() ?? (outline as Allocation);
}

/** The allocation with changes. Its metrics, which the store reads when they are asked for, stay unread. */
export function changedAllocation(allocation: Allocation, changes: Partial<Allocation>): Allocation {
  const copy: Partial<Record<string, unknown>> = {};
  for (const field in allocation) {
    if (field !== "Metrics") copy[field] = allocation[field as keyof Allocation];
  }
  Object.defineProperty(copy, "Metrics", Object.getOwnPropertyDescriptor(allocation, "Metrics")!);
  return Object.assign(copy as unknown as Allocation, changes);
}

/** Row of the allocation's node; undefined where it has none (any more). */
export function nodeRowOf(outline: AllocationOutline, columns: NodeRows): number | undefined {
  const stored = outline[STORED_OUTLINE];
  return stored === undefined ? columns.row(outline.NodeID) : stored.nodeRow(columns);
}

/** Index in the allocation's name, or -1 when the name carries none. */
export function nameIndexOf(outline: AllocationOutline): number {
  return outline[STORED_OUTLINE]?.nameIndex() ?? allocIndexOf(outline.Name);
}

/** A row of the allocation lists (GET /v1/allocations, /v1/job/:id/allocations, /v1/evaluation/:id/allocations). */
export interface AllocListStub {
  /** Only with `?resources=true`. */
  AllocatedResources?: AllocatedResources;
  ClientDescription: string;
  ClientStatus: AllocClientStatus;
  CreateIndex: number;
  CreateTime: number;
  DeploymentStatus: AllocDeploymentStatus | null;
  DesiredDescription: string;
  DesiredStatus: AllocDesiredStatus;
  DesiredTransition: DesiredTransition;
  EvalID: string;
  FollowupEvalID: string;
  ID: string;
  JobID: string;
  JobType: JobType;
  JobVersion: number;
  ModifyIndex: number;
  ModifyTime: number;
  Name: string;
  Namespace: string;
  NodeID: string;
  NodeName: string;
  PreemptedAllocations: string[] | null;
  PreemptedByAllocation: string;
  RescheduleTracker: RescheduleTracker | null;
  TaskGroup: string;
  TaskStates: Record<string, TaskState> | null;
}

/** True when the servers no longer want it to run: desired stop or evict. */
export function serverTerminal(alloc: Pick<Allocation, "DesiredStatus">): boolean {
  return alloc.DesiredStatus === AllocDesiredStatus.Stop || alloc.DesiredStatus === AllocDesiredStatus.Evict;
}

/** True when nothing of it runs any more: client status complete, failed or lost. */
export function clientTerminal(alloc: Pick<Allocation, "ClientStatus">): boolean {
  const status = alloc.ClientStatus;
  return (
    status === AllocClientStatus.Complete ||
    status === AllocClientStatus.Failed ||
    status === AllocClientStatus.Lost
  );
}

/** True when either side is done with it. Its resources are free only once `clientTerminal` holds too. */
export function allocIsTerminal(alloc: Pick<Allocation, "DesiredStatus" | "ClientStatus">): boolean {
  return serverTerminal(alloc) || clientTerminal(alloc);
}

/** True when it ran to its end without a failed task (batch jobs do not run it again). */
export function allocRanSuccessfully(alloc: Pick<Allocation, "TaskStates">): boolean {
  const states = Object.values(alloc.TaskStates ?? {});
  return states.length > 0 && states.every((state) => state.State === TaskStatus.Dead && !state.Failed);
}
