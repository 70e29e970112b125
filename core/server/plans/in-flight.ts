import type { PackedPlan } from "@drover/plugin-sdk";
import { NodeCheck } from "@drover/plugin-sdk";

interface Use {
  cpu: number;
  memory: number;
  disk: number;
  plans: number;
}

/**
 * Plans that are proposed and not yet applied, by the nodes they touch. What is only counted needs not wait for them: it is
 * checked against the state plus what they take. A node that is looked at as a whole, or that a plan makes room on, belongs
 * to one plan at a time.
 */
export class InFlightPlans {
  readonly #counted = new Map<string, Use>();
  readonly #whole = new Set<string>();

  /** Whether the plan must wait for another one that touches one of its nodes. */
  conflicts(plan: PackedPlan): boolean {
    return plan.nodes.some(
      (node, i) => this.#whole.has(node) || (plan.checks[i] !== NodeCheck.Counted && this.#counted.has(node)),
    );
  }

  /** MHz, MiB and MiB that plans under way take on a node. */
  use(node: string): Readonly<Use> | undefined {
    return this.#counted.get(node);
  }

  add(plan: PackedPlan): void {
    for (const [i, node] of plan.nodes.entries()) {
      if (plan.checks[i] !== NodeCheck.Counted) {
        this.#whole.add(node);
        continue;
      }
      let use = this.#counted.get(node);
      if (use === undefined) {
        use = { cpu: 0, memory: 0, disk: 0, plans: 0 };
        this.#counted.set(node, use);
      }
      use.cpu += plan.cpu[i]!;
      use.memory += plan.memory[i]!;
      use.disk += plan.disk[i]!;
      use.plans++;
    }
  }

  remove(plan: PackedPlan): void {
    for (const [i, node] of plan.nodes.entries()) {
      const use = plan.checks[i] === NodeCheck.Counted ? this.#counted.get(node) : undefined;
      if (use === undefined) {
        this.#whole.delete(node);
        continue;
      }
      use.plans--;
      if (use.plans === 0) {
        this.#counted.delete(node);
        continue;
      }
      use.cpu -= plan.cpu[i]!;
      use.memory -= plan.memory[i]!;
      use.disk -= plan.disk[i]!;
    }
  }
}
