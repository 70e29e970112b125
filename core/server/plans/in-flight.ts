import type { PackedPlan } from "@drover/plugin-sdk";
import { NodeCheck } from "@drover/plugin-sdk";

interface Use {
  cpu: number;
  memory: number;
  disk: number;
  readonly plans: Set<PackedPlan>;
}

/**
 * Plans that are proposed and not yet applied, by the nodes they touch. What is only counted needs not wait for them: it is
 * checked against the state plus what they take. Nor does what only stops allocations, which needs no room: the plans of a
 * hundred jobs that lost something with one node go together. A node that is looked at as a whole belongs to one plan at a
 * time.
 */
export class InFlightPlans {
  readonly #counted = new Map<string, Use>();
  readonly #whole = new Set<string>();
  /** Who waits for the end of a plan. */
  readonly #ends = new Map<PackedPlan, (() => void)[]>();

  /** Whether the plan must wait for another one that touches one of its nodes. */
  conflicts(plan: PackedPlan): boolean {
    return plan.nodes.some(
      (node, i) => this.#whole.has(node) || (plan.checks[i] === NodeCheck.Whole && this.#counted.has(node)),
    );
  }

  /** MHz, MiB and MiB that plans under way take on a node. */
  use(node: string): Readonly<Use> | undefined {
    return this.#counted.get(node);
  }

  /**
   * Resolves when the plans that are under way on these nodes now are committed or given up: a scheduler that is sent back
   * to look at the state must find there what kept it out.
   */
  async settled(nodes: Iterable<string>): Promise<void> {
    const plans = new Set<PackedPlan>();
    for (const node of nodes) for (const plan of this.#counted.get(node)?.plans ?? []) plans.add(plan);
    const end = (plan: PackedPlan): Promise<void> =>
      new Promise((resolve) => {
        const waiting = this.#ends.get(plan);
        if (waiting === undefined) this.#ends.set(plan, [resolve]);
        else waiting.push(resolve);
      });
    await Promise.all(Array.from(plans, end));
  }

  add(plan: PackedPlan): void {
    for (const [i, node] of plan.nodes.entries()) {
      if (plan.checks[i] === NodeCheck.Whole) {
        this.#whole.add(node);
        continue;
      }
      let use = this.#counted.get(node);
      if (use === undefined) {
        use = { cpu: 0, memory: 0, disk: 0, plans: new Set() };
        this.#counted.set(node, use);
      }
      use.cpu += plan.cpu[i]!;
      use.memory += plan.memory[i]!;
      use.disk += plan.disk[i]!;
      use.plans.add(plan);
    }
  }

  remove(plan: PackedPlan): void {
    for (const [i, node] of plan.nodes.entries()) {
      const use = plan.checks[i] === NodeCheck.Whole ? undefined : this.#counted.get(node);
      if (use === undefined) {
        this.#whole.delete(node);
        continue;
      }
      use.plans.delete(plan);
      if (use.plans.size === 0) {
        this.#counted.delete(node);
        continue;
      }
      use.cpu -= plan.cpu[i]!;
      use.memory -= plan.memory[i]!;
      use.disk -= plan.disk[i]!;
    }
    for (const resolve of this.#ends.get(plan) ?? []) resolve();
    this.#ends.delete(plan);
  }
}
