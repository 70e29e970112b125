/**
 * What a scheduler from elsewhere is given: the same context, with everything it hands back looked at first. The first fault
 * is kept and ends the evaluation, also where the scheduler catches the exception.
 */
import type {
  Evaluation,
  Job,
  Logger,
  NodeColumns,
  Placer,
  Plan,
  PlanResult,
  SchedulerContext,
  StateSnapshot,
} from "@drover/plugin-sdk";
import { EvalStatus } from "@drover/plugin-sdk";
import { checkPlan } from "@drover/plugin-sdk/scheduling";
import { type Culprit, PluginFault } from "./plugin-fault.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const STATUSES: ReadonlySet<unknown> = new Set(Object.values(EvalStatus));
/** Plans of one evaluation that may be refused in part; a scheduler that plans on for ever is out of its mind. */
const MAX_REFUSED = 50;

export class StrictContext implements SchedulerContext {
  readonly #inner: SchedulerContext;
  readonly #culprit: Culprit;
  readonly #token: string;
  #fault: PluginFault | undefined;
  #refused = 0;
  /** Nodes that were refused of the last plan, until a new plan is begun. */
  #unplanned: readonly string[] = [];

  constructor(inner: SchedulerContext, token: string, culprit: Culprit) {
    this.#inner = inner;
    this.#token = token;
    this.#culprit = culprit;
  }

  /** The first thing that the scheduler got wrong. */
  get fault(): PluginFault | undefined {
    return this.#fault;
  }

  get evaluation(): Evaluation {
    return this.#inner.evaluation;
  }

  get state(): StateSnapshot {
    return this.#inner.state;
  }

  get columns(): NodeColumns {
    return this.#inner.columns;
  }

  get log(): Logger {
    return this.#inner.log;
  }

  get now(): number {
    return this.#inner.now;
  }

  newPlan(job: Job | null): Plan {
    this.#unplanned = [];
    return this.#inner.newPlan(job);
  }

  placer(plan: Plan): Placer {
    return this.#inner.placer(plan);
  }

  async submitPlan(plan: Plan): Promise<{ readonly result: PlanResult; readonly refreshed: boolean }> {
    this.#mayGoOn();
    const { evaluation, state } = this.#inner;
    const impossible = checkPlan(plan, { evaluation, token: this.#token, state });
    if (impossible !== null) this.#fail(impossible);
    const answer = await this.#inner.submitPlan(plan);
    if (answer.refreshed) {
      this.#unplanned = answer.result.RejectedNodes;
      this.#refused++;
      if (this.#refused > MAX_REFUSED) {
        this.#fail(
          `more than ${MAX_REFUSED} of its plans were refused, the last one for ${nodes(this.#unplanned)}`,
        );
      }
    }
    return answer;
  }

  async updateEvaluation(evaluation: Evaluation): Promise<void> {
    this.#check(evaluation, "update");
    if (evaluation.Status === EvalStatus.Complete && this.#unplanned.length > 0) {
      this.#fail(
        `it calls the evaluation complete, though its plan was refused for ${nodes(this.#unplanned)} and not made anew`,
      );
    }
    return this.#inner.updateEvaluation(evaluation);
  }

  async createEvaluation(evaluation: Evaluation): Promise<void> {
    this.#check(evaluation, "create");
    return this.#inner.createEvaluation(evaluation);
  }

  async reblockEvaluation(evaluation: Evaluation): Promise<void> {
    this.#check(evaluation, "update");
    return this.#inner.reblockEvaluation(evaluation);
  }

  #check(written: Evaluation, how: "create" | "update"): void {
    this.#mayGoOn();
    const own = this.#inner.evaluation;
    const given: Partial<Record<keyof Evaluation, unknown>> = written;
    if (typeof written !== "object" || written === null)
      this.#fail("it writes an evaluation that is no object");
    if (
      typeof given.ID !== "string" ||
      !UUID.test(given.ID) ||
      (given.ID === own.ID) !== (how === "update")
    ) {
      this.#fail(
        how === "update"
          ? `it writes evaluation ${String(given.ID)}, which is not the one it was given`
          : `it makes an evaluation with the ID ${String(given.ID)}, no new UUID`,
      );
    }
    for (const key of ["JobID", "Namespace", "Type"] as const) {
      if (given[key] !== own[key])
        this.#fail(`it writes an evaluation with the ${key} ${String(given[key])}; its own has ${own[key]}`);
    }
    if (!STATUSES.has(given.Status))
      this.#fail(`it writes an evaluation with the status ${String(given.Status)}`);
    if (!Number.isInteger(given.Priority) || typeof given.TriggeredBy !== "string")
      this.#fail("it writes an evaluation without Priority or TriggeredBy");
  }

  #mayGoOn(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }

  #fail(what: string): never {
    this.#fault ??= new PluginFault(`${this.#culprit}: ${what}`);
    throw this.#fault;
  }
}

/** Some of the nodes in words. */
function nodes(ids: readonly string[]): string {
  const more = ids.length - 3;
  return `node ${ids.slice(0, 3).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
