/**
 * A scheduler of long-running or of finite jobs, made of the blocks in this folder: reconcile, place, submit, and again
 * when part of the plan was refused; what finds no place waits in a blocked evaluation.
 * Source: https://developer.hashicorp.com/nomad/docs/concepts/scheduling/scheduling
 */
import type { Placement, Placer, Scheduler, SchedulerContext } from "../contracts/scheduler.js";
import {
  type Allocation,
  AllocClientStatus,
  AllocDesiredStatus,
  type AllocMetric,
} from "../domain/allocation.js";
import {
  BLOCKED_EVAL_FAILED_PLACEMENTS,
  BLOCKED_EVAL_MAX_PLANS,
  EvalStatus,
  EvalTrigger,
  type Evaluation,
} from "../domain/evaluation.js";
import { type Job, jobStopped, type TaskGroup } from "../domain/job.js";
import { type Plan, type PlanResult, planIsNoOp } from "../domain/plan.js";
import { tasksUpdated } from "./job-diff.js";
import { coalesceFailure } from "./metrics.js";
import { cancelStop, placeAllocation, stopAllocation } from "./plan.js";
import { PlanIds, seededUUID } from "./random.js";
import {
  AllocDescription,
  type PlaceDecision,
  type Reconciliation,
  reconcile,
  type UpdateKind,
} from "./reconcile.js";
import { failedNodes, nextTracker, parseTime } from "./reschedule.js";

export interface GenericSchedulerOptions {
  /** Job type it handles. */
  readonly type: string;
  /** Completed allocations are done: they are not run again, and updates replace all at once. */
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
    async process(context) {
      const run = new Run(context, options.batch);
      let left = maxAttempts;
      while (left > 0) {
        const outcome = await run.attempt();
        if (outcome === "done") return run.complete();
        left = outcome === "progress" ? maxAttempts : left - 1;
      }
      return run.giveUp(maxAttempts);
    },
  };
}

/** How an attempt ended: all committed, some of it, nothing. */
type Outcome = "done" | "progress" | "refused";

/** The work on one evaluation. */
class Run {
  readonly #context: SchedulerContext;
  readonly #batch: boolean;
  readonly #snapshotIndex: number;
  readonly #now: number;
  #attempts = 0;
  #placer: Placer | null = null;
  #failed: Record<string, AllocMetric> = {};
  #queued: Record<string, number> = {};
  #annotations: Evaluation["PlanAnnotations"];
  #nextEval = "";
  #ids!: PlanIds;
  /** Follow-up evaluations already made, by their time: a second attempt uses them again. */
  readonly #followUps = new Map<number, string>();

  constructor(context: SchedulerContext, batch: boolean) {
    this.#context = context;
    this.#batch = batch;
    this.#snapshotIndex = context.state.index;
    this.#now = context.now * NANOSECONDS;
  }

