/**
 * The reconciler of service and batch jobs: what has to change between the allocations that exist and those that the job
 * asks for. Pure: it reads what it is given, writes nothing and looks at no clock.
 */
import {
  type Allocation,
  AllocClientStatus,
  allocIsTerminal,
  clientTerminal,
  serverTerminal,
} from "../domain/allocation.js";
import { allocIndexOf } from "../domain/ids.js";
import { type Job, jobParameterized, jobPeriodicActive, jobStopped, type TaskGroup } from "../domain/job.js";
import { type Node, nodeTerminal } from "../domain/node.js";
import type { DesiredUpdates } from "../domain/plan.js";
import { AllocNameIndex } from "./names.js";
import { attemptsLeft, failTime, nextDelay } from "./reschedule.js";

/** `DesiredDescription` of allocations that a plan changes, as the API shows them. */
export const AllocDescription = {
  JobUpdate: "alloc not needed due to job update",
  JobStopped: "alloc not needed as job is stopped",
  Updating: "alloc is being updated due to job update",
  Migrating: "alloc is being migrated",
  Lost: "alloc is lost since its node is down",
  Rescheduled: "alloc was rescheduled because it failed",
} as const;

/** How an allocation follows a new version of its job. */
export type UpdateKind = "ignore" | "in-place" | "destructive";

export interface ReconcileInput {
  /** Null: purged. */
  readonly job: Job | null;
  readonly evaluationId: string;
  /** Completed allocations are done and not run again. */
  readonly batch: boolean;
  /** All of the job, terminal ones included. */
  readonly allocations: readonly Allocation[];
  /** Unix nanoseconds. */
  readonly now: number;
  /** An earlier update waits for its follow-up evaluation: nothing more is replaced before that. */
  readonly holdUpdates: boolean;
  node(id: string): Node | null;
  updateKind(allocation: Allocation, job: Job, group: TaskGroup): UpdateKind;
  /** Whether the evaluation that will reschedule an allocation still waits. */
  followupWaits(evaluationId: string): boolean;
}

export interface StopDecision {
  readonly allocation: Allocation;
  readonly description: string;
  /** Lost: no client will report. */
  readonly clientStatus?: AllocClientStatus;
}

export interface PlaceDecision {
  readonly group: TaskGroup;
  readonly name: string;
  readonly previous: Allocation | null;
  /** It replaces a failed allocation: the attempt is counted and its nodes are avoided. */
  readonly reschedule: boolean;
}

export interface Replacement {
  readonly allocation: Allocation;
  readonly group: TaskGroup;
}

export interface FollowUp {
  /** Unix nanoseconds. */
  readonly waitUntil: number;
  readonly allocations: Allocation[];
}

export interface Reconciliation {
  readonly stop: StopDecision[];
  readonly place: PlaceDecision[];
  /** To be written with the new version where they run. */
  readonly inPlace: Replacement[];
  /** To be stopped and placed again, as many as may go at once. */
  readonly destructive: Replacement[];
  /** Failed allocations that are to be rescheduled later. */
  readonly followUps: FollowUp[];
  /** More destructive updates remain; they are for a follow-up after this many nanoseconds. Null: none remain. */
  readonly rollAfter: number | null;
  /** By group. */
  readonly desired: Record<string, DesiredUpdates>;
}

/** Rescheduling this close ahead (nanoseconds) happens now. */
const RESCHEDULE_WINDOW = 1e9;
/** Delayed reschedules within this span (nanoseconds) share a follow-up evaluation. */
const FOLLOW_UP_WINDOW = 5e9;

export function reconcile(input: ReconcileInput): Reconciliation {
  const result: Reconciliation & { rollAfter: number | null } = {
    stop: [],
    place: [],
    inPlace: [],
    destructive: [],
    followUps: [],
    rollAfter: null,
    desired: {},
  };
  const { job } = input;
  const byGroup = new Map<string, Allocation[]>();
  for (const allocation of input.allocations) {
    const list = byGroup.get(allocation.TaskGroup);
    if (list === undefined) byGroup.set(allocation.TaskGroup, [allocation]);
    else list.push(allocation);
  }

  // Templates of periodic and dispatched jobs run nothing themselves: their children do.
  const stopped = jobStopped(job) || job === null || jobParameterized(job) || jobPeriodicActive(job);
  const groups = stopped ? [] : job.TaskGroups;
  for (const [name, allocations] of byGroup) {
    if (groups.some((group) => group.Name === name)) continue;
    const desired = emptyUpdates();
    if (job !== null) result.desired[name] = desired;
    const description = stopped ? AllocDescription.JobStopped : AllocDescription.JobUpdate;
    for (const allocation of allocations) {
      if (stopUnneeded(input, result, allocation, description)) desired.Stop++;
    }
  }
  const later: { allocation: Allocation; at: number }[] = [];
  for (const group of groups) {
    result.desired[group.Name] = reconcileGroup(input, result, group, byGroup.get(group.Name) ?? [], later);
  }
  result.followUps.push(...batchFollowUps(later));
  return result;
}

