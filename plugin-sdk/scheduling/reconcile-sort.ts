/** Sorting the allocations of a group by what is to become of them, before it is known how many the group wants. */
import {
  type AllocationOutline,
  AllocClientStatus,
  clientTerminal,
  serverTerminal,
  wholeAllocation,
} from "../domain/allocation.js";
import type { Job, TaskGroup } from "../domain/job.js";
import type { JobDeployments } from "./reconcile-deployment.js";
import { AllocDescription, type ReconcileInput, type StopDecision } from "./reconcile-types.js";
import { attemptsLeft, clientStopTime, failTime, nextDelay } from "./reschedule.js";

/** Rescheduling this close ahead (nanoseconds) happens now. */
const RESCHEDULE_WINDOW = 1e9;

export interface SortedAllocations {
  /** Count towards the group: running, done, or failed and waiting or out of attempts. */
  readonly kept: AllocationOutline[];
  readonly migrate: AllocationOutline[];
  readonly lost: AllocationOutline[];
  /** Lost before, stopped, and due for their replacement now. */
  readonly lostDue: AllocationOutline[];
  /** Lost, with the time at which their clients will have stopped them; until then their place stays empty. */
  readonly lostLater: Map<AllocationOutline, number>;
  /** Of a service, ended by themselves with success and not replaced. */
  readonly ended: AllocationOutline[];
  readonly rescheduleNow: AllocationOutline[];
  /** Of those that are kept: when they are due, Unix nanoseconds. */
  readonly rescheduleLater: Map<AllocationOutline, number>;
  /** Stopped whatever the group wants: canaries that are over, and what nobody will report of. */
  readonly stop: StopDecision[];
  /** How many of `stop` are wanted no more. */
  unneeded: number;
  /** Ended allocations of older versions of a batch job, which is run again. */
  outdated: number;
  /** An allocation was made for the job's version before. */
  versionSeen: boolean;
}

export function sortAllocations(
  input: ReconcileInput,
  job: Job,
  group: TaskGroup,
  deployments: JobDeployments,
  allocations: readonly AllocationOutline[],
): SortedAllocations {
  const sorted: SortedAllocations = {
    kept: [],
    migrate: [],
    lost: [],
    lostDue: [],
    lostLater: new Map(),
    ended: [],
    rescheduleNow: [],
    rescheduleLater: new Map(),
    stop: [],
    unneeded: 0,
    outdated: 0,
    versionSeen: false,
  };
  for (const allocation of allocations) {
    const current = ofVersion(allocation, job);
    if (current) sorted.versionSeen = true;
    if (serverTerminal(allocation)) {
      if (input.batch && !current) sorted.outdated++;
      sortStopped(input, sorted, job, group, allocation);
    } else if (deployments.isObsoleteCanary(allocation)) {
      sorted.stop.push(stopDecision(input, allocation, AllocDescription.NotNeeded));
      sorted.unneeded++;
    } else if (!clientTerminal(allocation)) sortLive(input, sorted, group, allocation);
    else if (isReplaced(allocation)) continue;
    else if (input.batch && !current) sorted.outdated++;
    // A service that ended by itself is to run again; a batch allocation is done.
    else if (allocation.ClientStatus === AllocClientStatus.Complete)
      (input.batch ? sorted.kept : sorted.ended).push(allocation);
    else if (allocation.ClientStatus === AllocClientStatus.Failed)
      sortFailed(input, sorted, group, deployments, allocation);
  }
  return sorted;
}

/** How an allocation that isn't wanted is stopped: where its node is gone, nobody will report its end. */
export function stopDecision(
  input: ReconcileInput,
  allocation: AllocationOutline,
  description: string,
): StopDecision {
  if (clientTerminal(allocation) || input.node(allocation) === "up") return { allocation, description };
  return { allocation, description: AllocDescription.Lost, clientStatus: AllocClientStatus.Lost };
}

