/** Running schedulers in tests, and the conformance kit that every scheduler must pass. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Placer, Scheduler, SchedulerContext } from "../contracts/scheduler.js";
import {
  type Allocation,
  AllocClientStatus,
  AllocStateField,
  allocIsTerminal,
  type Deployment,
  DeploymentStatus,
  DeploymentStatusDescription,
  EvalStatus,
  type Evaluation,
  evalTerminal,
  type Job,
  nodeReady,
  type Plan,
  type PlanResult,
  serverTerminal,
} from "../domain/index.js";
import { createPlan, nodeFits } from "../scheduling/index.js";
import { makeEvaluation, makeGroup, makeJob, makeNode, makeTask } from "./fixtures.js";
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

/** The scheduler under test. */
export interface SchedulerSubject {
  /** The scheduler, as a thread would make it. */
  create(): Scheduler;
  /** The placer it is given; default `ScanPlacer`. */
  readonly placer?: (scope: PlacerScope) => Placer;
}

/**
 * Registers the cases that every scheduler of jobs with counted groups must pass, whatever it optimises for: it ends each
 * evaluation, keeps count and names, overcommits nothing, comes to rest, and says what it could not place.
 */
export function schedulerConformance(name: string, subject: SchedulerSubject): void {
  const scheduler = subject.create();
  const harness = (options: SchedulerHarnessOptions = {}): SchedulerHarness =>
    new SchedulerHarness(subject.placer === undefined ? options : { placer: subject.placer, ...options });
  const job = (count: number, cpu = 100): Job => {
    const task = makeTask();
    return makeJob({
      Type: scheduler.type,
      TaskGroups: [
        makeGroup({ Count: count, Tasks: [{ ...task, Resources: { ...task.Resources, CPU: cpu } }] }),
      ],
    });
  };
  const cluster = (leader: SchedulerHarness, count: number): void => {
    for (let i = 0; i < count; i++) leader.state.putNode(makeNode());
  };
  const outcome = (run: SchedulerRun): Evaluation => {
    assert.equal(
      run.updated.length + run.reblocked.length,
      1,
      "exactly one outcome is written for an evaluation",
    );
    return (run.updated[0] ?? run.reblocked[0])!;
  };

  describe(`scheduler ${name}`, () => {
    it("places each group as often as it counts, under different names", async () => {
      const leader = harness();
      cluster(leader, 3);
      const run = await leader.register(scheduler, job(7));
      assert.equal(outcome(run).Status, EvalStatus.Complete);
      const names = leader.live(job(7)).map((allocation) => allocation.Name);
      assert.equal(new Set(names).size, 7);
      leader.assertNothingOvercommitted();
    });

    it("comes to rest: a second evaluation changes nothing", async () => {
      const leader = harness();
      cluster(leader, 3);
      await leader.register(scheduler, job(5));
      const run = await leader.run(scheduler, makeEvaluation(job(5)));
      assert.equal(outcome(run).Status, EvalStatus.Complete);
      assert.deepEqual(run.placed, []);
      assert.equal(leader.live(job(5)).length, 5);
    });

    it("stops everything of a stopped job and of a purged one", async () => {
      for (const purge of [false, true]) {
        const leader = harness();
        cluster(leader, 2);
        await leader.register(scheduler, job(4));
        leader.state.stopJob("default", "web", purge);
        const run = await leader.run(scheduler, makeEvaluation(job(4), { TriggeredBy: "job-deregister" }));
        assert.ok(evalTerminal(outcome(run)));
        assert.deepEqual(leader.live(job(4)), []);
      }
    });

    it("leaves a blocked evaluation for what finds no room, and overcommits nothing", async () => {
      const leader = harness();
      cluster(leader, 1);
      const run = await leader.register(scheduler, job(3, 1900));
      const done = outcome(run);
      assert.equal(leader.live(job(3)).length, 2);
      leader.assertNothingOvercommitted();
      const blocked = run.created.find((evaluation) => evaluation.Status === EvalStatus.Blocked);
      assert.ok(blocked, "a blocked evaluation is created");
      assert.equal(done.BlockedEval, blocked.ID);
      assert.equal(blocked.PreviousEval, done.ID);
      assert.ok(done.FailedTGAllocs?.g, "FailedTGAllocs explains the group");
      assert.equal(done.QueuedAllocations?.g, 1);
    });

    it("ends when a part of every plan is refused", async () => {
      const leader = harness({ refuse: () => true });
      cluster(leader, 2);
      const run = await leader.register(scheduler, job(2));
      assert.equal(outcome(run).Status, EvalStatus.Failed);
      assert.deepEqual(leader.live(job(2)), []);
    });

    it("plans the rest again when a part was refused", async () => {
      let refusals = 0;
      const leader = harness({ refuse: () => refusals++ === 0 });
      cluster(leader, 3);
      const run = await leader.register(scheduler, job(6));
      assert.equal(outcome(run).Status, EvalStatus.Complete);
      assert.equal(leader.live(job(6)).length, 6);
      leader.assertNothingOvercommitted();
    });

    it("replaces allocations of a node that is down", async () => {
      const leader = harness();
      cluster(leader, 2);
      await leader.register(scheduler, job(4));
      const down = leader.state.nodes()[0]!;
      const before = leader.live(job(4)).filter((allocation) => allocation.NodeID === down.ID).length;
      leader.state.putNode({ ...down, Status: "down" });
      const run = await leader.run(
        scheduler,
        makeEvaluation(job(4), { TriggeredBy: "node-update", NodeID: down.ID }),
      );
      assert.equal(run.placed.length, before);
      const live = leader.live(job(4));
      assert.equal(live.length, 4);
      assert.ok(live.every((allocation) => allocation.NodeID !== down.ID));
      const gone = leader.state.allocationsByNode(down.ID);
      assert.ok(gone.every((allocation) => serverTerminal(allocation) && allocation.ClientStatus === "lost"));
    });

    it("shrinks and grows to the count, and says why it stops what", async () => {
      const leader = harness();
      cluster(leader, 3);
      await leader.register(scheduler, job(5));
      const run = await leader.register(scheduler, job(2));
      assert.equal(leader.live(job(2)).length, 2);
      const stopped = run.plans.flatMap((plan) => Object.values(plan.NodeUpdate).flat());
      assert.equal(stopped.length, 3);
      assert.ok(stopped.every((allocation) => (allocation.DesiredDescription ?? "") !== ""));
      await leader.register(scheduler, job(4));
      const names = leader.live(job(4)).map((allocation) => allocation.Name);
      assert.equal(new Set(names).size, 4);
    });

    it("brings every allocation to a new version, as the deployment allows where there is one", async () => {
      const leader = harness();
      cluster(leader, 3);
      await leader.register(scheduler, job(4));
      await leader.register(scheduler, job(4, 200));
      for (let round = 0; round < 8; round++) {
        leader.reportHealth(leader.live(job(4)).map((allocation) => allocation.ID));
        if (leader.state.deployments().length > 0) leader.promote(job(4));
        await leader.run(scheduler, makeEvaluation(job(4), { TriggeredBy: "deployment-watcher" }));
      }
      const live = leader.live(job(4));
      assert.deepEqual(
        live.map((allocation) => allocation.JobVersion),
        [1, 1, 1, 1],
      );
      assert.equal(new Set(live.map((allocation) => allocation.Name)).size, 4);
      leader.assertNothingOvercommitted();
    });

    it("moves allocations that are to migrate, and links the new to the old", async () => {
      const leader = harness();
      cluster(leader, 2);
      await leader.register(scheduler, job(3));
      const [moving] = leader.live(job(3));
      leader.report(moving!.ID, {
        DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
      });
      const run = await leader.run(scheduler, makeEvaluation(job(3), { TriggeredBy: "node-drain" }));
      assert.deepEqual(
        run.placed.map((allocation) => allocation.PreviousAllocation),
        [moving!.ID],
      );
      assert.equal(leader.state.allocation(moving!.ID)!.NextAllocation, run.placed[0]!.ID);
      assert.equal(leader.live(job(3)).length, 3);
    });

    it("places nothing on nodes that are not ready or not eligible", async () => {
      const leader = harness();
      cluster(leader, 3);
      const [down, closed] = leader.state.nodes();
      leader.state.putNode({ ...down!, Status: "down" });
      leader.state.putNode({ ...closed!, SchedulingEligibility: "ineligible" });
      const run = await leader.register(scheduler, job(3));
      assert.equal(run.placed.length, 3);
      assert.ok(run.placed.every(({ NodeID }) => NodeID !== down!.ID && NodeID !== closed!.ID));
    });

    it("explains its plan when asked, also where there is nothing to do", async () => {
      const leader = harness();
      cluster(leader, 2);
      const asked = leader.state.putJob(job(2));
      for (const expected of [
        { Place: 2, Ignore: 0 },
        { Place: 0, Ignore: 2 },
      ]) {
        const run = await leader.run(scheduler, makeEvaluation(asked, { AnnotatePlan: true }));
        const updates = outcome(run).PlanAnnotations?.DesiredTGUpdates?.g;
        assert.deepEqual({ Place: updates?.Place, Ignore: updates?.Ignore }, expected);
      }
    });

    it("decides the same in a dry run, which stores nothing", async () => {
      const leader = harness();
      cluster(leader, 4);
      const evaluation = makeEvaluation(leader.state.putJob(job(5)));
      const { index } = leader.state;
      const tried = await leader.dryRun(scheduler, evaluation);
      assert.equal(leader.state.index, index);
      assert.equal(outcome(tried).Status, EvalStatus.Complete);
      assert.deepEqual(leader.live(job(5)), []);
      const run = await leader.run(scheduler, evaluation);
      const nodes = (of: SchedulerRun): string[] =>
        of.placed.map((one) => `${one.Name} ${one.NodeID}`).sort();
      assert.deepEqual(nodes(run), nodes(tried));
    });

    it("makes the same plan from the same state", async () => {
      const nodes = Array.from({ length: 8 }, () => makeNode());
      const evaluation = makeEvaluation(job(10));
      const plans: Plan[] = [];
      for (let i = 0; i < 2; i++) {
        const leader = harness();
        for (const node of nodes) leader.state.putNode(node);
        leader.state.putJob(job(10));
        plans.push(...(await leader.run(scheduler, evaluation)).plans);
      }
      assert.equal(plans.length, 2);
      const decisions = plans.map((plan) =>
        Object.values(plan.NodeAllocation)
          .flat()
          .map(({ ID, Name, NodeID, AllocatedResources }) => ({ ID, Name, NodeID, AllocatedResources })),
      );
      assert.deepEqual(decisions[0], decisions[1]);
    });
  });
}
