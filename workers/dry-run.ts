/** A scheduler's work on a job that is not registered: what it would have done is gathered, and nothing is written. */
import {
  type Allocation,
  AllocClientStatus,
  allocIsTerminal,
  type DesiredUpdates,
  type DryRunOutcome,
  type DryRunTask,
  EvalStatus,
  type Evaluation,
  type Job,
  type Logger,
  type NodeColumns,
  type Placer,
  type Plan,
  type PlanAnnotations,
  type PlanResult,
  type PreemptedAllocStub,
  type Scheduler,
  type SchedulerContext,
  type StateSnapshot,
} from "@drover/plugin-sdk";
import { createPlan } from "@drover/plugin-sdk/scheduling";
import { ColumnPlacer } from "./placement/index.js";
import { SubmittedJobSnapshot } from "./submitted-job.js";
import type { ThreadParts } from "./task-context.js";

/**
 * Lets the scheduler work as if the job had been registered after `snapshot`, which is closed in the end. Rejects with what
 * the scheduler threw, or once the task's budget is spent.
 */
export async function runDry(
  scheduler: Scheduler,
  parts: ThreadParts,
  task: DryRunTask,
  snapshot: StateSnapshot,
): Promise<DryRunOutcome> {
  const state = new SubmittedJobSnapshot(snapshot, task.job, task.evaluation);
  const context = new DryRunContext(parts, task, state);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(budgetSpent(task)), task.budget);
  });
  try {
    await Promise.race([scheduler.process(context), late]);
    return context.outcome();
  } finally {
    clearTimeout(timer);
    state.close();
  }
}

function budgetSpent({ job, budget }: DryRunTask): Error {
  return new Error(
    `the scheduler was not done with job "${job.ID}" after ${budget / 1000} s: dry runs are bounded, a registration is not`,
  );
}

/** The context of one dry run: plans are answered with everything committed, evaluations kept aside. */
class DryRunContext implements SchedulerContext {
  readonly evaluation: Evaluation;
  readonly log: Logger;
  readonly now: number;
  readonly state: StateSnapshot;
  readonly #parts: ThreadParts;
  readonly #task: DryRunTask;
  readonly #deadline: number;
  readonly #plans: Plan[] = [];
  readonly #created: Evaluation[] = [];
  #final: Evaluation | null = null;

  constructor(parts: ThreadParts, task: DryRunTask, state: StateSnapshot) {
    this.evaluation = task.evaluation;
    this.now = task.now;
    this.log = parts.log.child({ evaluation: task.evaluation.ID, job: task.job.ID, dryRun: true });
    this.state = state;
    this.#parts = parts;
    this.#task = task;
    this.#deadline = performance.now() + task.budget;
  }

  get columns(): NodeColumns {
    return this.#parts.columns;
  }

  newPlan(job: Job | null): Plan {
    return createPlan(this.evaluation, "", job, this.state.index);
  }

  placer(plan: Plan): Placer {
    const { columns, underway } = this.#parts;
    const { state, evaluation } = this;
    const taken = underway.room();
    const placer = new ColumnPlacer({
      columns,
      state,
      plan,
      evaluation,
      taken,
      ...this.#parts.select(plan.Job),
    });
    // Schedulers don't look at the clock, and a timer gets no turn before they are done with a plan.
    return {
      place: (request) => {
        this.#checkBudget();
        return placer.place(request);
      },
      fitInPlace: (allocation, job, group) => {
        this.#checkBudget();
        return placer.fitInPlace(allocation, job, group);
      },
      classEligibility: () => placer.classEligibility(),
    };
  }

  async submitPlan(plan: Plan): Promise<{ readonly result: PlanResult; readonly refreshed: boolean }> {
    this.#checkBudget();
    this.#plans.push(plan);
    const result: PlanResult = {
      AllocIndex: this.state.index,
      Deployment: plan.Deployment,
      DeploymentUpdates: plan.DeploymentUpdates,
      NodeAllocation: plan.NodeAllocation,
      NodePreemptions: plan.NodePreemptions,
      NodeUpdate: plan.NodeUpdate,
      RefreshIndex: 0,
      RejectedNodes: [],
    };
    return { result, refreshed: false };
  }