  async attempt(): Promise<Outcome> {
    const { evaluation, state } = this.#context;
    this.#attempts++;
    this.#failed = {};
    this.#queued = {};
    const job = state.job(evaluation.Namespace, evaluation.JobID);
    const plan = this.#context.newPlan(job);
    // The plan's snapshot is a seed too: another delivery of the evaluation must not meet what this one committed.
    this.#ids = new PlanIds("allocation", evaluation.ID, plan.SnapshotIndex, this.#attempts);
    const placer = this.#context.placer(plan);
    this.#placer = placer;

    const fitted = new Map<string, Placement>();
    const holdUpdates = this.#updateWaits();
    const changes = reconcile({
      job,
      evaluationId: evaluation.ID,
      batch: this.#batch,
      allocations: state.allocationsByJob(evaluation.Namespace, evaluation.JobID),
      now: this.#now,
      holdUpdates,
      node: cached((id: string) => state.node(id)),
      updateKind: this.#updateKind(placer, fitted),
      followupWaits: (id) => state.evaluation(id)?.Status === EvalStatus.Pending,
    });

    for (const { allocation, description, clientStatus } of changes.stop) {
      stopAllocation(
        plan,
        allocation,
        clientStatus === undefined ? { description } : { description, clientStatus },
      );
    }
    for (const { allocation } of changes.inPlace) {
      placeAllocation(plan, this.#updatedInPlace(allocation, job!, fitted.get(allocation.ID)!));
    }
    await this.#scheduleFollowUps(plan, changes);
    if (job !== null && !jobStopped(job)) for (const group of job.TaskGroups) this.#queued[group.Name] = 0;
    const placed = this.#place(plan, placer, job, changes);
    if (changes.rollAfter !== null && !holdUpdates && this.#nextEval === "")
      await this.#rollOn(changes.rollAfter);
    if (evaluation.AnnotatePlan === true) {
      plan.Annotations = { DesiredTGUpdates: changes.desired, PreemptedAllocs: null };
      this.#annotations = plan.Annotations;
    }

    if (planIsNoOp(plan) && evaluation.AnnotatePlan !== true) return "done";
    const { result } = await this.#context.submitPlan(plan);
    for (const { ID, TaskGroup, NodeID } of placed) {
      const committed = result.NodeAllocation[NodeID]?.some((allocation) => allocation.ID === ID) === true;
      if (committed) this.#queued[TaskGroup] = (this.#queued[TaskGroup] ?? 1) - 1;
    }
    if (isFullCommit(plan, result)) return "done";
    return Object.keys(result.NodeUpdate).length + Object.keys(result.NodeAllocation).length > 0
      ? "progress"
      : "refused";
  }

  /** Writes the outcome, and a blocked evaluation for what found no place. */
  async complete(): Promise<void> {
    const { evaluation } = this.#context;
    if (Object.keys(this.#failed).length === 0) return this.#finish(EvalStatus.Complete, "", "");
    if (evaluation.Status === EvalStatus.Blocked) {
      return this.#context.reblockEvaluation({
        ...evaluation,
        ...this.#eligibility(),
        FailedTGAllocs: this.#failed,
        QueuedAllocations: this.#queued,
        SnapshotIndex: this.#context.state.index,
        ModifyTime: this.#now,
      });
    }
    const blocked = await this.#block(EvalTrigger.QueuedAllocs, BLOCKED_EVAL_FAILED_PLACEMENTS);
    return this.#finish(EvalStatus.Complete, "", blocked);
  }

  /** Ends after too many refused plans. The rest is tried again when the cluster changes. */
  async giveUp(attempts: number): Promise<void> {
    const { evaluation } = this.#context;
    if (evaluation.Status === EvalStatus.Blocked) {
      return this.#context.reblockEvaluation({
        ...evaluation,
        ...this.#eligibility(),
        SnapshotIndex: this.#context.state.index,
        ModifyTime: this.#now,
      });
    }
    const blocked = await this.#block(EvalTrigger.MaxPlans, BLOCKED_EVAL_MAX_PLANS);
    return this.#finish(EvalStatus.Failed, `maximum attempts reached (${attempts})`, blocked);
  }

