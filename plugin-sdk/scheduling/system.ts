/**
 * A scheduler of jobs that have an allocation on every feasible node: reconcile, place node by node, submit, and again
 * when part of the plan was refused. A node without room gets a blocked evaluation of its own.
 * Source: https://developer.hashicorp.com/nomad/docs/schedulers
 */

import type { Placement, Placer, Scheduler, SchedulerContext } from "../contracts/scheduler.js";
import type { Allocation, AllocMetric } from "../domain/allocation.js";
import { wholeAllocation } from "../domain/allocation.js";
import {
  BLOCKED_EVAL_FAILED_PLACEMENTS,
  BLOCKED_EVAL_MAX_PLANS,
  EvalStatus,
  EvalTrigger,
  type Evaluation,
} from "../domain/evaluation.js";
import { allocName } from "../domain/ids.js";
import { type Job, jobStopped, type TaskGroup } from "../domain/job.js";
import { type Plan, type PreemptedAllocStub, planIsNoOp } from "../domain/plan.js";
import { type AttemptOutcome, attemptUntilDone, type EvaluationRun } from "./attempts.js";
import { coalesceFailure } from "./metrics.js";
import { cancelStop, isFullCommit, placeAllocation, preemptFor, stopAllocation } from "./plan.js";
import { partsOf } from "./plan-parts.js";
import { PlanIds, seededUUID } from "./random.js";
import { AllocDescription } from "./reconcile-types.js";
import { parseTime } from "./reschedule.js";
import { finishedEvaluation, newAllocation, successorEvaluation, updatedInPlace } from "./rows.js";
import { systemNodes } from "./system-nodes.js";
import { reconcileSystem, type SystemPlaceDecision, type SystemReconciliation } from "./system-reconcile.js";
import { updateKinds } from "./update-kind.js";

export interface SystemSchedulerOptions {
  /** Job type it handles. */
  readonly type: string;
  /** Allocations run to completion: those that ended are done until the job changes. */
  readonly batch: boolean;
  /** Plans in a row of which nothing may be committed before it gives up; default 5, with `batch` 2. */
  readonly maxAttempts?: number;
}

const NANOSECONDS = 1e6;
const SYSTEM_ATTEMPTS = 5;
const BATCH_ATTEMPTS = 2;
/** Evaluations on their way to the leader at the same time. */
const WRITES_AT_ONCE = 100;

/** A scheduler for jobs of `type`. Register it as `Scheduler`. */
export function systemScheduler(options: SystemSchedulerOptions): Scheduler {
  const maxAttempts = options.maxAttempts ?? (options.batch ? BATCH_ATTEMPTS : SYSTEM_ATTEMPTS);
  return {
    type: options.type,
    process: (context) => attemptUntilDone(new Run(context, options.batch), maxAttempts),
  };
}

/** The work on one evaluation. */
class Run implements EvaluationRun {
  readonly #context: SchedulerContext;
  readonly #batch: boolean;
  readonly #now: number;
  readonly #firstIndex: number;
  /** The one node that the evaluation waited for: nothing else of the job is looked at. */
  readonly #onlyNode: string | null;
  #attempts = 0;
  /** Index of the state that the present attempt decides on. */
  #decidedAt: number;
  #failed: Record<string, AllocMetric> = {};
  #queued: Record<string, number> = {};
  /** Ids of the nodes that lack room. */
  #exhausted = new Set<string>();
  #annotations: Evaluation["PlanAnnotations"];
  #nextEval = "";
  #ids!: PlanIds;

  constructor(context: SchedulerContext, batch: boolean) {
    const { evaluation, state } = context;
    this.#context = context;
    this.#batch = batch;
    this.#now = context.now * NANOSECONDS;
    this.#firstIndex = state.index;
    this.#decidedAt = state.index;
    this.#onlyNode = (evaluation.Status === EvalStatus.Blocked && evaluation.NodeID) || null;
  }