/** The allocations of a group by what is to become of them. */
interface Sorted {
  /** Count towards the group: running, done, or failed and waiting or out of attempts. */
  readonly kept: Allocation[];
  readonly migrate: Allocation[];
  readonly lost: Allocation[];
  readonly rescheduleNow: Allocation[];
  readonly rescheduleLater: Map<Allocation, number>;
}

function reconcileGroup(
  input: ReconcileInput,
  result: Reconciliation & { rollAfter: number | null },
  group: TaskGroup,
  allocations: readonly Allocation[],
  later: { allocation: Allocation; at: number }[],
): DesiredUpdates {
  const job = input.job!;
  const desired = emptyUpdates();
  const sorted = sortAllocations(input, result, group, allocations);
  const stop = (allocation: Allocation, description: string, clientStatus?: AllocClientStatus): void => {
    result.stop.push(
      clientStatus === undefined ? { allocation, description } : { allocation, description, clientStatus },
    );
  };

  const excess = sorted.kept.length + sorted.migrate.length - group.Count;
  const surplus = new Set(chooseSurplus(sorted, excess));
  for (const allocation of surplus) {
    // A finished batch allocation needs no stop; it only stops counting.
    if (clientTerminal(allocation) && input.batch) continue;
    stop(allocation, AllocDescription.JobUpdate);
    desired.Stop++;
  }
  const kept = sorted.kept.filter((allocation) => !surplus.has(allocation));
  const migrate = sorted.migrate.filter((allocation) => !surplus.has(allocation));

  const names = new AllocNameIndex(job.ID, group.Name);
  for (const allocation of kept) names.use(allocation.Name);
  for (const allocation of migrate) {
    names.use(allocation.Name);
    stop(allocation, AllocDescription.Migrating);
    result.place.push({ group, name: allocation.Name, previous: allocation, reschedule: false });
    desired.Migrate++;
  }

  let missing = Math.max(0, group.Count - kept.length - migrate.length);
  for (const allocation of byIndex(sorted.rescheduleNow)) {
    desired.Stop++;
    if (missing === 0 || names.has(allocation.Name)) {
      stop(allocation, AllocDescription.JobUpdate);
      continue;
    }
    missing--;
    desired.Place++;
    names.use(allocation.Name);
    stop(allocation, AllocDescription.Rescheduled);
    result.place.push({ group, name: allocation.Name, previous: allocation, reschedule: true });
  }
  for (const allocation of byIndex(sorted.lost)) {
    desired.Stop++;
    stop(allocation, AllocDescription.Lost, AllocClientStatus.Lost);
    if (missing === 0 || names.has(allocation.Name)) continue;
    missing--;
    desired.Place++;
    names.use(allocation.Name);
    result.place.push({ group, name: allocation.Name, previous: allocation, reschedule: false });
  }
  for (; missing > 0; missing--) {
    desired.Place++;
    result.place.push({ group, name: names.next(), previous: null, reschedule: false });
  }

  const destructive: Allocation[] = [];
  for (const allocation of byIndex(kept)) {
    const done = clientTerminal(allocation);
    const kind = done && input.batch ? "ignore" : input.updateKind(allocation, job, group);
    if (kind === "destructive") {
      destructive.push(allocation);
      continue;
    }
    const at = sorted.rescheduleLater.get(allocation);
    if (at !== undefined) later.push({ allocation, at });
    if (kind === "in-place" && !done) {
      result.inPlace.push({ allocation, group });
      desired.InPlaceUpdate++;
    } else desired.Ignore++;
  }
  const atOnce = updatesAtOnce(input, group, destructive.length);
  for (const allocation of destructive.slice(0, atOnce)) {
    result.destructive.push({ allocation, group });
    desired.DestructiveUpdate++;
  }
  if (atOnce < destructive.length) {
    desired.Ignore += destructive.length - atOnce;
    result.rollAfter = Math.max(result.rollAfter ?? 0, group.Update!.Stagger);
  }
  return desired;
}

/** How many of a group's destructive updates one evaluation makes. */
function updatesAtOnce(input: ReconcileInput, group: TaskGroup, wanted: number): number {
  const parallel = group.Update?.MaxParallel ?? 0;
  if (input.batch || parallel <= 0) return wanted;
  return input.holdUpdates ? 0 : Math.min(wanted, parallel);
}

