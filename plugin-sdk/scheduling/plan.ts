/**
 * Filling in a plan. The functions here also keep a journal of what they did, by which a placer follows the plan at the
 * cost of the change and not of the whole plan. The journal stays in the thread: it isn't cloned with the plan.
 */
import {
  type Allocation,
  type AllocationOutline,
  type AllocClientStatus,
  AllocDesiredStatus,
  changedAllocation,
  wholeAllocation,
} from "../domain/allocation.js";
import type { Evaluation } from "../domain/evaluation.js";
import type { Job } from "../domain/job.js";
import type { Plan, PlanResult, PreemptedAllocStub } from "../domain/plan.js";

/** `stop` and `unstop` name the allocation as it was before; `place` a new one or the new version of one. */
export interface PlanChange {
  readonly kind: "stop" | "unstop" | "place";
  readonly allocation: Allocation;
}

const journalKey: unique symbol = Symbol.for("drover.plan.journal") as never;
type Journaled = Plan & { readonly [journalKey]?: PlanChange[] };

/** An empty plan for an evaluation, with a journal. */
export function createPlan(
  evaluation: Evaluation,
  token: string,
  job: Job | null,
  snapshotIndex: number,
): Plan {
  const plan: Plan = {
    AllAtOnce: job?.AllAtOnce ?? false,
    Annotations: null,
    Deployment: null,
    DeploymentUpdates: [],
    EvalID: evaluation.ID,
    EvalToken: token,
    Job: job,
    NodeAllocation: {},
    NodePreemptions: {},
    NodeUpdate: {},
    Priority: evaluation.Priority,
    SnapshotIndex: snapshotIndex,
  };
  Object.defineProperty(plan, journalKey, { value: [], enumerable: false });
  return plan;
}

/** What was done to the plan since it was made, oldest first; null for a plan that `createPlan` didn't make. */
export function planChanges(plan: Plan): readonly PlanChange[] | null {
  return (plan as Journaled)[journalKey] ?? null;
}

export interface StopOptions {
  /** `DesiredDescription`: why. */
  readonly description: string;
  /** Set where no client will report, on lost nodes. */
  readonly clientStatus?: AllocClientStatus;
  readonly followupEvalId?: string;
}

/** Stops an allocation. */
export function stopAllocation(plan: Plan, outline: AllocationOutline, options: StopOptions): void {
  const allocation = wholeAllocation(outline);
  const stopped = changedAllocation(allocation, {
    Job: null,
    DesiredStatus: AllocDesiredStatus.Stop,
    DesiredDescription: options.description,
  });
  if (options.clientStatus !== undefined) stopped.ClientStatus = options.clientStatus;
  if (options.followupEvalId !== undefined) stopped.FollowupEvalID = options.followupEvalId;
  append(plan.NodeUpdate, stopped);
  record(plan, { kind: "stop", allocation });
}

/** Evicts an allocation so that the one with id `byId` has room; both are in the plan, so they are committed together. */
export function preemptAllocation(plan: Plan, allocation: Allocation, byId: string): void {
  append(
    plan.NodePreemptions,
    changedAllocation(allocation, {
      Job: null,
      DesiredStatus: AllocDesiredStatus.Evict,
      DesiredDescription: `Preempted by alloc ID ${byId}`,
      PreemptedByAllocation: byId,
    }),
  );
  record(plan, { kind: "stop", allocation });
}

/** Evicts all that must leave for `allocation`, and names them in it; returns them as annotations show them. */
export function preemptFor(
  plan: Plan,
  allocation: Allocation,
  victims: readonly Allocation[],
): PreemptedAllocStub[] {
  if (victims.length === 0) return [];
  allocation.PreemptedAllocations = victims.map((victim) => victim.ID);
  return victims.map((victim) => {
    preemptAllocation(plan, victim, allocation.ID);
    const { ID, JobID, Name, Namespace, NodeID, TaskGroup } = victim;
    return { ID, JobID, Name, Namespace, NodeID, TaskGroup };
  });
}

/** Takes a stop back, where the replacement found no place. */
export function cancelStop(plan: Plan, outline: AllocationOutline): void {
  const allocation = wholeAllocation(outline);
  const list = plan.NodeUpdate[allocation.NodeID] ?? [];
  const rest = list.filter((stopped) => stopped.ID !== allocation.ID);
  if (rest.length === list.length) return;
  if (rest.length === 0) delete plan.NodeUpdate[allocation.NodeID];
  else plan.NodeUpdate[allocation.NodeID] = rest;
  record(plan, { kind: "unstop", allocation });
}

/** Places a new allocation, or writes the new version of one where it runs. */
export function placeAllocation(plan: Plan, allocation: Allocation): void {
  append(plan.NodeAllocation, allocation);
  record(plan, { kind: "place", allocation });
}

function append(lists: Record<string, Allocation[]>, allocation: Allocation): void {
  const list = lists[allocation.NodeID];
  if (list === undefined) lists[allocation.NodeID] = [allocation];
  else list.push(allocation);
}

function record(plan: Plan, change: PlanChange): void {
  (plan as Journaled)[journalKey]?.push(change);
}

/** Whether everything the plan asked for was committed. */
export function isFullCommit(plan: Plan, result: PlanResult): boolean {
  const lists = ["NodeAllocation", "NodeUpdate", "NodePreemptions"] as const;
  return lists.every((list) => count(result[list]) === count(plan[list]));
}

function count(lists: Readonly<Record<string, readonly Allocation[]>>): number {
  let sum = 0;
  for (const list of Object.values(lists)) sum += list.length;
  return sum;
}
