import type { PackedPlan, PackedPlanResult } from "@drover/plugin-sdk";
import { Heap } from "../heap.js";

export interface PendingPlan {
  readonly plan: PackedPlan;
  readonly order: number;
  readonly resolve: (result: PackedPlanResult) => void;
  readonly reject: (error: Error) => void;
}

/** Plans that wait for the applier, highest priority first, then in order of arrival. */
export class PlanQueue {
  readonly #heap = new Heap<PendingPlan>((a, b) =>
    a.plan.priority !== b.plan.priority ? a.plan.priority > b.plan.priority : a.order < b.order,
  );
  #order = 0;
  #enabled = false;
  #term = 0;

  constructor(private readonly onPlan: () => void) {}

  get depth(): number {
    return this.#heap.size;
  }

  /** Counts the terms of leadership that this server began: a plan belongs to the one it came in. */
  get term(): number {
    return this.#term;
  }

  setEnabled(enabled: boolean): void {
    this.#enabled = enabled;
    this.#term++;
    if (enabled) return;
    const lost = new Error("plan queue is disabled: this server lost leadership");
    for (let next = this.#heap.pop(); next !== undefined; next = this.#heap.pop()) next.reject(lost);
  }

  /** Resolves with what was committed of the plan. */
  enqueue(plan: PackedPlan): Promise<PackedPlanResult> {
    return new Promise((resolve, reject) => {
      if (!this.#enabled) {
        reject(new Error("plan queue is disabled: this server is not the leader"));
        return;
      }
      this.#heap.push({ plan, order: this.#order++, resolve, reject });
      this.onPlan();
    });
  }

  dequeue(): PendingPlan | undefined {
    return this.#heap.pop();
  }

  requeue(pending: PendingPlan): void {
    this.#heap.push(pending);
  }
}
