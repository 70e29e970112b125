import { setImmediate as nextTurn } from "node:timers/promises";
import type {
  Allocation,
  Evaluation,
  Logger,
  Metrics,
  PackedPlan,
  PackedPlanResult,
  StateReader,
  StateSnapshot,
} from "@drover/plugin-sdk";
import { NodeCheck, NodeStatusBit } from "@drover/plugin-sdk";
import {
  CommandType,
  decodeCommand,
  encodePlanCommand,
  type NodeUsage,
  PlanBlock,
  type PlanCommand,
} from "../../state/index.js";
import type { CommandLog } from "../command-log.js";
import type { EvalBroker } from "../evaluations/eval-broker.js";
import { newEvaluation } from "../nodes/node-evaluations.js";
import { checkNode } from "./evaluate-plan.js";
import { InFlightPlans } from "./in-flight.js";
import { type PendingPlan, PlanQueue } from "./plan-queue.js";

const PLACEABLE = NodeStatusBit.InUse | NodeStatusBit.Ready | NodeStatusBit.Eligible;
const STATUS_MASK = PLACEABLE | NodeStatusBit.Draining;
/** Milliseconds of checking after which the event loop has a turn. */
const CHECK_SLICE = 4;

export interface PlanApplierParts {
  readonly state: StateReader;
  readonly usage: NodeUsage;
  readonly commands: CommandLog;
  readonly broker: EvalBroker;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/**
 * Takes plans from the queue, checks each node again and commits what fits. Plans are checked in order, each against the
 * state and what the plans before it will take, so that none has to wait for another's commit where things are only
 * counted, and the log's group commit carries many.
 */
export class PlanApplier {
  readonly queue: PlanQueue;
  readonly #parts: PlanApplierParts;
  readonly #inFlight = new InFlightPlans();
  #running = false;

  constructor(parts: PlanApplierParts) {
    this.#parts = parts;
    this.queue = new PlanQueue(() => this.#pump());
  }

  /** Queues a plan of a scheduler that holds its evaluation under its token. */
  async submit(plan: PackedPlan): Promise<PackedPlanResult> {
    const { broker } = this.#parts;
    // Also refuses a plan of a delivery that timed out and went to another scheduler.
    broker.pauseNackTimeout(plan.evaluation, plan.token);
    try {
      return await this.queue.enqueue(plan);
    } finally {
      broker.resumeNackTimeout(plan.evaluation, plan.token);
    }
  }

  #pump(): void {
    if (this.#running) return;
    this.#running = true;
    // After the present turn, so that plans that arrive together are ordered by priority.
    setImmediate(() => {
      this.#running = false;
      this.#startPlans();
    });
  }

  /** Starts what can be started, for as long as the event loop can spare. */
  #startPlans(): void {
    const until = performance.now() + CHECK_SLICE;
    const waiting: PendingPlan[] = [];
    const blocked = new Set<string>();
    for (let next = this.queue.dequeue(); next !== undefined; next = this.queue.dequeue()) {
      const { nodes } = next.plan;
      if (nodes.some((node) => blocked.has(node)) || this.#inFlight.conflicts(next.plan)) {
        // Its nodes stay blocked for the rest of this round: a later plan must not overtake on them.
        for (const node of nodes) blocked.add(node);
        waiting.push(next);
        continue;
      }
      this.#start(next);
      if (performance.now() < until) continue;
      if (this.queue.depth > 0) this.#pump();
      break;
    }
    for (const pending of waiting) this.queue.requeue(pending);
  }

  #start(pending: PendingPlan): void {
    const { plan } = pending;
    this.#apply(plan)
      .then(pending.resolve, (error: unknown) =>
        pending.reject(error instanceof Error ? error : new Error(String(error))),
      )
      .finally(() => {
        if (this.queue.depth > 0) this.#pump();
      });
  }

  async #apply(plan: PackedPlan): Promise<PackedPlanResult> {
    const { broker } = this.#parts;
    if (broker.outstandingToken(plan.evaluation) !== plan.token) {
      throw new Error(
        `plan of evaluation ${plan.evaluation} is out of date: the evaluation was delivered again`,
      );
    }
    const result = await this.#commit(plan);
    if (result.refused.length === 0) return result;
    await this.#inFlight.settled(result.refused);
    // The scheduler must see its own commit, and those that took the room, before it decides what is still missing.
    return { ...result, refreshIndex: Math.max(this.#parts.state.index(), result.index) };
  }

  /** Checks the plan and commits what fits. */
  async #commit(plan: PackedPlan): Promise<PackedPlanResult> {
    const { commands, log, metrics } = this.#parts;
    const { term } = this.queue;
    const begin = performance.now();
    const refused = this.#checkCounted(plan);
    this.#inFlight.add(plan);
    try {
      const whole = plan.checks.includes(NodeCheck.Whole);
      const payloads = whole || plan.preempts || refused.size > 0 ? await payloadsOf(plan) : null;
      if (payloads !== null && whole) await this.#checkWhole(plan, payloads, refused);
      metrics.sample("nomad.plan.evaluate", performance.now() - begin);
      for (const [node, why] of refused) {
        metrics.increment("nomad.plan.node_rejected");
        log.debug({ evaluation: plan.evaluation, node, why }, "plan refused for node");
      }
      const entries = payloads === null ? plan.commands : await this.#entries(plan, payloads, refused);
      // It was checked against what this server knew as the leader of that term; another leader may have placed since.
      if (term !== this.queue.term)
        throw new Error("this server lost leadership while the plan was being checked");
      const submitted = performance.now();
      const committed = await Promise.all(entries.map((entry) => commands.proposePlan(entry)));
      if (entries.length > 0) metrics.sample("nomad.plan.apply", performance.now() - submitted);
      const index = committed.reduce((last, one) => Math.max(last, one.index), 0);
      return { index, refreshIndex: 0, refused: [...refused.keys()] };
    } finally {
      this.#inFlight.remove(plan);
    }
  }

