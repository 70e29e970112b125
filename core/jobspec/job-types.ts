import { JobType } from "@drover/plugin-sdk";

/** Jobs with one allocation on every node that may have it. */
export function runsOnEveryNode(type: string): boolean {
  return type === JobType.System || type === JobType.SysBatch;
}

/** Jobs whose allocations are done once they ended. */
export function runsToCompletion(type: string): boolean {
  return type === JobType.Batch || type === JobType.SysBatch;
}
