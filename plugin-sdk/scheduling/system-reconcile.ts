/**
 * The reconciler of system and sysbatch jobs: one allocation of each group on every node that may have it. Pure: it reads
 * what it is given, writes nothing and looks at no clock.
 */
import {
  type Allocation,
  AllocClientStatus,
  allocIsTerminal,
  clientTerminal,
  serverTerminal,
} from "../domain/allocation.js";
import { type Job, jobParameterized, jobPeriodicActive, jobStopped, type TaskGroup } from "../domain/job.js";
import type { DesiredUpdates } from "../domain/plan.js";
import { emptyUpdates } from "./reconcile-group.js";
import { AllocDescription, type Replacement, type StopDecision, type UpdateKind } from "./reconcile-types.js";

/**
 * What a node means to a system job. `open`: it may get allocations. `elsewhere`: ready, in none of the job's
 * datacenters. `closed`: ineligible, draining or not ready yet; what runs there stays as it is. `gone`: down or removed.
 */
export type NodeStanding = "open" | "elsewhere" | "closed" | "gone";

export interface SystemReconcileInput {
  /** Null: purged. */
  readonly job: Job | null;
  /** Runs to completion: what ended by itself is done until the job changes. */
  readonly batch: boolean;
  /** Of the job, terminal ones included; all, or those of the nodes in question. */
  readonly allocations: readonly Allocation[];
  /** Ids of the open nodes. */
  readonly nodes: readonly string[];
  /** An earlier update waits for its follow-up evaluation: nothing more is replaced before that. */
  readonly holdUpdates: boolean;
  standing(nodeId: string): NodeStanding;
  updateKind(allocation: Allocation, job: Job, group: TaskGroup): UpdateKind;
}

/** One allocation to be placed on the node. */
export interface SystemPlaceDecision {
  readonly group: TaskGroup;
  readonly nodeId: string;
  /** What ran there before. */
  readonly previous: Allocation | null;
}

export interface SystemReconciliation {
  readonly stop: StopDecision[];
  readonly place: SystemPlaceDecision[];
  /** To be written with the new version where they run. */
  readonly inPlace: Replacement[];
  /** To be stopped and placed again on their node, as many as may go at once. */
  readonly destructive: Replacement[];
  /** More destructive updates remain; they are for a follow-up after this many nanoseconds. Null: none remain. */
  readonly rollAfter: number | null;
  /** By group. */
  readonly desired: Record<string, DesiredUpdates>;
}

/** `DesiredDescription` of an allocation that an operator stopped on a node where nothing is wrong. */
const STOPPED_BY_HAND = "alloc was stopped by an operator";

/** The allocations of one group on one node. */
interface OnNode {
  readonly live: Allocation[];
  /** The newest that ended. */
  ended: Allocation | null;
}

export function reconcileSystem(input: SystemReconcileInput): SystemReconciliation {
  const result: SystemReconciliation & { rollAfter: number | null } = {
    stop: [],
    place: [],
    inPlace: [],
    destructive: [],
    rollAfter: null,
    desired: {},
  };
  const { job } = input;
  // Templates of periodic and dispatched jobs run nothing themselves: their children do.
  const stopped = job === null || jobStopped(job) || jobParameterized(job) || jobPeriodicActive(job);
  const wanted = stopped ? [] : job.TaskGroups.filter((group) => group.Count > 0);
  const byGroup = sortByGroupAndNode(input.allocations);
  for (const [name, nodes] of byGroup) {
    if (wanted.some((group) => group.Name === name)) continue;
    const desired = emptyUpdates();
    if (job !== null) result.desired[name] = desired;
    for (const [nodeId, { live }] of nodes) {
      for (const allocation of live) {
        stop(result, allocation, input.standing(nodeId), AllocDescription.NotNeeded);
        desired.Stop++;
      }
    }
  }
  for (const group of wanted) {
    result.desired[group.Name] = reconcileGroup(input, result, group, byGroup.get(group.Name) ?? new Map());
  }
  for (const allocation of input.allocations) markLost(input, result, allocation);
  return result;
}