  /** Nodes where what is only counted doesn't fit, and why. */
  #checkCounted(plan: PackedPlan): Map<string, string> {
    const refused = new Map<string, string>();
    const { usage } = this.#parts;
    const { status, numbers } = usage;
    const { cpuTotal, cpuUsed, memoryTotal, memoryUsed, diskTotal, diskUsed } = numbers;
    for (const [i, node] of plan.nodes.entries()) {
      if (plan.checks[i] !== NodeCheck.Counted) continue;
      const row = usage.row(node);
      if (row === undefined) {
        refused.set(node, "node is gone");
        continue;
      }
      const taken = this.#inFlight.use(node);
      const fits = (total: Float64Array, used: Float64Array, more: number, asked: number): boolean =>
        used[row]! + more + asked <= total[row]!;
      if ((status[row]! & STATUS_MASK) !== PLACEABLE) refused.set(node, "node is not ready for allocations");
      else if (!fits(cpuTotal, cpuUsed, taken?.cpu ?? 0, plan.cpu[i]!)) refused.set(node, "cpu");
      else if (!fits(memoryTotal, memoryUsed, taken?.memory ?? 0, plan.memory[i]!))
        refused.set(node, "memory");
      else if (!fits(diskTotal, diskUsed, taken?.disk ?? 0, plan.disk[i]!)) refused.set(node, "disk");
    }
    return refused;
  }

  /** Looks at everything on the nodes that need it. No other plan touches them meanwhile, so it may take several turns. */
  async #checkWhole(
    plan: PackedPlan,
    payloads: readonly PlanCommand[],
    refused: Map<string, string>,
  ): Promise<void> {
    using snapshot = this.#parts.state.snapshot();
    const placed = new Map<string, Allocation[]>();
    const leaving = new Set<string>();
    for (const { Placed, Stopped, Preempted } of payloads) {
      for (const { ID } of [...Stopped, ...Preempted]) leaving.add(ID);
      for (const allocation of Placed) {
        const list = placed.get(allocation.NodeID);
        if (list === undefined) placed.set(allocation.NodeID, [allocation]);
        else list.push(allocation);
      }
    }
    let sliceEnd = performance.now() + CHECK_SLICE;
    for (const [i, node] of plan.nodes.entries()) {
      if (plan.checks[i] !== NodeCheck.Whole) continue;
      const why = checkNode(snapshot, node, { placed: placed.get(node) ?? [], leaving });
      if (why !== undefined) refused.set(node, why);
      if (performance.now() < sliceEnd) continue;
      await nextTurn();
      sliceEnd = performance.now() + CHECK_SLICE;
    }
  }

  /** What is to be committed: without the refused nodes, and with evaluations of the jobs that lose allocations. */
  async #entries(
    plan: PackedPlan,
    payloads: readonly PlanCommand[],
    refused: ReadonlyMap<string, string>,
  ): Promise<readonly Uint8Array[]> {
    if (refused.size > 0 && plan.allAtOnce) return [];
    if (refused.size === 0 && !plan.preempts) return plan.commands;
    using snapshot = this.#parts.state.snapshot();
    const accepted = ({ ID }: { readonly ID: string }): boolean => {
      const allocation = refused.size === 0 ? null : snapshot.allocation(ID);
      return allocation === null || !refused.has(allocation.NodeID);
    };
    const entries: Uint8Array[] = [];
    for (const payload of payloads) {
      const kept: PlanCommand = {
        ...payload,
        Placed: withoutNodes(payload.Placed, refused),
        Stopped: payload.Stopped.filter(accepted),
        Preempted: payload.Preempted.filter(accepted),
      };
      kept.Evaluations = preemptionEvaluations(snapshot, kept);
      if (!isEmpty(kept)) entries.push(encodePlanCommand(kept));
      await nextTurn();
    }
    return entries;
  }
}

/** A command a turn: each is some milliseconds of work. */
async function payloadsOf({ commands }: PackedPlan): Promise<PlanCommand[]> {
  const payloads: PlanCommand[] = [];
  for (const command of commands) {
    const decoded = decodeCommand(command);
    if (decoded.type !== CommandType.PlanApply) throw new Error("a plan's command is of another kind");
    payloads.push(decoded.payload);
    await nextTurn();
  }
  return payloads;
}

function withoutNodes(
  placed: PlanCommand["Placed"],
  nodes: ReadonlyMap<string, string>,
): PlanCommand["Placed"] {
  if (nodes.size === 0) return placed;
  return placed instanceof PlanBlock
    ? placed.without(nodes)
    : placed.filter(({ NodeID }) => !nodes.has(NodeID));
}

function isEmpty({ Placed, Stopped, Preempted, Deployment, DeploymentUpdates }: PlanCommand): boolean {
  return (
    Placed.length + Stopped.length + Preempted.length + DeploymentUpdates.length === 0 && Deployment === null
  );
}

/** One for each job that loses an allocation, so that it finds another place. */
function preemptionEvaluations(state: StateSnapshot, { Preempted }: PlanCommand): Evaluation[] {
  const evaluations = new Map<string, Evaluation>();
  for (const { ID } of Preempted) {
    const allocation = state.allocation(ID);
    if (allocation === null) continue;
    const key = `${allocation.Namespace}\0${allocation.JobID}`;
    const job = evaluations.has(key) ? null : state.job(allocation.Namespace, allocation.JobID);
    if (job !== null && !job.Stop) evaluations.set(key, newEvaluation(job, "preemption"));
  }
  return [...evaluations.values()];
}
