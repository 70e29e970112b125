import type { Plan } from "../domain/plan.js";

/** Nodes of one submitted plan: the leader checks and applies a plan in one go, and has others waiting. */
const NODES_A_PLAN = 500;

/** The plan cut into plans of at most `NODES_A_PLAN` nodes. */
export function partsOf(plan: Plan): Plan[] {
  const nodes = new Set([
    ...Object.keys(plan.NodeUpdate),
    ...Object.keys(plan.NodeAllocation),
    ...Object.keys(plan.NodePreemptions),
  ]);
  if (plan.AllAtOnce || nodes.size <= NODES_A_PLAN || plan.Annotations !== null) return [plan];
  const parts: Plan[] = [];
  let part: Plan | undefined;
  let room = 0;
  for (const node of nodes) {
    if (part === undefined || room === 0) {
      part = { ...plan, NodeAllocation: {}, NodePreemptions: {}, NodeUpdate: {} };
      parts.push(part);
      room = NODES_A_PLAN;
    }
    room--;
    for (const list of ["NodeAllocation", "NodePreemptions", "NodeUpdate"] as const) {
      const own = plan[list][node];
      if (own !== undefined) part[list][node] = own;
    }
  }
  return parts;
}
