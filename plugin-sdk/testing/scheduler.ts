/** Running schedulers in tests: a leader in memory. */

import assert from "node:assert/strict";
import type { Placer, Scheduler, SchedulerContext } from "../contracts/scheduler.js";
import {
  type Allocation,
  AllocClientStatus,
  AllocStateField,
  allocIsTerminal,
  type Deployment,
  DeploymentStatus,
  DeploymentStatusDescription,
  type Evaluation,
  type Job,
  nodeReady,
  type Plan,
  type PlanResult,
} from "../domain/index.js";
import { createPlan, nodeFits } from "../scheduling/index.js";
import { makeEvaluation } from "./fixtures.js";
import { MemoryState } from "./memory-state.js";
import { quietLogger } from "./quiet.js";
import { type PlacerScope, ScanPlacer } from "./scan-placer.js";

export interface SchedulerHarnessOptions {
  /** The placer of plans; default `ScanPlacer`. */
  readonly placer?: (scope: PlacerScope) => Placer;
  /** Refuses a node's part of a plan although it would fit; plays the plans of other schedulers. */
  readonly refuse?: (nodeId: string, plan: Plan) => boolean;
  /** Milliseconds since the Unix epoch; default 1,800,000,000,000. */
  readonly now?: number;
}

/** The scheduler under test. */
export interface SchedulerSubject {
  /** The scheduler, as a thread would make it. */
  create(): Scheduler;
  /** The placer it is given; default `ScanPlacer`. */
  readonly placer?: (scope: PlacerScope) => Placer;
}

/** What a scheduler did about one evaluation. */
export interface SchedulerRun {
  readonly plans: Plan[];
  readonly results: PlanResult[];
  readonly updated: Evaluation[];
  readonly created: Evaluation[];
  readonly reblocked: Evaluation[];
  /** New allocations that were committed. */
  readonly placed: Allocation[];
}

/** A leader in memory: checks and applies plans, stores evaluations. */
export class SchedulerHarness {
  readonly state = new MemoryState();
  /** Milliseconds since the Unix epoch. */
  now: number;
  readonly #placer: (scope: PlacerScope) => Placer;
  readonly #refuse: (nodeId: string, plan: Plan) => boolean;

  constructor(options: SchedulerHarnessOptions = {}) {
    this.#placer = options.placer ?? ((scope) => new ScanPlacer(scope));
    this.#refuse = options.refuse ?? (() => false);
    this.now = options.now ?? 1_800_000_000_000;
  }

  /** Registers the job and lets the scheduler work on an evaluation of it. */
  register(scheduler: Scheduler, job: Job): Promise<SchedulerRun> {
    return this.run(scheduler, makeEvaluation(this.state.putJob(job)));
  }

  async run(scheduler: Scheduler, evaluation: Evaluation): Promise<SchedulerRun> {
    const { state } = this;
    state.putEvaluation(evaluation);
    const run = emptyRun();
    const write = (list: Evaluation[]) => async (changed: Evaluation) => {
      list.push(changed);
      state.putEvaluation(changed);
    };
    await scheduler.process({
      ...this.#context(state.evaluation(evaluation.ID)!),
      // What crosses to the leader is a copy.
      submitPlan: async (plan) => {
        const result = this.#apply(structuredClone(plan), run);
        run.plans.push(plan);
        run.results.push(result);
        return { result, refreshed: result.RefreshIndex > 0 };
      },
      updateEvaluation: write(run.updated),
      createEvaluation: write(run.created),
      reblockEvaluation: write(run.reblocked),
    });
    return run;
  }

