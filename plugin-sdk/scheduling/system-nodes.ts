import { NodeStatusBit, type SchedulerContext } from "../contracts/scheduler.js";
import type { Job } from "../domain/job.js";
import { nodeTerminal } from "../domain/node.js";
import type { NodeStanding } from "./system-reconcile.js";

export interface SystemNodes {
  /** Ids of the nodes that are open to the job. */
  readonly nodes: string[];
  /** What any node is to the job. */
  standing(nodeId: string): NodeStanding;
}

/** The nodes as a job sees them, or `onlyNode` of them. Read from the columns, which costs no row a node. */
export function systemNodes(
  { columns, state }: Pick<SchedulerContext, "columns" | "state">,
  job: Job | null,
  onlyNode: string | null,
): SystemNodes {
  const { Ready, Eligible, Draining, InUse } = NodeStatusBit;
  const { length, status } = columns;
  const codes = columns.codes("node.datacenter");
  const inDatacenters = columns
    .values("node.datacenter")
    .map((name) => name !== undefined && job?.Datacenters.includes(name) === true);
  const isOpen = (row: number): boolean =>
    (status[row]! & (InUse | Ready | Eligible | Draining)) === (InUse | Ready | Eligible) &&
    inDatacenters[codes[row]!] === true;
  const standing = (nodeId: string): NodeStanding => {
    const row = columns.row(nodeId);
    if (row !== undefined && row < length) {
      if (isOpen(row)) return "open";
      const bits = status[row]!;
      if ((bits & Ready) !== 0)
        return (bits & Eligible) === 0 || (bits & Draining) !== 0 ? "closed" : "elsewhere";
    }
    const node = state.node(nodeId);
    return node === null || nodeTerminal(node) ? "gone" : "closed";
  };
  if (onlyNode !== null) return { nodes: standing(onlyNode) === "open" ? [onlyNode] : [], standing };
  const nodes: string[] = [];
  for (let row = 0; row < length; row++) {
    const id = isOpen(row) ? columns.nodeId(row) : undefined;
    if (id !== undefined) nodes.push(id);
  }
  return { nodes, standing };
}
