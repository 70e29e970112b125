/** The evaluations that a scheduler writes: the outcome of its own, and those that go on later. */
import type { SchedulerContext } from "../contracts/scheduler.js";
import type { AllocMetric } from "../domain/allocation.js";
import {
  BLOCKED_EVAL_FAILED_PLACEMENTS,
  BLOCKED_EVAL_MAX_PLANS,
  EvalStatus,
  EvalTrigger,
  type Evaluation,
} from "../domain/evaluation.js";
import { seededUUID } from "./random.js";
import type { FollowUp } from "./reconcile-types.js";
import { finishedEvaluation, successorEvaluation } from "./rows.js";

const NANOSECONDS = 1e6;

/** How the last attempt at an evaluation ended. */
export interface EvaluationOutcome {
  /** By group: why it found no place. */
  readonly failed: Record<string, AllocMetric>;
  /** By group: how many have no place yet. */
  readonly queued: Record<string, number>;
  readonly annotations: Evaluation["PlanAnnotations"];
  /** The newest deployment of the job; "" for none. */
  readonly deploymentId: string;
  readonly eligibility: { readonly classes: Readonly<Record<string, boolean>>; readonly escaped: boolean };
}

export class EvaluationWriter {
  readonly #context: SchedulerContext;
  readonly #snapshotIndex: number;
  readonly #now: number;
  /** Follow-up evaluations already made, by their time: a second attempt uses them again. */
  readonly #followUps = new Map<number, string>();

  constructor(context: SchedulerContext) {
    this.#context = context;
    this.#snapshotIndex = context.state.index;
    this.#now = context.now * NANOSECONDS;
  }

  /** One delayed evaluation for each batch of allocations that are replaced later. Returns its id by allocation. */
  async followUp(followUps: readonly FollowUp[]): Promise<Map<string, string>> {
    const ids = new Map<string, string>();
    for (const { waitUntil, allocations } of followUps) {
      let id = this.#followUps.get(waitUntil);
      if (id === undefined) {
        const later = this.#create("followup", waitUntil, EvalTrigger.RetryFailedAlloc, EvalStatus.Pending);
        later.StatusDescription = "created for delayed rescheduling";
        later.WaitUntil = new Date(Math.ceil(waitUntil / NANOSECONDS)).toISOString();
        await this.#context.createEvaluation(later);
        id = later.ID;
        this.#followUps.set(waitUntil, id);
      }
      for (const allocation of allocations) ids.set(allocation.ID, id);
    }
    return ids;
  }

  /** Writes the outcome, and a blocked evaluation for what found no place. */
  async complete(outcome: EvaluationOutcome): Promise<void> {
    const { failed, queued } = outcome;
    if (Object.keys(failed).length === 0) return this.#finish(EvalStatus.Complete, "", "", outcome);
    if (this.#context.evaluation.Status === EvalStatus.Blocked)
      return this.#reblock(outcome, { FailedTGAllocs: failed, QueuedAllocations: queued });
    const blocked = await this.#block(EvalTrigger.QueuedAllocs, BLOCKED_EVAL_FAILED_PLACEMENTS, outcome);
    return this.#finish(EvalStatus.Complete, "", blocked, outcome);
  }

  /** Ends after too many refused plans. The rest is tried again when the cluster changes. */
  async giveUp(attempts: number, outcome: EvaluationOutcome): Promise<void> {
    if (this.#context.evaluation.Status === EvalStatus.Blocked) return this.#reblock(outcome, {});
    const blocked = await this.#block(EvalTrigger.MaxPlans, BLOCKED_EVAL_MAX_PLANS, outcome);
    return this.#finish(EvalStatus.Failed, `maximum attempts reached (${attempts})`, blocked, outcome);
  }

  #reblock(outcome: EvaluationOutcome, change: Partial<Evaluation>): Promise<void> {
    const { deploymentId } = outcome;
    return this.#context.reblockEvaluation({
      ...this.#context.evaluation,
      ...eligibility(outcome),
      ...change,
      ...(deploymentId === "" ? {} : { DeploymentID: deploymentId }),
      SnapshotIndex: this.#context.state.index,
      ModifyTime: this.#now,
    });
  }

  async #block(trigger: EvalTrigger, description: string, outcome: EvaluationOutcome): Promise<string> {
    const blocked = this.#create("blocked", trigger, trigger, EvalStatus.Blocked);
    blocked.StatusDescription = description;
    Object.assign(blocked, eligibility(outcome));
    if (Object.keys(outcome.failed).length > 0) blocked.FailedTGAllocs = outcome.failed;
    blocked.SnapshotIndex = this.#context.state.index;
    await this.#context.createEvaluation(blocked);
    return blocked.ID;
  }

  #create(kind: string, seed: string | number, trigger: EvalTrigger, status: EvalStatus): Evaluation {
    const { evaluation, state } = this.#context;
    const id = seededUUID(kind, evaluation.ID, state.index, seed);
    return successorEvaluation(evaluation, id, trigger, status, this.#now);
  }

  async #finish(
    status: EvalStatus,
    description: string,
    blockedEval: string,
    { failed, queued, annotations, deploymentId }: EvaluationOutcome,
  ): Promise<void> {
    const finished = finishedEvaluation(this.#context.evaluation, {
      status,
      description,
      failed,
      queued,
      blockedEval,
      annotations,
      snapshotIndex: this.#snapshotIndex,
      now: this.#now,
    });
    if (deploymentId !== "") finished.DeploymentID = deploymentId;
    await this.#context.updateEvaluation(finished);
  }
}

function eligibility({
  eligibility: { classes, escaped },
}: EvaluationOutcome): Pick<Evaluation, "ClassEligibility" | "EscapedComputedClass"> {
  return escaped ? { EscapedComputedClass: true } : { ClassEligibility: { ...classes } };
}
