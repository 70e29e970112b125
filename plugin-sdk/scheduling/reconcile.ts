/**
 * The reconciler of service and batch jobs: what has to change between the allocations that exist and those that the job
 * asks for. Pure: it reads what it is given, writes nothing and looks at no clock.
 */
import { type AllocationOutline, clientTerminal, serverTerminal } from "../domain/allocation.js";
import type { DeploymentState } from "../domain/deployment.js";
import { jobParameterized, jobPeriodicActive, jobStopped } from "../domain/job.js";
import type { DesiredUpdates } from "../domain/plan.js";
import { JobDeployments, newDeployment } from "./reconcile-deployment.js";
import { emptyUpdates, reconcileGroup } from "./reconcile-group.js";
import { stopDecision } from "./reconcile-sort.js";
import {
  AllocDescription,
  type FollowUp,
  type ReconcileInput,
  type Reconciliation,
  type StopDecision,
} from "./reconcile-types.js";

/** Delayed replacements within this span (nanoseconds) share a follow-up evaluation. */
const FOLLOW_UP_WINDOW = 5e9;

export function reconcile(input: ReconcileInput): Reconciliation {
  const { job } = input;
  // Templates of periodic and dispatched jobs run nothing themselves: their children do.
  const runs = job !== null && !jobStopped(job) && !jobParameterized(job) && !jobPeriodicActive(job);
  const wanted = runs ? job : null;
  const groups = wanted?.TaskGroups ?? [];
  const names = new Set(groups.map((group) => group.Name));
  const deployments = new JobDeployments(input.batch ? [] : input.deployments, wanted);
  const changes = { stop: [], place: [], inPlace: [], destructive: [] } as Pick<
    Reconciliation,
    "stop" | "place" | "inPlace" | "destructive"
  >;
  const desired: Record<string, DesiredUpdates> = {};
  const states: Record<string, DeploymentState> = {};
  const later: [AllocationOutline, number][] = [];

  const byGroup = new Map<string, AllocationOutline[]>();
  for (const allocation of input.allocations) {
    const list = byGroup.get(allocation.TaskGroup);
    if (list === undefined) byGroup.set(allocation.TaskGroup, [allocation]);
    else list.push(allocation);
  }
  for (const [name, allocations] of byGroup) {
    if (names.has(name)) continue;
    const stops = stopAll(input, allocations);
    add(changes.stop, stops);
    if (job !== null) desired[name] = { ...emptyUpdates(), Stop: stops.length };
  }
  let complete = wanted !== null;
  if (wanted !== null) {
    for (const group of groups) {
      const part = reconcileGroup(input, wanted, group, deployments, byGroup.get(group.Name) ?? []);
      add(changes.stop, part.stop);
      add(changes.place, part.place);
      add(changes.inPlace, part.inPlace);
      add(changes.destructive, part.destructive);
      add(later, part.later);
      desired[group.Name] = part.desired;
      if (part.deploymentState !== null) states[group.Name] = part.deploymentState;
      complete &&= part.complete;
    }
    if (complete) deployments.succeed();
  }
  const created = wanted === null ? null : newDeployment(input.newDeploymentId, wanted, states);
  return {
    ...changes,
    followUps: batchFollowUps(later),
    newDeployment: created,
    deployment: created ?? deployments.current,
    deploymentUpdates: deployments.updates,
    desired,
  };
}

/** Stops what runs of a group that isn't wanted, and closes what nobody will report of. */
function stopAll(input: ReconcileInput, allocations: readonly AllocationOutline[]): StopDecision[] {
  const stops: StopDecision[] = [];
  for (const allocation of allocations) {
    if (clientTerminal(allocation)) continue;
    const stop = stopDecision(input, allocation, AllocDescription.NotNeeded);
    if (!serverTerminal(allocation) || stop.clientStatus !== undefined) stops.push(stop);
  }
  return stops;
}

function batchFollowUps(later: readonly [AllocationOutline, number][]): FollowUp[] {
  const batches: FollowUp[] = [];
  for (const [allocation, at] of later.toSorted((a, b) => a[1] - b[1])) {
    const open = batches.at(-1);
    if (open !== undefined && at - open.waitUntil < FOLLOW_UP_WINDOW) open.allocations.push(allocation);
    else batches.push({ waitUntil: at, allocations: [allocation] });
  }
  return batches;
}

/** Lists may be too long for the arguments of a call. */
function add<T>(list: T[], more: Iterable<T>): void {
  for (const one of more) list.push(one);
}
