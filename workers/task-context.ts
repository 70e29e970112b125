/** What a scheduler sees of one evaluation: a snapshot, the columns, and the way back to the main thread. */
import { setTimeout as delay } from "node:timers/promises";
import type {
  Evaluation,
  Job,
  Logger,
  NodeColumns,
  PackedPlanResult,
  Placer,
  Plan,
  PlanResult,
  SchedulerContext,
  SchedulingTask,
  StateSnapshot,
} from "@drover/plugin-sdk";
import { createPlan } from "@drover/plugin-sdk/scheduling";
import { onlyCounts, packPlan } from "../core/state/read/index.js";
import type { MainPort } from "./main-port.js";
import { ColumnPlacer } from "./placement/index.js";
import type { PlacementParts } from "./selector.js";
import type { UnderwayPlans } from "./underway.js";

/** What the tasks of a thread share. */
export interface ThreadParts {
  snapshot(): StateSnapshot;
  readonly columns: NodeColumns;
  readonly underway: UnderwayPlans;
  /** Filters and scorers for a plan's job. */
  select(job: Job | null): PlacementParts;
  readonly log: Logger;
}

const NANOSECONDS = 1e6;
/** Milliseconds to wait for an index that the main thread says is committed. */
const INDEX_DEADLINE = 5_000;
const INDEX_POLL = 2;

/** A snapshot that contains the index. The main thread committed it before it spoke of it, so waiting is the exception. */
export async function snapshotAt(
  parts: Pick<ThreadParts, "snapshot">,
  index: number,
): Promise<StateSnapshot> {
  const deadline = performance.now() + INDEX_DEADLINE;
  for (;;) {
    const snapshot = parts.snapshot();
    if (snapshot.index >= index) return snapshot;
    const seen = snapshot.index;
    snapshot.close();
    if (performance.now() > deadline) {
      throw new Error(
        `state is at index ${seen} after ${INDEX_DEADLINE / 1000} s, the evaluation needs ${index}`,
      );
    }
    await delay(INDEX_POLL);
  }
}

export class TaskContext implements SchedulerContext {
  readonly evaluation: Evaluation;
  readonly log: Logger;
  readonly now: number;
  readonly #parts: ThreadParts;
  readonly #token: string;
  readonly #main: MainPort;
  #state: StateSnapshot;

  constructor(parts: ThreadParts, task: SchedulingTask, main: MainPort, state: StateSnapshot) {
    this.evaluation = task.evaluation;
    this.now = task.now;
    this.log = parts.log.child({ evaluation: task.evaluation.ID, job: task.evaluation.JobID });
    this.#parts = parts;
    this.#token = task.token;
    this.#main = main;
    this.#state = state;
  }

  get state(): StateSnapshot {
    return this.#state;
  }

  get columns(): NodeColumns {
    return this.#parts.columns;
  }

  newPlan(job: Job | null): Plan {
    return createPlan(this.evaluation, this.#token, job, this.#state.index);
  }

  placer(plan: Plan): Placer {
    return new ColumnPlacer({
      columns: this.#parts.columns,
      state: this.#state,
      plan,
      evaluation: this.evaluation,
      taken: this.#parts.underway.room(),
      ...this.#parts.select(plan.Job),
    });
  }

  async submitPlan(plan: Plan): Promise<{ readonly result: PlanResult; readonly refreshed: boolean }> {
    const { underway } = this.#parts;
    const counted = onlyCounts(plan);
    // The next evaluation is on its way here while the plan is packed.
    if (counted) this.#main.decided();
    const packed = packPlan(plan, Date.now() * NANOSECONDS);
    if (counted) underway.add(packed, this.#main);
    const result = await this.#main.request(
      { kind: "plan", plan: packed },
      packed.commands.map(({ buffer }) => buffer),
      () => underway.remove(packed),
    );
    if (result === null)
      throw new Error(`plan of evaluation ${this.evaluation.ID} was answered without a result`);
    if (result.refreshIndex === 0) return { result: committedPart(plan, result), refreshed: false };
    const newer = await snapshotAt(this.#parts, result.refreshIndex);
    this.#state.close();
    this.#state = newer;
    return { result: committedPart(plan, result), refreshed: true };
  }

  async updateEvaluation(evaluation: Evaluation): Promise<void> {
    await this.#main.request({ kind: "evaluation.update", evaluation });
  }

  async createEvaluation(evaluation: Evaluation): Promise<void> {
    await this.#main.request({ kind: "evaluation.create", evaluation });
  }

  async reblockEvaluation(evaluation: Evaluation): Promise<void> {
    await this.#main.request({ kind: "evaluation.reblock", evaluation });
  }

  close(): void {
    this.#state.close();
  }
}

/** What of a plan was committed: all but the nodes that were refused, or nothing where all depends on all. */
function committedPart(plan: Plan, result: PackedPlanResult): PlanResult {
  const refused = new Set(result.refused);
  const nothing = plan.AllAtOnce && refused.size > 0;
  const without = (lists: Plan["NodeAllocation"]): Plan["NodeAllocation"] => {
    if (refused.size === 0) return lists;
    return nothing ? {} : Object.fromEntries(Object.entries(lists).filter(([node]) => !refused.has(node)));
  };
  return {
    AllocIndex: result.index,
    Deployment: nothing ? null : plan.Deployment,
    DeploymentUpdates: nothing ? [] : plan.DeploymentUpdates,
    NodeAllocation: without(plan.NodeAllocation),
    NodePreemptions: without(plan.NodePreemptions),
    NodeUpdate: without(plan.NodeUpdate),
    RefreshIndex: result.refreshIndex,
    RejectedNodes: [...result.refused],
  };
}
