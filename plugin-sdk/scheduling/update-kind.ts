import type { Placement, Placer } from "../contracts/scheduler.js";
import type { StateSnapshot } from "../contracts/state.js";
import { type AllocationOutline, clientTerminal, wholeAllocation } from "../domain/allocation.js";
import type { Job, TaskGroup } from "../domain/job.js";
import { tasksUpdated } from "./job-diff.js";
import type { UpdateKind } from "./reconcile-types.js";

/**
 * How allocations follow the present version of their job. Where one can be updated in place, its new resources are noted
 * in `fitted` by its id.
 */
export function updateKinds(
  state: StateSnapshot,
  placer: Placer,
  fitted: Map<string, Placement>,
): (allocation: AllocationOutline, job: Job, group: TaskGroup) => UpdateKind {
  const destructive = new Map<string, boolean>();
  return (allocation, job, group) => {
    // Of a job with the same name that was purged since.
    if ((allocation.JobCreateIndex ?? job.CreateIndex) !== job.CreateIndex) return "destructive";
    if (allocation.JobVersion === job.Version) return "ignore";
    const key = `${allocation.JobVersion} ${group.Name}`;
    let replace = destructive.get(key);
    if (replace === undefined) {
      const before = state.allocationJob(wholeAllocation(allocation));
      replace = before === null || tasksUpdated(before, job, group.Name);
      destructive.set(key, replace);
    }
    if (replace) return "destructive";
    // What ended has no place to keep.
    if (clientTerminal(allocation)) return "in-place";
    const placement = placer.fitInPlace(wholeAllocation(allocation), job, group);
    if (placement === null) return "destructive";
    fitted.set(allocation.ID, placement);
    return "in-place";
  };
}
