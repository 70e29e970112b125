/** Which allocations go when a group has more than it wants. */
import { type AllocationOutline, AllocClientStatus, wholeAllocation } from "../domain/allocation.js";
import type { Job } from "../domain/job.js";
import { inNameOrder } from "./names.js";
import { ofVersion } from "./reconcile-sort.js";

export interface SurplusChoice {
  readonly kept: readonly AllocationOutline[];
  readonly migrate: readonly AllocationOutline[];
  /** How many too many there are. */
  readonly excess: number;
  readonly job: Job;
}

/**
 * Those that go, in this order: failed ones that wait for another attempt, migrating ones, second holders of a name, then the
 * highest names. What a batch job completed counts, and there is nothing of it to stop.
 */
export function chooseSurplus({ kept, migrate, excess, job }: SurplusChoice): Set<AllocationOutline> {
  const chosen = new Set<AllocationOutline>();
  if (excess <= 0) return chosen;
  const failed: AllocationOutline[] = [];
  const holders = new Map<string, AllocationOutline>();
  const duplicates: AllocationOutline[] = [];
  for (const allocation of inNameOrder(kept)) {
    if (allocation.ClientStatus === AllocClientStatus.Complete) continue;
    if (allocation.ClientStatus === AllocClientStatus.Failed) {
      failed.push(allocation);
      continue;
    }
    const holder = holders.get(allocation.Name);
    if (holder === undefined || outranks(allocation, holder, job)) holders.set(allocation.Name, allocation);
    if (holder !== undefined) duplicates.push(outranks(allocation, holder, job) ? holder : allocation);
  }
  const order = [
    ...failed.reverse(),
    ...inNameOrder(migrate).reverse(),
    ...duplicates.reverse(),
    ...[...holders.values()].reverse(),
  ];
  for (const allocation of order.slice(0, excess)) chosen.add(allocation);
  return chosen;
}

/** Whether an allocation has the better right to the name that two hold: the newer version, then the healthier one. */
function outranks(one: AllocationOutline, holder: AllocationOutline, job: Job): boolean {
  return rank(one, job) > rank(holder, job);
}

function rank(allocation: AllocationOutline, job: Job): number {
  const healthy = wholeAllocation(allocation).DeploymentStatus?.Healthy;
  return (ofVersion(allocation, job) ? 4 : 0) + (healthy === true ? 2 : healthy === false ? 0 : 1);
}
