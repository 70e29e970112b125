/** Follows an evaluation to its end, as `job run` and `job stop` show it. */
import type { AllocListStub, Evaluation } from "@drover/plugin-sdk";
import type { ApiClient } from "./client.js";
import { failedGroups, failedGroupTitle, metricLines } from "./commands/evaluation-text.js";
import { shortId } from "./format.js";
import type { CommandIo } from "./io.js";

export interface MonitorOptions {
  /** Whole ids. */
  readonly verbose?: boolean;
  /** Go on, for people who watch, until the evaluation's allocations have started. */
  readonly followAllocations?: boolean;
}

/** How long one blocking query waits, and how long allocations are followed. */
const WAIT = "5s";
const FOLLOW_LIMIT = 60_000;

export class Monitor {
  readonly #length: boolean;
  readonly #seen = new Map<string, string>();

  constructor(
    private readonly client: ApiClient,
    private readonly io: CommandIo,
    private readonly options: MonitorOptions = {},
  ) {
    this.#length = options.verbose === true;
  }

  /**
   * Prints what happens to the evaluation, and to those that follow it. Gives the exit code: 0 when all was placed, 2
   * when something was not, 1 when an evaluation failed.
   */
  async follow(evaluationId: string): Promise<number> {
    let failures = false;
    for (let id = evaluationId; ; ) {
      const evaluation = await this.#one(id);
      failures ||= failedGroups(evaluation).length > 0;
      const next = evaluation.NextEval;
      if (next === undefined || next === "") {
        if (evaluation.Status === "failed" || evaluation.Status === "canceled") return 1;
        if (failures) return 2;
        if (this.options.followAllocations === true) await this.#followAllocations(evaluation.ID);
        return 0;
      }
      const wait = evaluation.Wait ?? 0;
      this.#info(`Monitoring next evaluation "${this.#id(next)}"${wait > 0 ? ` in ${wait / 1e9}s` : ""}`);
      id = next;
    }
  }

  async #one(id: string): Promise<Evaluation> {
    this.#info(`Monitoring evaluation "${this.#id(id)}"`);
    let status = "";
    let deployment = "";
    for (let index = 0; ; ) {
      const answer = await this.client.get<Evaluation>(`/v1/evaluation/${id}`, { index, wait: WAIT });
      const evaluation = answer.value;
      index = answer.index;
      if (status === "") this.#trigger(evaluation);
      if ((evaluation.DeploymentID ?? "") !== deployment) {
        deployment = evaluation.DeploymentID ?? "";
        this.#output(`Evaluation within deployment: "${this.#id(deployment)}"`);
      }
      await this.#allocations(id, evaluation.CreateIndex);
      const before = status === "" ? "pending" : status;
      if (evaluation.Status !== before)
        this.#output(`Evaluation status changed: "${before}" -> "${evaluation.Status}"`);
      status = evaluation.Status;
      if (status === "pending" || status === "") continue;
      this.#end(evaluation);
      return evaluation;
    }
  }

  #trigger(evaluation: Evaluation): void {
    if (evaluation.NodeID) this.#output(`Evaluation triggered by node "${this.#id(evaluation.NodeID)}"`);
    else this.#output(`Evaluation triggered by job "${evaluation.JobID}"`);
  }

  /** Says what is new about the evaluation's allocations; gives how many have not started yet. */
  async #allocations(id: string, since: number): Promise<number> {
    const { value } = await this.client.get<AllocListStub[]>(`/v1/evaluation/${id}/allocations`);
    for (const alloc of value) {
      const known = this.#seen.get(alloc.ID);
      this.#seen.set(alloc.ID, alloc.ClientStatus);
      if (known === undefined) {
        const verb = alloc.CreateIndex < since ? "modified" : "created";
        this.#output(
          `Allocation "${this.#id(alloc.ID)}" ${verb}: node "${this.#id(alloc.NodeID)}", group "${alloc.TaskGroup}"`,
        );
      } else if (known !== alloc.ClientStatus) {
        const why = alloc.ClientDescription === "" ? "" : ` (${alloc.ClientDescription})`;
        this.#output(
          `Allocation "${this.#id(alloc.ID)}" status changed: "${known}" -> "${alloc.ClientStatus}"${why}`,
        );
      }
    }
    return value.filter((alloc) => alloc.DesiredStatus === "run" && alloc.ClientStatus === "pending").length;
  }

  #end(evaluation: Evaluation): void {
    const finished = `Evaluation "${this.#id(evaluation.ID)}" finished with status "${evaluation.Status}"`;
    const failed = failedGroups(evaluation);
    if (failed.length === 0) {
      this.#info(finished);
      return;
    }
    this.#info(`${finished} but failed to place all allocations:`);
    for (const [group, metric] of failed) {
      this.#output(failedGroupTitle(group, metric));
      for (const line of metricLines(metric)) this.#output(`  ${line}`);
    }
    if (evaluation.BlockedEval) {
      this.#output(
        `Evaluation "${this.#id(evaluation.BlockedEval)}" waiting for additional capacity to place remainder`,
      );
    }
  }

  async #followAllocations(id: string): Promise<void> {
    const deadline = this.io.now() + FOLLOW_LIMIT;
    const path = `/v1/evaluation/${id}/allocations`;
    for (let index = 0; ; ) {
      const waiting = await this.#allocations(id, 0);
      if (waiting === 0) return;
      if (this.io.now() >= deadline) {
        this.#output(`${waiting} allocations are still pending: see "drover alloc status" for why`);
        return;
      }
      index = (await this.client.get(path, { index, wait: WAIT })).index;
    }
  }

  #id(id: string): string {
    return shortId(id, this.#length);
  }

  #info(text: string): void {
    this.io.out(`==> ${text}`);
  }

  #output(text: string): void {
    this.io.out(`    ${text}`);
  }
}