function reconcileGroup(
  input: SystemReconcileInput,
  result: SystemReconciliation & { rollAfter: number | null },
  group: TaskGroup,
  nodes: ReadonlyMap<string, OnNode>,
): DesiredUpdates {
  const job = input.job!;
  const desired = emptyUpdates();
  const destructive: Allocation[] = [];
  for (const [nodeId, { live }] of nodes) {
    const standing = input.standing(nodeId);
    const [kept, ...surplus] = newestFirst(live);
    for (const allocation of surplus) {
      stop(result, allocation, standing, AllocDescription.NotNeeded);
      desired.Stop++;
    }
    if (kept === undefined) continue;
    if (standing === "gone" || standing === "elsewhere") {
      stop(result, kept, standing, AllocDescription.NotNeeded);
      desired.Stop++;
    } else if (kept.DesiredTransition?.Migrate === true) {
      const open = standing === "open";
      stop(result, kept, standing, open ? STOPPED_BY_HAND : AllocDescription.Migrating);
      // Stopped by hand on a node that is open: a system job starts anew there, a sysbatch job is done.
      if (open && !input.batch) result.place.push({ group, nodeId, previous: kept });
      desired.Migrate++;
    } else {
      const kind = standing === "open" ? input.updateKind(kept, job, group) : "ignore";
      if (kind === "destructive") destructive.push(kept);
      else if (kind === "in-place") {
        result.inPlace.push({ allocation: kept, group, name: kept.Name });
        desired.InPlaceUpdate++;
      } else desired.Ignore++;
    }
  }
  for (const nodeId of input.nodes) {
    const present = nodes.get(nodeId);
    if (present !== undefined && present.live.length > 0) continue;
    const ended = present?.ended ?? null;
    if (input.batch && ended !== null && isDone(ended, job)) {
      desired.Ignore++;
      continue;
    }
    result.place.push({ group, nodeId, previous: ended });
    desired.Place++;
  }
  const parallel = group.Update?.MaxParallel ?? 0;
  const atOnce = parallel <= 0 ? destructive.length : input.holdUpdates ? 0 : parallel;
  for (const allocation of destructive.slice(0, atOnce))
    result.destructive.push({ allocation, group, name: allocation.Name });
  desired.DestructiveUpdate += Math.min(atOnce, destructive.length);
  if (atOnce < destructive.length) {
    desired.Ignore += destructive.length - atOnce;
    result.rollAfter = Math.max(result.rollAfter ?? 0, group.Update!.Stagger);
  }
  return desired;
}

/**
 * Whether what ended was the run of this version of the job: it came to its end, well or not, or was stopped by hand or
 * preempted. What was lost with its node or moved away by a drain was interrupted, and runs again once the node is back.
 */
function isDone(ended: Allocation, job: Job): boolean {
  if ((ended.JobCreateIndex ?? job.CreateIndex) !== job.CreateIndex || ended.JobVersion !== job.Version)
    return false;
  if (ended.ClientStatus === AllocClientStatus.Lost) return false;
  return !(serverTerminal(ended) && ended.DesiredDescription === AllocDescription.Migrating);
}

/** Nobody reports the end of what was stopped on a node that is gone. */
function markLost(input: SystemReconcileInput, result: SystemReconciliation, allocation: Allocation): void {
  if (!serverTerminal(allocation) || clientTerminal(allocation)) return;
  if (input.standing(allocation.NodeID) === "gone")
    stop(result, allocation, "gone", AllocDescription.NotNeeded);
}

function stop(
  result: SystemReconciliation,
  allocation: Allocation,
  standing: NodeStanding,
  description: string,
): void {
  if (standing === "gone") {
    const clientStatus = AllocClientStatus.Lost;
    result.stop.push({ allocation, description: AllocDescription.Lost, clientStatus });
  } else result.stop.push({ allocation, description });
}

function sortByGroupAndNode(allocations: readonly Allocation[]): Map<string, Map<string, OnNode>> {
  const groups = new Map<string, Map<string, OnNode>>();
  for (const allocation of allocations) {
    let nodes = groups.get(allocation.TaskGroup);
    if (nodes === undefined) {
      nodes = new Map();
      groups.set(allocation.TaskGroup, nodes);
    }
    let present = nodes.get(allocation.NodeID);
    if (present === undefined) {
      present = { live: [], ended: null };
      nodes.set(allocation.NodeID, present);
    }
    if (!allocIsTerminal(allocation)) present.live.push(allocation);
    else if (present.ended === null || isNewer(allocation, present.ended)) present.ended = allocation;
  }
  return groups;
}

function newestFirst(live: readonly Allocation[]): readonly Allocation[] {
  return live.length < 2 ? live : [...live].sort((a, b) => (isNewer(a, b) ? -1 : 1));
}

function isNewer(a: Allocation, b: Allocation): boolean {
  return a.CreateIndex !== b.CreateIndex ? a.CreateIndex > b.CreateIndex : a.ID > b.ID;
}