/** Made for this version of the job, and not for a job of the same name that was purged. */
export function ofVersion(allocation: AllocationOutline, job: Job): boolean {
  return (
    allocation.JobVersion === job.Version &&
    (allocation.JobCreateIndex ?? job.CreateIndex) === job.CreateIndex
  );
}

/** What was stopped has its replacement or needs none, also where it ended well; these are the exceptions. */
function sortStopped(
  input: ReconcileInput,
  sorted: SortedAllocations,
  job: Job,
  group: TaskGroup,
  outline: AllocationOutline,
): void {
  if (!clientTerminal(outline)) {
    // On a node that is gone nobody reports its end.
    const stop = stopDecision(input, outline, AllocDescription.Lost);
    if (stop.clientStatus !== undefined) sorted.stop.push(stop);
    return;
  }
  if (isReplaced(outline) || outline.ClientStatus === AllocClientStatus.Complete) return;
  const allocation = wholeAllocation(outline);
  // The plan that stopped it was refused where it had its replacement.
  const unfinished =
    allocation.ClientStatus === AllocClientStatus.Failed &&
    allocation.DesiredDescription === AllocDescription.Rescheduled;
  if (unfinished && ofVersion(allocation, job)) sorted.rescheduleNow.push(outline);
  if (allocation.ClientStatus !== AllocClientStatus.Lost) return;
  if (!stopsDisconnected(group) || !allocation.FollowupEvalID) return;
  const at = clientStopTime(allocation, group, input.now);
  if (at > input.now && allocation.FollowupEvalID !== input.evaluationId) sorted.lostLater.set(outline, at);
  else sorted.lostDue.push(outline);
}

function sortLive(
  input: ReconcileInput,
  sorted: SortedAllocations,
  group: TaskGroup,
  allocation: AllocationOutline,
): void {
  if (input.node(allocation) !== "up") {
    sorted.lost.push(allocation);
    if (stopsDisconnected(group))
      sorted.lostLater.set(allocation, clientStopTime(wholeAllocation(allocation), group, input.now));
  } else if (allocation.DesiredTransition?.Migrate === true) sorted.migrate.push(allocation);
  else sorted.kept.push(allocation);
}

function sortFailed(
  input: ReconcileInput,
  sorted: SortedAllocations,
  group: TaskGroup,
  deployments: JobDeployments,
  outline: AllocationOutline,
): void {
  const { current, failed: deploymentFailed } = deployments;
  const transition = outline.DesiredTransition;
  if (current !== null && outline.DeploymentID === current.ID) {
    // A deployment decides itself about what fails in it: the leader's watcher says when another attempt is worth it.
    if (deploymentFailed || transition?.Reschedule !== true) {
      sorted.kept.push(outline);
      return;
    }
  }
  if (transition?.ForceReschedule === true) {
    sorted.rescheduleNow.push(outline);
    return;
  }
  const allocation = wholeAllocation(outline);
  const policy = group.ReschedulePolicy;
  const failed = failTime(allocation);
  if (policy === null || !attemptsLeft(policy, allocation.RescheduleTracker, failed)) {
    sorted.kept.push(outline);
    return;
  }
  const at = failed + nextDelay(policy, allocation.RescheduleTracker, failed);
  const due = at <= input.now + RESCHEDULE_WINDOW || allocation.FollowupEvalID === input.evaluationId;
  // A follow-up is noted in the allocation, and the plan applier takes no notes for a node that is gone.
  if (due || input.node(allocation) === "unknown") {
    sorted.rescheduleNow.push(outline);
    return;
  }
  sorted.kept.push(outline);
  const followup = allocation.FollowupEvalID ?? "";
  if (followup === "" || !input.followupWaits(followup)) sorted.rescheduleLater.set(outline, at);
}

function stopsDisconnected(group: TaskGroup): boolean {
  return (group.StopAfterClientDisconnect ?? 0) > 0;
}

function isReplaced(allocation: AllocationOutline): boolean {
  return allocation.NextAllocation !== undefined && allocation.NextAllocation !== "";
}
