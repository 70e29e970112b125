import type { Allocation, Logger, Metrics, Plan, PlanResult, StateReader } from "@drover/plugin-sdk";
import { planIsNoOp } from "@drover/plugin-sdk";
import type { AllocationStop } from "../../state/index.js";
import { CommandType } from "../../state/index.js";
import { type CommandLog, unixNanos } from "../command-log.js";
import type { EvalBroker } from "../evaluations/eval-broker.js";
import { evaluatePlan, nodesOf } from "./evaluate-plan.js";
import { type PendingPlan, PlanQueue } from "./plan-queue.js";

/**
 * Takes plans from the queue, checks each node again and commits what fits. Plans are checked one after the other, but
 * a plan whose nodes no plan under way touches need not wait for that one's commit: what it is checked against can't
 * change. So the log's group commit carries many plans at once.
 */
export class PlanApplier {
  readonly queue: PlanQueue;
  /** Nodes of plans proposed and not yet applied. */
  readonly #busy = new Set<string>();
  #running = false;

  constructor(
    private readonly state: StateReader,
    private readonly log: CommandLog,
    private readonly broker: EvalBroker,
    private readonly logger: Logger,
    private readonly metrics: Metrics,
  ) {
    this.queue = new PlanQueue(() => this.#pump());
  }

  /** Queues a plan of a scheduler that holds `plan.EvalID` under `plan.EvalToken`. */
  async submit(plan: Plan): Promise<PlanResult> {
    // Also refuses a plan of a delivery that timed out and went to another scheduler.
    this.broker.pauseNackTimeout(plan.EvalID, plan.EvalToken);
    try {
      return await this.queue.enqueue(plan);
    } finally {
      this.broker.resumeNackTimeout(plan.EvalID, plan.EvalToken);
    }
  }

  #pump(): void {
    if (this.#running) return;
    this.#running = true;
    // After the present turn, so that plans that arrive together are ordered by priority.
    setImmediate(() => {
      this.#running = false;
      const waiting: PendingPlan[] = [];
      const blocked = new Set<string>();
      for (let next = this.queue.dequeue(); next !== undefined; next = this.queue.dequeue()) {
        const nodes = nodesOf(next.plan);
        let free = true;
        for (const node of nodes) if (this.#busy.has(node) || blocked.has(node)) free = false;
        if (free) this.#start(next, nodes);
        else {
          // Its nodes stay blocked for the rest of this round: a later plan must not overtake on them.
          for (const node of nodes) blocked.add(node);
          waiting.push(next);
        }
      }
      for (const pending of waiting) this.queue.requeue(pending);
    });
  }

  #start(pending: PendingPlan, nodes: ReadonlySet<string>): void {
    for (const node of nodes) this.#busy.add(node);
    this.#apply(pending.plan)
      .then(pending.resolve, (error: unknown) =>
        pending.reject(error instanceof Error ? error : new Error(String(error))),
      )
      .finally(() => {
        for (const node of nodes) this.#busy.delete(node);
        if (this.queue.depth > 0) this.#pump();
      });
  }

  async #apply(plan: Plan): Promise<PlanResult> {
    if (this.broker.outstandingToken(plan.EvalID) !== plan.EvalToken) {
      throw new Error(`plan of evaluation ${plan.EvalID} is out of date: the evaluation was delivered again`);
    }
    const begin = performance.now();
    using snapshot = this.state.snapshot();
    const { result, refused } = evaluatePlan(snapshot, plan);
    this.metrics.sample("nomad.plan.evaluate", performance.now() - begin);
    for (const [node, why] of refused) {
      this.metrics.increment("nomad.plan.node_rejected");
      this.logger.debug({ evaluation: plan.EvalID, node, why }, "plan refused for node");
    }
    if (planIsNoOp(result)) return result;
    const submitted = performance.now();
    const { index } = await this.log.propose(CommandType.PlanApply, {
      EvalID: plan.EvalID,
      Placed: Object.values(result.NodeAllocation).flat(),
      Stopped: Object.values(result.NodeUpdate).flat().map(stopOf),
      Preempted: Object.values(result.NodePreemptions).flat().map(stopOf),
      Deployment: result.Deployment,
      DeploymentUpdates: result.DeploymentUpdates,
      Evaluations: [],
      Time: unixNanos(),
    });
    this.metrics.sample("nomad.plan.apply", performance.now() - submitted);
    result.AllocIndex = index;
    // The scheduler must see its own commit before it decides what is still missing.
    if (result.RefreshIndex > 0) result.RefreshIndex = Math.max(result.RefreshIndex, index);
    return result;
  }
}

function stopOf(allocation: Allocation): AllocationStop {
  return {
    ID: allocation.ID,
    DesiredStatus: allocation.DesiredStatus === "evict" ? "evict" : "stop",
    DesiredDescription: allocation.DesiredDescription ?? "",
    ...(allocation.ClientStatus === "lost" ? { ClientStatus: allocation.ClientStatus } : {}),
    ...(allocation.FollowupEvalID ? { FollowupEvalID: allocation.FollowupEvalID } : {}),
    ...(allocation.PreemptedByAllocation ? { PreemptedByAllocation: allocation.PreemptedByAllocation } : {}),
  };
}
