import type { Allocation, StateSnapshot } from "@drover/plugin-sdk";
import { allocIsTerminal, nodeReady } from "@drover/plugin-sdk";
import { nodeFits } from "@drover/plugin-sdk/scheduling";

/** A node's part of a plan. */
export interface NodePart {
  readonly placed: readonly Allocation[];
  /** Ids of the allocations that leave. */
  readonly leaving: ReadonlySet<string>;
}

/**
 * Checks a node's part of a plan against the state as it is now (optimistic concurrency: the scheduler decided on an older
 * snapshot); gives why it can't be taken. A part is taken or refused whole.
 */
export function checkNode(state: StateSnapshot, nodeId: string, part: NodePart): string | undefined {
  const { placed, leaving } = part;
  // Stopping needs no room, and must be possible on a node that is gone.
  if (placed.length === 0) return undefined;
  const node = state.node(nodeId);
  if (node === null) return "node is gone";
  const existing = state.allocationsByNode(nodeId);
  const known = new Set(existing.map((allocation) => allocation.ID));
  if (placed.some((allocation) => !known.has(allocation.ID)) && !nodeReady(node)) {
    return `node is ${node.Status}, ${node.SchedulingEligibility}${node.Drain ? ", draining" : ""}`;
  }
  const replaced = new Set(placed.map((allocation) => allocation.ID));
  const proposed = existing.filter(
    (allocation) =>
      !leaving.has(allocation.ID) && !replaced.has(allocation.ID) && !allocIsTerminal(allocation),
  );
  const fit = nodeFits(node, [...proposed, ...placed]);
  return fit.fits ? undefined : fit.dimension;
}
