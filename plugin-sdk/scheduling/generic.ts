/**
 * A scheduler of long-running or of finite jobs, made of the blocks in this folder: reconcile, place, submit, and again
 * when part of the plan was refused; what finds no place waits in a blocked evaluation.
 * Source: https://developer.hashicorp.com/nomad/docs/concepts/scheduling/scheduling
 */
import {
  NodeStatusBit,
  type Placement,
  type Placer,
  type Scheduler,
  type SchedulerContext,
} from "../contracts/scheduler.js";
import { wholeAllocation } from "../domain/allocation.js";
import type { Deployment } from "../domain/deployment.js";
import { EvalStatus } from "../domain/evaluation.js";
import { jobStopped } from "../domain/job.js";
import { nodeTerminal } from "../domain/node.js";
import { type Plan, planIsNoOp } from "../domain/plan.js";
import { type AttemptOutcome, attemptUntilDone, type EvaluationRun } from "./attempts.js";
import { EvaluationWriter } from "./generic-evaluations.js";
import { PlanFiller } from "./generic-placing.js";
import { isFullCommit, placeAllocation, stopAllocation } from "./plan.js";
import { PlanIds, seededUUID } from "./random.js";
import { reconcile } from "./reconcile.js";
import type { NodePresence, Reconciliation } from "./reconcile-types.js";
import { updateKinds } from "./update-kind.js";

export interface GenericSchedulerOptions {
  /** Job type it handles. */
  readonly type: string;
  /** Completed allocations are done: they are not run again, updates replace all at once, and nothing is deployed. */
  readonly batch: boolean;
  /** Plans in a row of which nothing may be committed before it gives up; default 5, batch 2. */
  readonly maxAttempts?: number;
}

const NANOSECONDS = 1e6;
const SERVICE_ATTEMPTS = 5;
const BATCH_ATTEMPTS = 2;