  async attempt(): Promise<AttemptOutcome> {
    const { evaluation, state } = this.#context;
    this.#attempts++;
    this.#decidedAt = state.index;
    this.#failed = {};
    this.#queued = {};
    this.#exhausted = new Set();
    const job = state.job(evaluation.Namespace, evaluation.JobID);
    const plan = this.#context.newPlan(job);
    this.#ids = new PlanIds("allocation", evaluation.ID, plan.SnapshotIndex, this.#attempts);
    const placer = this.#context.placer(plan);
    const fitted = new Map<string, Placement>();
    const holdUpdates = this.#updateWaits();
    const { nodes, standing } = systemNodes(this.#context, job, this.#onlyNode);
    const changes = reconcileSystem({
      job,
      batch: this.#batch,
      allocations: this.#allocations(),
      nodes,
      holdUpdates,
      standing,
      updateKind: updateKinds(state, placer, fitted),
    });

    for (const { allocation, description, clientStatus } of changes.stop) {
      stopAllocation(plan, allocation, {
        description,
        ...(clientStatus === undefined ? {} : { clientStatus }),
      });
    }
    for (const { allocation } of changes.inPlace) {
      const placement = fitted.get(allocation.ID)!;
      placeAllocation(
        plan,
        updatedInPlace(wholeAllocation(allocation), { evaluation, job: job!, placement, now: this.#now }),
      );
    }
    if (job !== null && !jobStopped(job)) for (const group of job.TaskGroups) this.#queued[group.Name] = 0;
    const preempted = job === null ? [] : this.#place(plan, placer, job, changes);
    if (changes.rollAfter !== null && !holdUpdates && this.#nextEval === "")
      await this.#rollOn(changes.rollAfter);
    if (evaluation.AnnotatePlan === true) {
      const { desired } = changes;
      plan.Annotations = {
        DesiredTGUpdates: desired,
        PreemptedAllocs: preempted.length === 0 ? null : preempted,
      };
      this.#annotations = plan.Annotations;
    }
    if (planIsNoOp(plan) && evaluation.AnnotatePlan !== true) return "done";
    return this.#submit(plan);
  }

  /** Writes the outcome, and a blocked evaluation for each node without room. */
  async complete(): Promise<void> {
    const { evaluation } = this.#context;
    const own = this.#onlyNode;
    if (own !== null && this.#exhausted.has(own)) {
      return this.#context.reblockEvaluation({
        ...evaluation,
        FailedTGAllocs: this.#failed,
        QueuedAllocations: this.#allQueued(),
        SnapshotIndex: this.#decidedAt,
        ModifyTime: this.#now,
      });
    }
    const blocked = [...this.#exhausted].map((node) => this.#blockedOn(node));
    for (let at = 0; at < blocked.length; at += WRITES_AT_ONCE) {
      const some = blocked.slice(at, at + WRITES_AT_ONCE);
      await Promise.all(some.map((one) => this.#context.createEvaluation(one)));
    }
    return this.#finish(EvalStatus.Complete, "", blocked[0]?.ID ?? "");
  }

  /** Ends after too many refused plans. The rest is tried again when the cluster changes. */
  async giveUp(attempts: number): Promise<void> {
    const { evaluation } = this.#context;
    if (evaluation.Status === EvalStatus.Blocked) {
      return this.#context.reblockEvaluation({
        ...evaluation,
        SnapshotIndex: this.#decidedAt,
        ModifyTime: this.#now,
      });
    }
    const blocked = this.#successor("max-plans", EvalTrigger.MaxPlans, EvalStatus.Blocked);
    blocked.StatusDescription = BLOCKED_EVAL_MAX_PLANS;
    blocked.ClassEligibility = {};
    blocked.SnapshotIndex = this.#decidedAt;
    await this.#context.createEvaluation(blocked);
    return this.#finish(EvalStatus.Failed, `maximum attempts reached (${attempts})`, blocked.ID);
  }

  #allocations(): Allocation[] {
    const { evaluation, state } = this.#context;
    const { Namespace, JobID } = evaluation;
    if (this.#onlyNode === null) return state.allocationsByJob(Namespace, JobID);
    return state
      .allocationsByNode(this.#onlyNode)
      .filter((one) => one.JobID === JobID && one.Namespace === Namespace);
  }

  /** Places what is to be placed; returns those that must leave for it. */
  #place(plan: Plan, placer: Placer, job: Job, changes: SystemReconciliation): PreemptedAllocStub[] {
    const preempted: PreemptedAllocStub[] = [];
    // Updates come first: what they free serves the others.
    for (const { allocation, group } of changes.destructive) {
      stopAllocation(plan, allocation, { description: AllocDescription.Updating });
      const previous = wholeAllocation(allocation);
      const decision = { group, nodeId: allocation.NodeID, previous };
      const placed = this.#placeOne(plan, placer, job, decision, changes, preempted);
      if (placed === "placed") continue;
      cancelStop(plan, allocation);
      // The node doesn't meet the constraints any more. Where there is only no room, the old version runs on.
      if (placed === "filtered")
        stopAllocation(plan, allocation, { description: AllocDescription.NotNeeded });
    }
    for (const decision of changes.place) {
      const placed = this.#placeOne(plan, placer, job, decision, changes, preempted);
      const desired = changes.desired[decision.group.Name];
      if (placed === "filtered" && desired !== undefined && desired.Place > 0) desired.Place--;
    }
    return preempted;
  }

  #placeOne(
    plan: Plan,
    placer: Placer,
    job: Job,
    decision: SystemPlaceDecision,
    changes: SystemReconciliation,
    preempted: PreemptedAllocStub[],
  ): "placed" | "filtered" | "exhausted" {
    const { group, nodeId, previous } = decision;
    const name = allocName(job.ID, group.Name, 0);
    const placement = placer.place({ job, group, name, previous, onlyNode: nodeId });
    if ("failed" in placement) {
      // A node that the constraints rule out is none of the job's: nothing failed there.
      if (placement.failed.NodesExhausted === 0) return "filtered";
      this.#queued[group.Name] = (this.#queued[group.Name] ?? 0) + 1;
      this.#exhausted.add(nodeId);
      this.#fail(group, placement.failed);
      return "exhausted";
    }
    const id = this.#ids.next();
    const { evaluation } = this.#context;
    const allocation = newAllocation({ id, name, evaluation, job, group, placement, now: this.#now });
    if (previous !== null) allocation.PreviousAllocation = previous.ID;
    const victims = preemptFor(plan, allocation, placement.preempted ?? []);
    preempted.push(...victims);
    const desired = changes.desired[group.Name];
    if (desired !== undefined) desired.Preemptions += victims.length;
    placeAllocation(plan, allocation);
    this.#queued[group.Name] = (this.#queued[group.Name] ?? 0) + 1;
    return "placed";
  }

  /** Adds the failure on one node to those of the group. */
  #fail(group: TaskGroup, metric: AllocMetric): void {
    const total = this.#failed[group.Name];
    if (total === undefined) {
      this.#failed[group.Name] = metric;
      return;
    }
    coalesceFailure(total, group);
    total.NodesEvaluated += metric.NodesEvaluated;
    total.NodesFiltered += metric.NodesFiltered;
    total.NodesExhausted += metric.NodesExhausted;
    total.DimensionExhausted = added(total.DimensionExhausted, metric.DimensionExhausted);
    total.ClassExhausted = added(total.ClassExhausted, metric.ClassExhausted);
    total.QuotaExhausted = [...new Set([...(total.QuotaExhausted ?? []), ...(metric.QuotaExhausted ?? [])])];
    if (total.QuotaExhausted.length === 0) total.QuotaExhausted = null;
  }

  /** Hands the plan in, in parts of some nodes each unless it is to be all or nothing. */
  async #submit(plan: Plan): Promise<AttemptOutcome> {
    let full = true;
    let progress = false;
    for (const part of partsOf(plan)) {
      const { result } = await this.#context.submitPlan(part);
      for (const { CreateIndex, TaskGroup } of Object.values(result.NodeAllocation).flat()) {
        // New ones; those updated in place have been there before.
        if (CreateIndex === 0) this.#queued[TaskGroup] = (this.#queued[TaskGroup] ?? 1) - 1;
      }
      full &&= isFullCommit(part, result);
      progress ||= !planIsNoOp(result);
    }
    return full ? "done" : progress ? "progress" : "refused";
  }

  /** The follow-up that makes the next destructive updates after the stagger. */
  async #rollOn(stagger: number): Promise<void> {
    const next = this.#successor("rolling", EvalTrigger.RollingUpdate, EvalStatus.Pending);
    next.WaitUntil = new Date(Math.ceil((this.#now + stagger) / NANOSECONDS)).toISOString();
    await this.#context.createEvaluation(next);
    this.#nextEval = next.ID;
  }

  /** Whether another evaluation waits to go on with a rolling update of the job. */
  #updateWaits(): boolean {
    const { evaluation, state } = this.#context;
    return state
      .evaluationsByJob(evaluation.Namespace, evaluation.JobID)
      .some(
        (other) =>
          other.ID !== evaluation.ID &&
          other.ID !== this.#nextEval &&
          other.Status === EvalStatus.Pending &&
          other.TriggeredBy === EvalTrigger.RollingUpdate &&
          parseTime(other.WaitUntil ?? "") > this.#now,
      );
  }

  /** A blocked evaluation that waits for room on one node. */
  #blockedOn(nodeId: string): Evaluation {
    const blocked = this.#successor(`blocked ${nodeId}`, EvalTrigger.QueuedAllocs, EvalStatus.Blocked);
    blocked.NodeID = nodeId;
    blocked.StatusDescription = BLOCKED_EVAL_FAILED_PLACEMENTS;
    blocked.SnapshotIndex = this.#decidedAt;
    return blocked;
  }

  #successor(kind: string, trigger: EvalTrigger, status: EvalStatus): Evaluation {
    const { evaluation } = this.#context;
    const id = seededUUID(kind, evaluation.ID, this.#decidedAt, this.#attempts);
    return successorEvaluation(evaluation, id, trigger, status, this.#now);
  }

  /** Queued allocations of the whole job; an evaluation of one node changes only that node's share. */
  #allQueued(): Record<string, number> {
    if (this.#onlyNode === null) return this.#queued;
    const { evaluation, state } = this.#context;
    const summary = state.jobSummary(evaluation.Namespace, evaluation.JobID)?.Summary ?? {};
    return Object.fromEntries(
      Object.entries(this.#queued).map(([group, own]) => [group, Math.max(own, summary[group]?.Queued ?? 0)]),
    );
  }

  async #finish(status: EvalStatus, description: string, blockedEval: string): Promise<void> {
    const finished = finishedEvaluation(this.#context.evaluation, {
      status,
      description,
      failed: this.#failed,
      // Of one node: the summary was told by the commit of its plan.
      queued: this.#onlyNode === null ? this.#queued : {},
      blockedEval,
      annotations: this.#annotations,
      snapshotIndex: this.#firstIndex,
      now: this.#now,
    });
    if (this.#nextEval !== "") finished.NextEval = this.#nextEval;
    await this.#context.updateEvaluation(finished);
  }
}

function added(
  a: Record<string, number> | null,
  b: Record<string, number> | null,
): Record<string, number> | null {
  if (a === null || b === null) return a ?? b;
  const sum = { ...a };
  for (const [key, count] of Object.entries(b)) sum[key] = (sum[key] ?? 0) + count;
  return sum;
}