  #updateKind(
    placer: Placer,
    fitted: Map<string, Placement>,
  ): (allocation: Allocation, job: Job, group: TaskGroup) => UpdateKind {
    const { state } = this.#context;
    const destructive = new Map<string, boolean>();
    return (allocation, job, group) => {
      // Of a job with the same name that was purged since.
      if ((allocation.JobCreateIndex ?? job.CreateIndex) !== job.CreateIndex) return "destructive";
      if (allocation.JobVersion === job.Version) return "ignore";
      const key = `${allocation.JobVersion} ${group.Name}`;
      let replace = destructive.get(key);
      if (replace === undefined) {
        const before = state.allocationJob(allocation);
        replace = before === null || tasksUpdated(before, job, group.Name);
        destructive.set(key, replace);
      }
      if (replace) return "destructive";
      const placement = placer.fitInPlace(allocation, job, group);
      if (placement === null) return "destructive";
      fitted.set(allocation.ID, placement);
      return "in-place";
    };
  }

  /** Places what is to be placed; returns the new allocations. */
  #place(plan: Plan, placer: Placer, job: Job | null, changes: Reconciliation): Allocation[] {
    const placed: Allocation[] = [];
    if (job === null) return placed;
    const count = (group: TaskGroup): void => {
      this.#queued[group.Name] = (this.#queued[group.Name] ?? 0) + 1;
    };
    // Updates come first: what they free serves the others.
    for (const { allocation, group } of changes.destructive) {
      count(group);
      if (this.#coalesced(group)) continue;
      stopAllocation(plan, allocation, { description: AllocDescription.Updating });
      const decision = { group, name: allocation.Name, previous: allocation, reschedule: false };
      const replacement = this.#placeOne(plan, placer, job, decision);
      if (replacement === null) cancelStop(plan, allocation);
      else placed.push(replacement);
    }
    for (const decision of changes.place) {
      count(decision.group);
      if (this.#coalesced(decision.group)) continue;
      const allocation = this.#placeOne(plan, placer, job, decision);
      if (allocation !== null) placed.push(allocation);
    }
    return placed;
  }

  /** Counts a further failure of a group that failed already: it would fail for the same reasons. */
  #coalesced(group: TaskGroup): boolean {
    const metric = this.#failed[group.Name];
    if (metric === undefined) return false;
    coalesceFailure(metric, group);
    return true;
  }

  #placeOne(plan: Plan, placer: Placer, job: Job, decision: PlaceDecision): Allocation | null {
    const { group, name, previous, reschedule } = decision;
    const sticky = previous !== null && group.EphemeralDisk.Sticky && !reschedule;
    const placement = placer.place({
      job,
      group,
      name,
      previous,
      ...(reschedule && previous !== null ? { penaltyNodes: failedNodes(previous) } : {}),
      ...(sticky ? { preferredNode: previous.NodeID } : {}),
    });
    if ("failed" in placement) {
      this.#failed[group.Name] = placement.failed;
      return null;
    }
    const allocation = this.#newAllocation(job, decision, placement);
    placeAllocation(plan, allocation);
    return allocation;
  }

  #newAllocation(job: Job, decision: PlaceDecision, placement: Placement): Allocation {
    const { group, name, previous, reschedule } = decision;
    const { evaluation } = this.#context;
    const allocation: Allocation = {
      AllocModifyIndex: 0,
      AllocatedResources: placement.resources,
      ClientDescription: "",
      ClientStatus: AllocClientStatus.Pending,
      CreateIndex: 0,
      CreateTime: this.#now,
      DeploymentID: "",
      DeploymentStatus: null,
      DesiredStatus: AllocDesiredStatus.Run,
      EvalID: evaluation.ID,
      ID: this.#ids.next(),
      Job: null,
      JobCreateIndex: job.CreateIndex,
      JobID: job.ID,
      JobVersion: job.Version,
      Metrics: placement.metrics,
      ModifyIndex: 0,
      ModifyTime: this.#now,
      Name: name,
      Namespace: job.Namespace,
      NetworkStatus: null,
      NodeID: placement.nodeId,
      NodeName: placement.nodeName,
      TaskGroup: group.Name,
      TaskStates: null,
    };
    if (previous !== null) {
      allocation.PreviousAllocation = previous.ID;
      if (reschedule) allocation.RescheduleTracker = nextTracker(group.ReschedulePolicy, previous, this.#now);
    }
    return allocation;
  }

  #updatedInPlace(allocation: Allocation, job: Job, placement: Placement): Allocation {
    return {
      ...allocation,
      EvalID: this.#context.evaluation.ID,
      Job: null,
      JobVersion: job.Version,
      AllocatedResources: placement.resources,
      Metrics: placement.metrics,
      ModifyTime: this.#now,
    };
  }

  /** One delayed evaluation for each batch of failed allocations that are to be rescheduled later. */
  async #scheduleFollowUps(plan: Plan, changes: Reconciliation): Promise<void> {
    for (const { waitUntil, allocations } of changes.followUps) {
      let id = this.#followUps.get(waitUntil);
      if (id === undefined) {
        const followUp = this.#newEvaluation(
          "followup",
          waitUntil,
          EvalTrigger.RetryFailedAlloc,
          EvalStatus.Pending,
        );
        followUp.StatusDescription = "created for delayed rescheduling";
        followUp.WaitUntil = new Date(Math.ceil(waitUntil / NANOSECONDS)).toISOString();
        await this.#context.createEvaluation(followUp);
        id = followUp.ID;
        this.#followUps.set(waitUntil, id);
      }
      for (const allocation of allocations)
        placeAllocation(plan, { ...allocation, Job: null, FollowupEvalID: id });
    }
  }

  /** The follow-up that makes the next destructive updates after the stagger. */
  async #rollOn(stagger: number): Promise<void> {
    const next = this.#newEvaluation("rolling", this.#now, EvalTrigger.RollingUpdate, EvalStatus.Pending);
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

  async #block(trigger: EvalTrigger, description: string): Promise<string> {
    const blocked = this.#newEvaluation("blocked", trigger, trigger, EvalStatus.Blocked);
    blocked.StatusDescription = description;
    Object.assign(blocked, this.#eligibility());
    if (Object.keys(this.#failed).length > 0) blocked.FailedTGAllocs = this.#failed;
    blocked.SnapshotIndex = this.#context.state.index;
    await this.#context.createEvaluation(blocked);
    return blocked.ID;
  }

  #eligibility(): Pick<Evaluation, "ClassEligibility" | "EscapedComputedClass"> {
    const eligibility = this.#placer?.classEligibility();
    if (eligibility === undefined) return {};
    return eligibility.escaped
      ? { EscapedComputedClass: true }
      : { ClassEligibility: { ...eligibility.classes } };
  }

  #newEvaluation(kind: string, seed: string | number, trigger: EvalTrigger, status: EvalStatus): Evaluation {
    const { evaluation } = this.#context;
    return {
      CreateIndex: 0,
      CreateTime: this.#now,
      ID: seededUUID(kind, evaluation.ID, this.#context.state.index, this.#attempts, seed),
      JobID: evaluation.JobID,
      ModifyIndex: 0,
      ModifyTime: this.#now,
      Namespace: evaluation.Namespace,
      PreviousEval: evaluation.ID,
      Priority: evaluation.Priority,
      Status: status,
      TriggeredBy: trigger,
      Type: evaluation.Type,
    };
  }

  async #finish(status: EvalStatus, description: string, blockedEval: string): Promise<void> {
    const { evaluation } = this.#context;
    const finished: Evaluation = {
      ...evaluation,
      Status: status,
      ModifyTime: this.#now,
      SnapshotIndex: this.#snapshotIndex,
    };
    if (description !== "") finished.StatusDescription = description;
    else delete finished.StatusDescription;
    delete finished.FailedTGAllocs;
    if (Object.keys(this.#failed).length > 0) finished.FailedTGAllocs = this.#failed;
    if (Object.keys(this.#queued).length > 0) finished.QueuedAllocations = this.#queued;
    if (blockedEval !== "") finished.BlockedEval = blockedEval;
    if (this.#nextEval !== "") finished.NextEval = this.#nextEval;
    if (this.#annotations !== undefined) finished.PlanAnnotations = this.#annotations;
    await this.#context.updateEvaluation(finished);
  }
}

/** Whether everything the plan asked for was committed. */
function isFullCommit(plan: Plan, result: PlanResult): boolean {
  const count = (lists: Record<string, Allocation[]>): number =>
    Object.values(lists).reduce((sum, list) => sum + list.length, 0);
  return (
    count(result.NodeAllocation) === count(plan.NodeAllocation) &&
    count(result.NodeUpdate) === count(plan.NodeUpdate)
  );
}

function cached<K, V>(read: (key: K) => V): (key: K) => V {
  const known = new Map<K, V>();
  return (key) => {
    let value = known.get(key);
    if (value === undefined) {
      value = read(key);
      known.set(key, value);
    }
    return value;
  };
}