  /** What the scheduler would do about an evaluation if all of its plan were committed; nothing is stored. */
  async dryRun(scheduler: Scheduler, evaluation: Evaluation): Promise<SchedulerRun> {
    const run = emptyRun();
    const note = (list: Evaluation[]) => async (changed: Evaluation) => void list.push(changed);
    await scheduler.process({
      ...this.#context(evaluation),
      submitPlan: async (plan) => {
        const result: PlanResult = { ...plan, AllocIndex: 1, RefreshIndex: 0, RejectedNodes: [] };
        run.plans.push(plan);
        run.results.push(result);
        run.placed.push(
          ...Object.values(plan.NodeAllocation)
            .flat()
            .filter((placed) => this.state.allocation(placed.ID) === null),
        );
        return { result, refreshed: false };
      },
      updateEvaluation: note(run.updated),
      createEvaluation: note(run.created),
      reblockEvaluation: note(run.reblocked),
    });
    return run;
  }

  #context(
    evaluation: Evaluation,
  ): Pick<SchedulerContext, "evaluation" | "state" | "columns" | "log" | "now" | "newPlan" | "placer"> {
    const { state, now } = this;
    return {
      evaluation,
      state,
      columns: state.columns(),
      log: quietLogger,
      now,
      newPlan: (job) => createPlan(evaluation, "token", job, state.index),
      placer: (plan) => this.#placer({ state, columns: state.columns(), plan, evaluation }),
    };
  }

  /** Allocations of a job that are to run. */
  live(job: Pick<Job, "ID" | "Namespace">): Allocation[] {
    return this.state
      .allocationsByJob(job.Namespace, job.ID)
      .filter((allocation) => !allocIsTerminal(allocation));
  }

  /** Changes an allocation as its node would report it. */
  report(id: string, change: Partial<Allocation>): void {
    const allocation = this.state.allocation(id);
    if (allocation === null) throw new Error(`no allocation ${id} in the harness`);
    this.state.putAllocation({ ...allocation, ...change });
  }

  /** Reports allocations healthy, or unhealthy, in their deployment. */
  reportHealth(ids: Iterable<string>, healthy = true): void {
    for (const id of ids) {
      const status = this.state.allocation(id)?.DeploymentStatus;
      this.report(id, {
        DeploymentStatus: {
          Canary: status?.Canary ?? false,
          Healthy: healthy,
          ModifyIndex: 0,
          Timestamp: new Date(this.now).toISOString(),
        },
      });
    }
  }

  /** The newest deployment of a job. */
  deployment(job: Pick<Job, "ID" | "Namespace">): Deployment {
    const deployment = this.state.latestDeployment(job.Namespace, job.ID);
    if (deployment === null) throw new Error(`job "${job.ID}" has no deployment in the harness`);
    return deployment;
  }

  /** Changes the status of the newest deployment of a job, as an operator or the leader would. */
  setDeploymentStatus(job: Pick<Job, "ID" | "Namespace">, status: DeploymentStatus): void {
    this.state.putDeployment({ ...this.deployment(job), Status: status });
  }

  /** Promotes all canaries of the newest deployment of a job, as an operator or the leader would. */
  promote(job: Pick<Job, "ID" | "Namespace">): void {
    const deployment = this.deployment(job);
    for (const group of Object.values(deployment.TaskGroups)) {
      group.Promoted = true;
      for (const id of group.PlacedCanaries ?? []) {
        const canary = this.state.allocation(id);
        if (canary?.DeploymentStatus != null)
          this.report(id, { DeploymentStatus: { ...canary.DeploymentStatus, Canary: false } });
      }
    }
    this.state.putDeployment({
      ...deployment,
      Status: DeploymentStatus.Running,
      StatusDescription: DeploymentStatusDescription.Running,
    });
  }

  /** Throws an assertion error for the first node that holds more than it has. */
  assertNothingOvercommitted(): void {
    for (const node of this.state.nodes()) {
      const fit = nodeFits(node, this.state.allocationsByNode(node.ID));
      assert.ok(
        fit.fits,
        `node ${node.ID} is overcommitted: ${fit.dimension}, uses ${JSON.stringify(fit.used)}`,
      );
    }
  }

  #apply(plan: Plan, run: SchedulerRun): PlanResult {
    const result: PlanResult = {
      AllocIndex: 0,
      Deployment: plan.Deployment,
      DeploymentUpdates: plan.DeploymentUpdates,
      NodeAllocation: {},
      NodePreemptions: {},
      NodeUpdate: {},
      RefreshIndex: 0,
      RejectedNodes: [],
    };
    const lists = ["NodeUpdate", "NodeAllocation", "NodePreemptions"] as const;
    for (const id of new Set(lists.flatMap((list) => Object.keys(plan[list])))) {
      if (!this.#accepts(plan, id)) {
        result.RejectedNodes.push(id);
        continue;
      }
      for (const list of lists) {
        const part = plan[list][id];
        if (part !== undefined) result[list][id] = part;
      }
    }
    if (result.Deployment !== null) this.state.putDeployment(result.Deployment);
    for (const { DeploymentID, Status, StatusDescription } of result.DeploymentUpdates) {
      const deployment = this.state.deployment(DeploymentID);
      if (deployment !== null) this.state.putDeployment({ ...deployment, Status, StatusDescription });
    }
    for (const stopped of [result.NodeUpdate, result.NodePreemptions].flatMap((one) =>
      Object.values(one).flat(),
    ))
      this.#stop(stopped);
    for (const placed of Object.values(result.NodeAllocation).flat()) this.#place(placed, run);
    result.AllocIndex = this.state.index;
    if (result.RejectedNodes.length > 0) result.RefreshIndex = this.state.index;
    return result;
  }

  #stop(stopped: Allocation): void {
    const known = this.state.allocation(stopped.ID);
    if (known === null) return;
    const { DesiredStatus, DesiredDescription = "", ClientStatus } = stopped;
    const row: Allocation = { ...known, DesiredStatus, DesiredDescription };
    if (ClientStatus === AllocClientStatus.Lost) {
      row.ClientStatus = ClientStatus;
      const state = {
        Field: AllocStateField.ClientStatus,
        Value: ClientStatus,
        Time: new Date(this.now).toISOString(),
      };
      row.AllocStates = [...(known.AllocStates ?? []), state];
    }
    if (stopped.FollowupEvalID !== undefined) row.FollowupEvalID = stopped.FollowupEvalID;
    if (stopped.PreemptedByAllocation !== undefined)
      row.PreemptedByAllocation = stopped.PreemptedByAllocation;
    this.state.putAllocation(row);
  }

  #place(placed: Allocation, run: SchedulerRun): void {
    const known = this.state.allocation(placed.ID);
    if (known === null) run.placed.push(placed);
    this.state.putAllocation(
      known === null
        ? placed
        : {
            ...placed,
            ClientStatus: known.ClientStatus,
            TaskStates: known.TaskStates,
            CreateTime: known.CreateTime,
          },
    );
    const previous =
      placed.PreviousAllocation === undefined ? null : this.state.allocation(placed.PreviousAllocation);
    if (previous !== null) this.state.putAllocation({ ...previous, NextAllocation: placed.ID });
  }

  #accepts(plan: Plan, nodeId: string): boolean {
    const placed = plan.NodeAllocation[nodeId] ?? [];
    if (placed.length === 0) return true;
    if (this.#refuse(nodeId, plan)) return false;
    const node = this.state.node(nodeId);
    if (node === null) return false;
    const existing = this.state.allocationsByNode(nodeId);
    const known = new Set(existing.map((one) => one.ID));
    if (placed.some((one) => !known.has(one.ID)) && !nodeReady(node)) return false;
    const leaving = new Set(
      [...(plan.NodeUpdate[nodeId] ?? []), ...(plan.NodePreemptions[nodeId] ?? []), ...placed].map(
        (one) => one.ID,
      ),
    );
    return nodeFits(node, [...existing.filter((one) => !leaving.has(one.ID)), ...placed]).fits;
  }
}

function emptyRun(): SchedulerRun {
  return { plans: [], results: [], updated: [], created: [], reblocked: [], placed: [] };
}
