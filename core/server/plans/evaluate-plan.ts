import type { Allocation, Plan, PlanResult, StateSnapshot } from "@drover/plugin-sdk";
import { allocIsTerminal, nodeReady } from "@drover/plugin-sdk";
import { nodeFits } from "@drover/plugin-sdk/scheduling";

export interface PlanEvaluation {
  readonly result: PlanResult;
  /** Why a node's part was refused, by node id. */
  readonly refused: ReadonlyMap<string, string>;
}

/**
 * Checks every node of a plan against the state as it is now (optimistic concurrency: the scheduler decided on an older
 * snapshot). A node's part is taken or refused whole; with `AllAtOnce` one refusal refuses the plan.
 */
export function evaluatePlan(state: StateSnapshot, plan: Plan): PlanEvaluation {
  const refused = new Map<string, string>();
  const result: PlanResult = {
    AllocIndex: 0,
    Deployment: plan.Deployment,
    DeploymentUpdates: plan.DeploymentUpdates,
    NodeAllocation: {},
    NodePreemptions: {},
    NodeUpdate: {},
    RefreshIndex: 0,
    RejectedNodes: [],
  };
  for (const nodeId of nodesOf(plan)) {
    const why = checkNode(state, plan, nodeId);
    if (why !== undefined) {
      refused.set(nodeId, why);
      continue;
    }
    take(plan.NodeUpdate, result.NodeUpdate, nodeId);
    take(plan.NodeAllocation, result.NodeAllocation, nodeId);
    take(plan.NodePreemptions, result.NodePreemptions, nodeId);
  }
  if (refused.size > 0) {
    result.RefreshIndex = state.index;
    result.RejectedNodes = [...refused.keys()];
    if (plan.AllAtOnce) {
      result.NodeUpdate = {};
      result.NodeAllocation = {};
      result.NodePreemptions = {};
      result.Deployment = null;
      result.DeploymentUpdates = [];
    }
  }
  return { result, refused };
}

/** Every node that a plan touches. */
export function nodesOf(plan: Plan): Set<string> {
  return new Set([
    ...Object.keys(plan.NodeUpdate),
    ...Object.keys(plan.NodeAllocation),
    ...Object.keys(plan.NodePreemptions),
  ]);
}

function checkNode(state: StateSnapshot, plan: Plan, nodeId: string): string | undefined {
  const placed = plan.NodeAllocation[nodeId];
  // Stopping needs no room, and must be possible on a node that is gone.
  if (placed === undefined || placed.length === 0) return undefined;
  const node = state.node(nodeId);
  if (node === null) return "node is gone";
  const existing = state.allocationsByNode(nodeId);
  const known = new Set(existing.map((allocation) => allocation.ID));
  if (placed.some((allocation) => !known.has(allocation.ID)) && !nodeReady(node)) {
    return `node is ${node.Status}, ${node.SchedulingEligibility}${node.Drain ? ", draining" : ""}`;
  }
  const leaving = new Set<string>();
  for (const list of [plan.NodeUpdate[nodeId], plan.NodePreemptions[nodeId], placed]) {
    for (const allocation of list ?? []) leaving.add(allocation.ID);
  }
  const proposed = existing.filter(
    (allocation) => !leaving.has(allocation.ID) && !allocIsTerminal(allocation),
  );
  const fit = nodeFits(node, [...proposed, ...placed]);
  return fit.fits ? undefined : fit.dimension;
}

function take(from: Record<string, Allocation[]>, to: Record<string, Allocation[]>, nodeId: string): void {
  const list = from[nodeId];
  if (list !== undefined && list.length > 0) to[nodeId] = list;
}