function sortAllocations(
  input: ReconcileInput,
  result: Reconciliation,
  group: TaskGroup,
  allocations: readonly Allocation[],
): Sorted {
  const sorted: Sorted = { kept: [], migrate: [], lost: [], rescheduleNow: [], rescheduleLater: new Map() };
  for (const allocation of allocations) {
    if (input.batch && allocIsTerminal(allocation) && isOutdated(allocation, input.job!)) continue;
    const node = input.node(allocation.NodeID);
    const gone = node === null || nodeTerminal(node);
    if (serverTerminal(allocation)) {
      // What was stopped has its replacement or needs none, also where it ended well. On a lost node nobody reports its end.
      if (gone) stopUnneeded(input, result, allocation, AllocDescription.Lost);
    } else if (!clientTerminal(allocation)) {
      if (gone) sorted.lost.push(allocation);
      else if (allocation.DesiredTransition?.Migrate === true) sorted.migrate.push(allocation);
      else sorted.kept.push(allocation);
    } else if (allocation.ClientStatus === AllocClientStatus.Complete) {
      // A service that ended by itself is to run again; a batch allocation is done.
      if (input.batch) sorted.kept.push(allocation);
    } else if (allocation.ClientStatus === AllocClientStatus.Failed) {
      sortFailed(input, sorted, group, allocation, node);
    }
  }
  return sorted;
}

function sortFailed(
  input: ReconcileInput,
  sorted: Sorted,
  group: TaskGroup,
  allocation: Allocation,
  node: Node | null,
): void {
  if (allocation.NextAllocation !== undefined && allocation.NextAllocation !== "") return;
  if (allocation.DesiredTransition?.ForceReschedule === true) {
    sorted.rescheduleNow.push(allocation);
    return;
  }
  const policy = group.ReschedulePolicy;
  const failed = failTime(allocation);
  if (policy === null || !attemptsLeft(policy, allocation.RescheduleTracker, failed)) {
    sorted.kept.push(allocation);
    return;
  }
  const at = failed + nextDelay(policy, allocation.RescheduleTracker, failed);
  const due = at <= input.now + RESCHEDULE_WINDOW || allocation.FollowupEvalID === input.evaluationId;
  // A follow-up is noted in the allocation, and the plan applier takes no notes for a node that is gone.
  if (due || node === null) {
    sorted.rescheduleNow.push(allocation);
    return;
  }
  sorted.kept.push(allocation);
  const followup = allocation.FollowupEvalID ?? "";
  if (followup === "" || !input.followupWaits(followup)) sorted.rescheduleLater.set(allocation, at);
}

/** Made for an older version of the job, or for a job of the same name that was purged. */
function isOutdated(allocation: Allocation, job: Job): boolean {
  return (
    allocation.JobVersion < job.Version || (allocation.JobCreateIndex ?? job.CreateIndex) !== job.CreateIndex
  );
}

/** Stops an allocation that isn't wanted; false where there is nothing left to stop. */
function stopUnneeded(
  input: ReconcileInput,
  result: Reconciliation,
  allocation: Allocation,
  description: string,
): boolean {
  if (clientTerminal(allocation)) return false;
  const node = input.node(allocation.NodeID);
  if (node === null || nodeTerminal(node)) {
    result.stop.push({
      allocation,
      description: AllocDescription.Lost,
      clientStatus: AllocClientStatus.Lost,
    });
    return true;
  }
  if (serverTerminal(allocation)) return false;
  result.stop.push({ allocation, description });
  return true;
}

/** Those to go when there are `excess` too many: migrating ones first, then second holders of a name, then high names. */
function chooseSurplus(sorted: Sorted, excess: number): Allocation[] {
  if (excess <= 0) return [];
  const seen = new Set<string>();
  const duplicates: Allocation[] = [];
  const others: Allocation[] = [];
  for (const allocation of byIndex(sorted.kept)) {
    (seen.has(allocation.Name) ? duplicates : others).push(allocation);
    seen.add(allocation.Name);
  }
  return [...byIndex(sorted.migrate).reverse(), ...duplicates, ...others.reverse()].slice(0, excess);
}

function byIndex(allocations: readonly Allocation[]): Allocation[] {
  return [...allocations].sort(
    (a, b) =>
      allocIndexOf(a.Name) - allocIndexOf(b.Name) ||
      a.CreateIndex - b.CreateIndex ||
      (a.ID < b.ID ? -1 : a.ID > b.ID ? 1 : 0),
  );
}

function batchFollowUps(later: readonly { allocation: Allocation; at: number }[]): FollowUp[] {
  const batches: FollowUp[] = [];
  for (const { allocation, at } of [...later].sort((a, b) => a.at - b.at)) {
    const open = batches.at(-1);
    if (open !== undefined && at - open.waitUntil < FOLLOW_UP_WINDOW) open.allocations.push(allocation);
    else batches.push({ waitUntil: at, allocations: [allocation] });
  }
  return batches;
}

function emptyUpdates(): DesiredUpdates {
  return {
    Canary: 0,
    DestructiveUpdate: 0,
    Ignore: 0,
    InPlaceUpdate: 0,
    Migrate: 0,
    Place: 0,
    Preemptions: 0,
    Stop: 0,
  };
}
