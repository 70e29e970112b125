/** `AllocMetric`: what a scheduler tells of a placement. */
import type { AllocMetric } from "../domain/allocation.js";
import type { TaskGroup } from "../domain/job.js";
import type { Resources } from "../domain/resources.js";

export function emptyMetric(): AllocMetric {
  return {
    AllocationTime: 0,
    ClassExhausted: null,
    ClassFiltered: null,
    CoalescedFailures: 0,
    ConstraintFiltered: null,
    DimensionExhausted: null,
    NodesAvailable: null,
    NodesEvaluated: 0,
    NodesExhausted: 0,
    NodesFiltered: 0,
    QuotaExhausted: null,
    ResourcesExhausted: null,
    ScoreMetaData: null,
    Scores: null,
  };
}

/**
 * Adds to `ResourcesExhausted` what one more allocation of the group would have needed of the dimensions that ran out. As
 * recorded, the amounts of coalesced failures add up: two allocations of 500,000 MHz read as 1,000,000.
 */
export function addExhaustedResources(metric: AllocMetric, group: TaskGroup): void {
  const dimensions = metric.DimensionExhausted;
  if (dimensions === null) return;
  const exhausted = metric.ResourcesExhausted ?? {};
  metric.ResourcesExhausted = exhausted;
  for (const task of group.Tasks) {
    const sum = exhausted[task.Name] ?? emptyResources();
    exhausted[task.Name] = sum;
    if ((dimensions.cpu ?? 0) > 0) sum.CPU += task.Resources.CPU;
    if ((dimensions.memory ?? 0) > 0) sum.MemoryMB += task.Resources.MemoryMB;
  }
}

/** Counts another failure of a group whose placement failed before in the same evaluation. */
export function coalesceFailure(metric: AllocMetric, group: TaskGroup): void {
  metric.CoalescedFailures++;
  addExhaustedResources(metric, group);
}

function emptyResources(): Resources {
  return {
    CPU: 0,
    Cores: 0,
    Devices: null,
    DiskMB: 0,
    IOPS: 0,
    MemoryMB: 0,
    MemoryMaxMB: 0,
    Networks: null,
  };
}