  async updateEvaluation(evaluation: Evaluation): Promise<void> {
    if (evaluation.ID === this.evaluation.ID) this.#final = evaluation;
  }

  async createEvaluation(evaluation: Evaluation): Promise<void> {
    this.#created.push(evaluation);
  }

  async reblockEvaluation(evaluation: Evaluation): Promise<void> {
    this.#final = evaluation;
  }

  outcome(): DryRunOutcome {
    const final = this.#final;
    const failed = final?.FailedTGAllocs ?? this.#created.find((one) => one.FailedTGAllocs)?.FailedTGAllocs;
    return {
      annotations: this.#annotations(),
      createdEvals: this.#created,
      failedGroups: failed === undefined || Object.keys(failed).length === 0 ? null : failed,
      failure: final?.Status === EvalStatus.Failed ? final.StatusDescription || "the evaluation failed" : "",
    };
  }

  /** The scheduler's own; of one that doesn't annotate, what can be read from its plans. */
  #annotations(): PlanAnnotations {
    const given = this.#plans.findLast((plan) => plan.Annotations !== null)?.Annotations;
    const preempted = this.#plans.flatMap((plan) => Object.values(plan.NodePreemptions).flat());
    return {
      DesiredTGUpdates: given?.DesiredTGUpdates ?? this.#countedUpdates(),
      PreemptedAllocs:
        given?.PreemptedAllocs ?? (preempted.length === 0 ? null : preempted.map(preemptedStub)),
    };
  }

  #countedUpdates(): Record<string, DesiredUpdates> {
    const { Namespace, ID, TaskGroups } = this.#task.job;
    const updates = new Map<string, DesiredUpdates>();
    const of = (group: string): DesiredUpdates => {
      const known = updates.get(group) ?? emptyUpdates();
      updates.set(group, known);
      return known;
    };
    for (const group of TaskGroups) of(group.Name);
    const all = <K extends "NodeAllocation" | "NodeUpdate" | "NodePreemptions">(key: K): Allocation[] =>
      this.#plans.flatMap((plan) => Object.values(plan[key]).flat());
    const stopped = new Map(all("NodeUpdate").map((allocation) => [allocation.ID, allocation]));
    const touched = new Set(stopped.keys());
    const groupOf = new Map<string, string>();
    for (const placed of all("NodeAllocation")) {
      groupOf.set(placed.ID, placed.TaskGroup);
      touched.add(placed.ID);
      const replaced = placed.PreviousAllocation ?? "";
      if (this.state.allocation(placed.ID) !== null) of(placed.TaskGroup).InPlaceUpdate++;
      else if (stopped.get(replaced)?.ClientStatus === AllocClientStatus.Running) {
        stopped.delete(replaced);
        of(placed.TaskGroup).DestructiveUpdate++;
      } else of(placed.TaskGroup).Place++;
    }
    for (const allocation of stopped.values()) of(allocation.TaskGroup).Stop++;
    for (const { PreemptedByAllocation } of all("NodePreemptions")) {
      const group = groupOf.get(PreemptedByAllocation ?? "");
      if (group !== undefined) of(group).Preemptions++;
    }
    for (const allocation of this.state.allocationOutlines(Namespace, ID)) {
      if (!allocIsTerminal(allocation) && !touched.has(allocation.ID)) of(allocation.TaskGroup).Ignore++;
    }
    return Object.fromEntries(updates);
  }

  #checkBudget(): void {
    if (performance.now() > this.#deadline) throw budgetSpent(this.#task);
  }
}

function preemptedStub(allocation: Allocation): PreemptedAllocStub {
  const { ID, JobID, Name, Namespace, NodeID, TaskGroup } = allocation;
  return { ID, JobID, Name, Namespace, NodeID, TaskGroup };
}

function emptyUpdates(): DesiredUpdates {
  return {
    Canary: 0,
    DestructiveUpdate: 0,
    Ignore: 0,
    InPlaceUpdate: 0,
    Migrate: 0,
    Place: 0,
    Preemptions: 0,
    Stop: 0,
  };
}
