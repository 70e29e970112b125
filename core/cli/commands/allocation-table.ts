import type { AllocListStub } from "@drover/plugin-sdk";
import { columns, formatUnixNano, shortId, timeDifference } from "../format.js";

/** What is shown of an allocation. */
export type AllocationRow = Pick<
  AllocListStub,
  | "ID"
  | "EvalID"
  | "NodeID"
  | "NodeName"
  | "TaskGroup"
  | "JobVersion"
  | "DesiredStatus"
  | "ClientStatus"
  | "CreateIndex"
  | "CreateTime"
  | "ModifyTime"
>;

/** Allocations as `job status` and `node status` list them, newest first. */
export function allocationTable(allocations: readonly AllocationRow[], now: number, verbose = false): string {
  if (allocations.length === 0) return "No allocations placed";
  const newest = allocations.toSorted((a, b) => b.CreateTime - a.CreateTime || b.CreateIndex - a.CreateIndex);
  if (verbose) {
    return columns([
      [
        "ID",
        "Eval ID",
        "Node ID",
        "Node Name",
        "Task Group",
        "Version",
        "Desired",
        "Status",
        "Created",
        "Modified",
      ],
      ...newest.map((alloc) => [
        alloc.ID,
        alloc.EvalID,
        alloc.NodeID,
        alloc.NodeName,
        alloc.TaskGroup,
        String(alloc.JobVersion),
        alloc.DesiredStatus,
        alloc.ClientStatus,
        formatUnixNano(alloc.CreateTime),
        formatUnixNano(alloc.ModifyTime),
      ]),
    ]);
  }
  return columns([
    ["ID", "Node ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"],
    ...newest.map((alloc) => [
      shortId(alloc.ID),
      shortId(alloc.NodeID),
      alloc.TaskGroup,
      String(alloc.JobVersion),
      alloc.DesiredStatus,
      alloc.ClientStatus,
      timeDifference(alloc.CreateTime / 1e6, now),
      timeDifference(alloc.ModifyTime / 1e6, now),
    ]),
  ]);
}
