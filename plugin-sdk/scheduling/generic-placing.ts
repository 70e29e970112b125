/** Filling a plan with what the reconciler decided. */

import type { Placement, Placer, SchedulerContext } from "../contracts/scheduler.js";
import {
  type Allocation,
  type AllocDeploymentStatus,
  type AllocMetric,
  serverTerminal,
  wholeAllocation,
} from "../domain/allocation.js";
import { type Deployment, deploymentActive } from "../domain/deployment.js";
import { type Job, lookupTaskGroup, type TaskGroup } from "../domain/job.js";
import type { Plan, PlanResult, PreemptedAllocStub } from "../domain/plan.js";
import { coalesceFailure } from "./metrics.js";
import { cancelStop, placeAllocation, preemptFor, stopAllocation } from "./plan.js";
import type { PlanIds } from "./random.js";
import { AllocDescription, type PlaceDecision, type Reconciliation } from "./reconcile-types.js";
import { failedNodes, nextTracker } from "./reschedule.js";
import { newAllocation, updatedInPlace } from "./rows.js";

/** Health of a canary that its node has not decided on. */
const NEW_CANARY: AllocDeploymentStatus = Object.freeze({
  Canary: true,
  Healthy: null,
  ModifyIndex: 0,
  Timestamp: "0001-01-01T00:00:00Z",
});

export interface PlanFillerOptions {
  readonly context: SchedulerContext;
  readonly plan: Plan;
  readonly placer: Placer;
  readonly job: Job;
  /** What new and updated allocations belong to. */
  readonly deployment: Deployment | null;
  readonly ids: PlanIds;
  /** Unix nanoseconds. */
  readonly now: number;
}

/** The version of the job that an allocation is placed from. */
interface Version {
  readonly job: Job;
  readonly group: TaskGroup;
}

export class PlanFiller {
  /** By group: why it found no place. */
  readonly failed: Record<string, AllocMetric> = {};
  /** By group: how many were to be placed. */
  readonly queued: Record<string, number> = {};
  readonly placed: Allocation[] = [];
  /** What has to leave, by the group that needs the room. */
  readonly preempted: { readonly group: string; readonly stub: PreemptedAllocStub }[] = [];
  readonly #options: PlanFillerOptions;
  readonly #versions = new Map<string, Version>();

  constructor(options: PlanFillerOptions) {
    this.#options = options;
    for (const group of options.job.TaskGroups) this.queued[group.Name] = 0;
  }

  /** Writes the job's version into an allocation where it runs. */
  updateInPlace(allocation: Allocation, group: TaskGroup, placement: Placement): void {
    const { context, plan, job, now } = this.#options;
    const { evaluation } = context;
    const updated = updatedInPlace(allocation, { evaluation, job, placement, now });
    const deployment = this.#deploymentOf(group);
    if (deployment !== "" && deployment !== allocation.DeploymentID) {
      updated.DeploymentID = deployment;
      // Its health in the new deployment is to be found out.
      updated.DeploymentStatus = null;
    }
    placeAllocation(plan, updated);
  }

  place({ destructive, place }: Pick<Reconciliation, "destructive" | "place">): void {
    const { plan } = this.#options;
    // Updates come first: what they free serves the others.
    for (const { allocation, group, name } of destructive) {
      if (this.#coalesced(group)) continue;
      stopAllocation(plan, allocation, { description: AllocDescription.Updating });
      const decision = { group, name, previous: allocation, reschedule: false };
      if (!this.#placeOne({ ...decision, canary: false, earlierVersion: false }))
        cancelStop(plan, allocation);
    }
    for (const decision of place) {
      if (this.#coalesced(decision.group) || !this.#placeOne(decision)) continue;
      const { previous, reschedule } = decision;
      if (reschedule && previous !== null && !serverTerminal(previous))
        stopAllocation(plan, previous, { description: AllocDescription.Rescheduled });
    }
  }

  /** Takes what was committed out of the queue. */
  committed({ NodeAllocation }: PlanResult): void {
    const committed = new Set<string>();
    for (const list of Object.values(NodeAllocation)) for (const { ID } of list) committed.add(ID);
    for (const { ID, TaskGroup } of this.placed) {
      if (committed.has(ID)) this.queued[TaskGroup] = (this.queued[TaskGroup] ?? 1) - 1;
    }
  }

  /** Counts one to be placed, and whether its group failed already: it would fail for the same reasons. */
  #coalesced(group: TaskGroup): boolean {
    this.queued[group.Name] = (this.queued[group.Name] ?? 0) + 1;
    const metric = this.failed[group.Name];
    if (metric === undefined) return false;
    coalesceFailure(metric, group);
    return true;
  }

  #placeOne(decision: PlaceDecision): boolean {
    const { placer, plan } = this.#options;
    const { name, reschedule } = decision;
    const previous = decision.previous === null ? null : wholeAllocation(decision.previous);
    const { job, group } = this.#versionFor(decision);
    const sticky = previous !== null && group.EphemeralDisk.Sticky && !reschedule;
    const placement = placer.place({
      job,
      group,
      name,
      previous,
      ...(reschedule && previous !== null ? { penaltyNodes: failedNodes(previous) } : {}),
      ...(sticky ? { preferredNode: previous.NodeID } : {}),
    });
    if ("failed" in placement) {
      this.failed[decision.group.Name] = placement.failed;
      return false;
    }
    const allocation = this.#newAllocation(job, group, { ...decision, previous }, placement);
    for (const stub of preemptFor(plan, allocation, placement.preempted ?? []))
      this.preempted.push({ group: allocation.TaskGroup, stub });
    placeAllocation(plan, allocation);
    this.placed.push(allocation);
    return true;
  }

  #newAllocation(
    job: Job,
    group: TaskGroup,
    { name, previous, reschedule, canary }: PlaceDecision & { readonly previous: Allocation | null },
    placement: Placement,
  ): Allocation {
    const { context, ids, now } = this.#options;
    const { evaluation } = context;
    const allocation = newAllocation({ id: ids.next(), name, evaluation, job, group, placement, now });
    // What runs an earlier version has no part in rolling out this one.
    if (job === this.#options.job) allocation.DeploymentID = this.#deploymentOf(group);
    if (canary) allocation.DeploymentStatus = NEW_CANARY;
    if (previous !== null) {
      allocation.PreviousAllocation = previous.ID;
      if (reschedule) allocation.RescheduleTracker = nextTracker(group.ReschedulePolicy, previous, now);
    }
    return allocation;
  }

  #deploymentOf(group: TaskGroup): string {
    const { deployment } = this.#options;
    if (deployment === null || !deploymentActive(deployment)) return "";
    return Object.hasOwn(deployment.TaskGroups, group.Name) ? deployment.ID : "";
  }

  /** The job's own version, or that of the allocation which is replaced while canaries try the job's. */
  #versionFor({ group, previous, earlierVersion }: PlaceDecision): Version {
    const { context, job } = this.#options;
    const present = { job, group };
    if (!earlierVersion || previous === null || previous.JobVersion === job.Version) return present;
    if ((previous.JobCreateIndex ?? job.CreateIndex) !== job.CreateIndex) return present;
    const key = `${previous.JobVersion} ${group.Name}`;
    let version = this.#versions.get(key);
    if (version === undefined) {
      const earlier = context.state.jobVersion(job.Namespace, job.ID, previous.JobVersion);
      const earlierGroup = earlier === null ? undefined : lookupTaskGroup(earlier, group.Name);
      version =
        earlier === null || earlierGroup === undefined ? present : { job: earlier, group: earlierGroup };
      this.#versions.set(key, version);
    }
    return version;
  }
}