/** A scheduler for jobs of `type`. Register it as `Scheduler`. */
export function genericScheduler(options: GenericSchedulerOptions): Scheduler {
  const maxAttempts = options.maxAttempts ?? (options.batch ? BATCH_ATTEMPTS : SERVICE_ATTEMPTS);
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
  readonly #evaluations: EvaluationWriter;
  #attempts = 0;
  #placer: Placer | null = null;
  #filler: PlanFiller | null = null;
  #annotations: Plan["Annotations"] = null;
  #deploymentId = "";

  constructor(context: SchedulerContext, batch: boolean) {
    this.#context = context;
    this.#batch = batch;
    this.#now = context.now * NANOSECONDS;
    this.#evaluations = new EvaluationWriter(context);
  }

  async attempt(): Promise<AttemptOutcome> {
    const { evaluation, state } = this.#context;
    this.#attempts++;
    const job = state.job(evaluation.Namespace, evaluation.JobID);
    const plan = this.#context.newPlan(job);
    // The plan's snapshot is a seed too: another delivery of the evaluation must not meet what this one committed.
    const seeds = [evaluation.ID, plan.SnapshotIndex, this.#attempts] as const;
    const placer = this.#context.placer(plan);
    this.#placer = placer;

    const fitted = new Map<string, Placement>();
    const deployments = this.#batch ? [] : state.deploymentsByJob(evaluation.Namespace, evaluation.JobID);
    const changes = reconcile({
      job,
      evaluationId: evaluation.ID,
      batch: this.#batch,
      allocations: state.allocationOutlines(evaluation.Namespace, evaluation.JobID),
      deployments,
      newDeploymentId: seededUUID("deployment", ...seeds),
      now: this.#now,
      node: this.#nodePresence(),
      updateKind: updateKinds(state, placer, fitted),
      followupWaits: (id) => state.evaluation(id)?.Status === EvalStatus.Pending,
    });
    this.#deploymentId = newestId(deployments);

    await this.#stop(plan, changes);
    plan.Deployment = changes.newDeployment;
    plan.DeploymentUpdates = changes.deploymentUpdates;
    const { deployment } = changes;
    const ids = new PlanIds("allocation", ...seeds);
    this.#filler =
      job === null || jobStopped(job)
        ? null
        : new PlanFiller({ context: this.#context, plan, placer, job, deployment, ids, now: this.#now });
    for (const { allocation, group } of changes.inPlace)
      this.#filler?.updateInPlace(wholeAllocation(allocation), group, fitted.get(allocation.ID)!);
    this.#filler?.place(changes);
    if (evaluation.AnnotatePlan === true) this.#annotate(plan, changes);

    if (planIsNoOp(plan) && evaluation.AnnotatePlan !== true) return "done";
    const { result } = await this.#context.submitPlan(plan);
    if (result.Deployment !== null) this.#deploymentId = result.Deployment.ID;
    this.#filler?.committed(result);
    if (isFullCommit(plan, result)) return "done";
    return planIsNoOp(result) ? "refused" : "progress";
  }

  complete(): Promise<void> {
    return this.#evaluations.complete(this.#outcome());
  }

  giveUp(attempts: number): Promise<void> {
    return this.#evaluations.giveUp(attempts, this.#outcome());
  }

  #outcome(): Parameters<EvaluationWriter["complete"]>[0] {
    return {
      failed: this.#filler?.failed ?? {},
      queued: this.#filler?.queued ?? {},
      annotations: this.#annotations ?? undefined,
      deploymentId: this.#deploymentId,
      eligibility: this.#placer?.classEligibility() ?? { classes: {}, escaped: false },
    };
  }

  /** Stops what is to go, and notes in what waits for its replacement which evaluation will make it. */
  async #stop(plan: Plan, changes: Reconciliation): Promise<void> {
    const followUps = await this.#evaluations.followUp(changes.followUps);
    for (const { allocation, description, clientStatus } of changes.stop) {
      const followupEvalId = followUps.get(allocation.ID);
      stopAllocation(plan, allocation, {
        description,
        ...(clientStatus === undefined ? {} : { clientStatus }),
        ...(followupEvalId === undefined ? {} : { followupEvalId }),
      });
      followUps.delete(allocation.ID);
    }
    for (const { allocations } of changes.followUps) {
      for (const allocation of allocations) {
        const id = followUps.get(allocation.ID);
        if (id !== undefined)
          placeAllocation(plan, { ...wholeAllocation(allocation), Job: null, FollowupEvalID: id });
      }
    }
  }

  #annotate(plan: Plan, { desired }: Reconciliation): void {
    const preempted = this.#filler?.preempted ?? [];
    for (const { group } of preempted) {
      const updates = desired[group];
      if (updates !== undefined) updates.Preemptions++;
    }
    this.#annotations = {
      DesiredTGUpdates: desired,
      PreemptedAllocs: preempted.length === 0 ? null : preempted.map(({ stub }) => stub),
    };
    plan.Annotations = this.#annotations;
  }

  /** Most nodes are ready, and the columns tell that without reading the node; of the others each is read once. */
  #nodePresence(): (id: string) => NodePresence {
    const { state, columns } = this.#context;
    const { status } = columns;
    const known = new Map<string, NodePresence>();
    return (id) => {
      const row = columns.row(id);
      if (row !== undefined && ((status[row] ?? 0) & NodeStatusBit.Ready) !== 0) return "up";
      let presence = known.get(id);
      if (presence === undefined) {
        const node = state.node(id);
        presence = node === null ? "unknown" : nodeTerminal(node) ? "down" : "up";
        known.set(id, presence);
      }
      return presence;
    };
  }
}

function newestId(deployments: readonly Deployment[]): string {
  let newest: Deployment | undefined;
  for (const deployment of deployments) {
    if (newest === undefined || deployment.CreateIndex > newest.CreateIndex) newest = deployment;
  }
  return newest?.ID ?? "";
}
