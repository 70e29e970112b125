/**
 * What a plan adds to and takes from the columns: a difference a row, kept up with the plan's journal. What plans on their way
 * to the columns take is in it from the start.
 */
import {
  type Allocation,
  allocIsTerminal,
  type NodeColumns,
  type Plan,
  type StateSnapshot,
} from "@drover/plugin-sdk";
import { allocationUse, type PlanChange } from "@drover/plugin-sdk/scheduling";
import type { TakenRoom } from "../underway.js";

/** Told of each allocation that the plan puts on a row (`by` 1) or takes from it (-1). */
export type UsageListener = (row: number, allocation: Allocation, by: 1 | -1) => void;

export class PlanUsage {
  /** MHz. */
  readonly cpu: Float64Array;
  /** MiB. */
  readonly memory: Float64Array;
  /** MiB. */
  readonly disk: Float64Array;
  readonly #columns: NodeColumns;
  readonly #state: StateSnapshot;
  readonly #plan: Plan;
  readonly #stopped = new Map<string, Allocation>();
  /** By group: allocations that the plan pushes aside. */
  readonly #preempted = new Map<string, number>();
  /** By node: new allocations and new versions of old ones. */
  readonly #placed = new Map<string, Map<string, Allocation>>();

  constructor(columns: NodeColumns, state: StateSnapshot, plan: Plan, taken: TakenRoom | null) {
    this.#plan = plan;
    this.#columns = columns;
    this.#state = state;
    this.cpu = new Float64Array(columns.length);
    this.memory = new Float64Array(columns.length);
    this.disk = new Float64Array(columns.length);
    if (taken !== null)
      for (const name of ["cpu", "memory", "disk"] as const)
        this[name].set(taken[name].subarray(0, this[name].length));
  }

  apply(change: PlanChange, listener: UsageListener): void {
    const { allocation } = change;
    if (change.kind === "stop") {
      this.#stopped.set(allocation.ID, allocation);
      const preempted = this.#plan.NodePreemptions[allocation.NodeID];
      if (preempted?.some((one) => one.ID === allocation.ID) === true)
        this.#preempted.set(groupKey(allocation), this.preempted(allocation) + 1);
      if (!allocIsTerminal(allocation)) this.#count(allocation, -1, listener);
    } else if (change.kind === "unstop") {
      this.#stopped.delete(allocation.ID);
      if (!allocIsTerminal(allocation)) this.#count(allocation, 1, listener);
    } else {
      let onNode = this.#placed.get(allocation.NodeID);
      if (onNode === undefined) {
        onNode = new Map();
        this.#placed.set(allocation.NodeID, onNode);
      }
      // Only what exists already can be in the columns; a new allocation has no index yet.
      const before =
        onNode.get(allocation.ID) ??
        (allocation.CreateIndex === 0 ? null : this.#state.allocation(allocation.ID));
      onNode.set(allocation.ID, allocation);
      if (before !== null && !allocIsTerminal(before)) this.#count(before, -1, listener);
      if (!allocIsTerminal(allocation)) this.#count(allocation, 1, listener);
    }
  }

  /** How many allocations of the same group of the same job the plan pushes aside. */
  preempted(allocation: Allocation): number {
    return this.#preempted.get(groupKey(allocation)) ?? 0;
  }

  /** The allocations that would run on the node: the state's, without those stopped, with those placed. */
  proposed(nodeId: string): Allocation[] {
    const placed = this.#placed.get(nodeId);
    const kept = this.#state
      .allocationsByNode(nodeId)
      .filter((one) => !allocIsTerminal(one) && !this.#stopped.has(one.ID) && placed?.has(one.ID) !== true);
    if (placed !== undefined) for (const one of placed.values()) if (!allocIsTerminal(one)) kept.push(one);
    return kept;
  }

  #count(allocation: Allocation, by: 1 | -1, listener: UsageListener): void {
    const row = this.#columns.row(allocation.NodeID);
    if (row === undefined || row >= this.cpu.length) return;
    const use = allocationUse(allocation.AllocatedResources);
    this.cpu[row]! += by * use.cpu;
    this.memory[row]! += by * use.memory;
    this.disk[row]! += by * use.disk;
    listener(row, allocation, by);
  }
}

function groupKey(allocation: Allocation): string {
  return `${allocation.Namespace}\n${allocation.JobID}\n${allocation.TaskGroup}`;
}

/**
 * The changes that lead to a plan without a journal (one that `createPlan` didn't make): stops first, with the
 * allocations as the state has them.
 */
export function changesOf(plan: Plan, state: StateSnapshot): PlanChange[] {
  const changes: PlanChange[] = [];
  for (const lists of [plan.NodeUpdate, plan.NodePreemptions]) {
    for (const stopped of Object.values(lists).flat()) {
      changes.push({ kind: "stop", allocation: state.allocation(stopped.ID) ?? stopped });
    }
  }
  for (const placed of Object.values(plan.NodeAllocation).flat())
    changes.push({ kind: "place", allocation: placed });
  return changes;
}
