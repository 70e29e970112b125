/** Random histories of jobs, and what must hold after each thing that happens and at their end. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type Allocation,
  AllocClientStatus,
  deploymentActive,
  type Evaluation,
  evalTerminal,
  type Job,
  type Plan,
  planIsNoOp,
  type Scheduler,
} from "@drover/plugin-sdk";
import { AllocDescription } from "@drover/plugin-sdk/scheduling";
import { makeNode, SchedulerHarness, type SchedulerRun } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { again, batch, envOf, failedAt, rolling, service, web, wish } from "./support.js";

const NODES = 5;
const REASONS = new Set<string>(Object.values(AllocDescription));

interface Specification {
  readonly count: number;
  readonly version: number;
  readonly maxParallel: number;
  readonly canary: number;
  readonly stopDisconnected: boolean;
}

/** `of` chooses among what there is. */
type Event =
  | { readonly kind: "register"; readonly change: Partial<Specification> }
  | {
      readonly kind:
        | "fail"
        | "complete"
        | "healthy"
        | "unhealthy"
        | "migrate"
        | "allow"
        | "force"
        | "down"
        | "up"
        | "gone";
      readonly of: number;
    }
  | { readonly kind: "promote" | "pause" | "resume" | "failDeployment" | "allHealthy" }
  | { readonly kind: "wait"; readonly seconds: number };

const change: fc.Arbitrary<Partial<Specification>> = fc.oneof(
  fc.record({ count: fc.integer({ min: 0, max: 6 }) }),
  fc.record({ version: fc.integer({ min: 0, max: 3 }) }),
  fc.record(
    {
      count: fc.integer({ min: 0, max: 6 }),
      version: fc.integer({ min: 0, max: 3 }),
      maxParallel: fc.integer({ min: 0, max: 3 }),
      canary: fc.integer({ min: 0, max: 3 }),
      stopDisconnected: fc.boolean(),
    },
    { requiredKeys: [] },
  ),
);
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("register" as const), change }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "fail" as const,
        "complete" as const,
        "healthy" as const,
        "healthy" as const,
        "unhealthy" as const,
        "migrate" as const,
        "allow" as const,
        "force" as const,
        "down" as const,
        "up" as const,
        "up" as const,
        "gone" as const,
      ),
      of: fc.nat({ max: 20 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "promote" as const,
        "pause" as const,
        "resume" as const,
        "failDeployment" as const,
        "allHealthy" as const,
        "allHealthy" as const,
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), seconds: fc.integer({ min: 1, max: 90 }) }),
  },
);

/** A cluster, a job on it, and the checks of every plan. */
class History {
  readonly leader = new SchedulerHarness();
  specification: Specification = {
    count: 3,
    version: 0,
    maxParallel: 1,
    canary: 0,
    stopDisconnected: false,
  };
  readonly #scheduler: Scheduler;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
    for (let i = 0; i < NODES; i++) this.leader.state.putNode(makeNode());
  }

  get job(): Job {
    const { count, version, maxParallel, canary, stopDisconnected } = this.specification;
    return web(
      {
        Count: count,
        Tasks: envOf(`${version}`),
        Update:
          this.#scheduler.type === "batch" ? null : rolling({ MaxParallel: maxParallel, Canary: canary }),
        StopAfterClientDisconnect: stopDisconnected ? 60e9 : null,
        ReschedulePolicy: {
          Attempts: 0,
          Delay: 10e9,
          DelayFunction: "constant",
          Interval: 0,
          MaxDelay: 60e9,
          Unlimited: true,
        },
      },
      { Type: this.#scheduler.type },
    );
  }

  async register(change: Partial<Specification>): Promise<void> {
    const next = { ...this.specification, ...change };
    const same = JSON.stringify(next) === JSON.stringify(this.specification);
    this.specification = next;
    const known = this.leader.state.job("default", "web");
    if (!same || known === null) this.leader.state.putJob(this.job);
    await this.settle();
  }

  async happen(event: Event): Promise<void> {
    if (event.kind === "register") return this.register(event.change);
    const { leader } = this;
    const { state } = leader;
    const deployment = state.latestDeployment("default", "web");
    const active = deployment !== null && deploymentActive(deployment);
    const pick = <T>(list: readonly T[]): T | undefined =>
      "of" in event && list.length > 0 ? list[event.of % list.length] : undefined;
    const live = leader.live(this.job);
    const one = pick(live);
    const failed = pick(state.allocations().filter((row) => row.ClientStatus === AllocClientStatus.Failed));
    const node = pick(state.nodes());
    switch (event.kind) {
      case "fail":
        if (one) leader.report(one.ID, failedAt(leader.now));
        break;
      case "complete":
        if (one) leader.report(one.ID, { ClientStatus: "complete" });
        break;
      case "healthy":
      case "unhealthy":
        if (one && one.DeploymentID !== "") leader.reportHealth([one.ID], event.kind === "healthy");
        break;
      case "allHealthy":
        leader.reportHealth(live.filter((row) => row.DeploymentID !== "").map((row) => row.ID));
        break;
      case "migrate":
        if (one) leader.report(one.ID, wish({ Migrate: true }));
        break;
      case "allow":
        if (failed) leader.report(failed.ID, wish({ Reschedule: true }));
        break;
      case "force":
        if (failed) leader.report(failed.ID, wish({ ForceReschedule: true }));
        break;
      case "down":
      case "up":
        if (node) state.putNode({ ...node, Status: event.kind === "up" ? "ready" : "down" });
        break;
      case "gone":
        if (node) {
          state.removeNode(node.ID);
          state.putNode(makeNode());
        }
        break;
      case "promote":
        if (active) leader.promote(this.job);
        break;
      case "pause":
      case "resume":
        if (active) leader.setDeploymentStatus(this.job, event.kind === "pause" ? "paused" : "running");
        break;
      case "failDeployment":
        if (active) leader.setDeploymentStatus(this.job, "failed");
        break;
      case "wait":
        leader.now += event.seconds * 1_000;
        break;
    }
    await this.settle();
  }

  /** Clients end what is to stop, due evaluations run, and then nothing is left to do. */
  async settle(): Promise<void> {
    for (let round = 0; round < 12; round++) {
      const run = await this.#evaluate(again(this.job, { TriggeredBy: "node-update" }));
      let idle = run.plans.every(planIsNoOp) && run.created.every((created) => created.Status === "blocked");
      this.#clientsFollow();
      for (const due of this.#due()) {
        const followed = await this.#evaluate(due);
        idle &&= followed.plans.every(planIsNoOp);
        this.#clientsFollow();
      }
      if (idle) return;
    }
    assert.fail("the scheduler does not come to rest");
  }

  #due(): Evaluation[] {
    const { state, now } = this.leader;
    return state
      .evaluations()
      .filter((one) => one.Status === "pending" && Date.parse(one.WaitUntil ?? "") <= now);
  }

  #clientsFollow(): void {
    const { state } = this.leader;
    for (const row of state.allocations()) {
      const ends = row.DesiredStatus !== "run" && ["pending", "running"].includes(row.ClientStatus);
      if (ends && state.node(row.NodeID)?.Status === "ready")
        this.leader.report(row.ID, { ClientStatus: "complete" });
      else if (row.ClientStatus === "pending" && row.DesiredStatus === "run")
        this.leader.report(row.ID, { ClientStatus: "running" });
    }
  }

  async #evaluate(evaluation: Evaluation): Promise<SchedulerRun> {
    const { leader } = this;
    const before = new Map(leader.state.allocations().map((row) => [row.ID, row]));
    leader.state.putEvaluation(evaluation);
    const given = leader.state.evaluation(evaluation.ID)!;
    const held = this.#isHeld();
    const tried = await leader.dryRun(this.#scheduler, given);
    // Storing an evaluation counts up the index, which ids are made of.
    leader.state.index--;
    const run = await leader.run(this.#scheduler, given);
    assert.deepEqual(
      decisions(run),
      decisions(tried),
      "the same evaluation of the same state: the same plan",
    );
    assert.ok(evalTerminal(run.updated[0] ?? run.reblocked[0]!) || run.reblocked.length > 0);
    for (const plan of run.plans) this.#checkPlan(plan, before, held);
    this.#checkState();
    return run;
  }

  /** The deployment of the job's version says that nothing may be replaced now. */
  #isHeld(): boolean {
    const { state } = this.leader;
    const deployment = state.latestDeployment("default", "web");
    if (deployment === null || deployment.JobVersion !== state.job("default", "web")!.Version) return false;
    if (["paused", "failed"].includes(deployment.Status)) return true;
    const unhealthy = this.leader
      .live(this.job)
      .some((row) => row.DeploymentID === deployment.ID && row.DeploymentStatus?.Healthy === false);
    return deployment.Status === "running" && unhealthy && this.specification.maxParallel > 0;
  }

  #checkPlan(plan: Plan, before: ReadonlyMap<string, Allocation>, held: boolean): void {
    const stopped = Object.values(plan.NodeUpdate).flat();
    const ids = new Set<string>();
    for (const { ID, DesiredDescription, ClientStatus } of stopped) {
      assert.ok(!ids.has(ID), `${ID} is stopped once`);
      ids.add(ID);
      assert.ok(REASONS.has(DesiredDescription ?? ""), `a stop has a reason: "${DesiredDescription}"`);
      if (held) assert.notEqual(DesiredDescription, AllocDescription.Updating, "nothing is updated now");
      const known = before.get(ID)!;
      if (known.DesiredStatus === "stop")
        assert.equal(ClientStatus, "lost", "what is stopped is stopped again only where it is lost");
      if (DesiredDescription === AllocDescription.Lost) {
        assert.equal(ClientStatus, "lost");
        assert.notEqual(this.leader.state.node(known.NodeID)?.Status, "ready");
      }
    }
    for (const { ID, NodeID } of Object.values(plan.NodeAllocation).flat()) {
      assert.ok(!ids.has(ID), `${ID} is placed once, and not stopped`);
      ids.add(ID);
      if (!before.has(ID)) assert.equal(this.leader.state.node(NodeID)?.Status, "ready");
    }
  }

  #checkState(): void {
    const { leader } = this;
    const live = leader.live(this.job);
    const deployment = leader.state.latestDeployment("default", "web");
    const version = leader.state.job("default", "web")!.Version;
    const current =
      deployment !== null && deployment.JobVersion === version && deployment.Status !== "successful"
        ? deployment
        : null;
    const group = current?.TaskGroups.g;
    const canaries = live.filter((row) => group?.PlacedCanaries?.includes(row.ID) && !group.Promoted);
    const { count, canary, maxParallel } = this.specification;
    assert.ok(live.length - canaries.length <= count, `${live.length} run, ${count} are wanted`);
    assert.ok(canaries.length <= canary, `${canaries.length} canaries run, ${canary} are wanted`);
    if (current !== null && maxParallel > 0) {
      const underWay = live.filter((row) => {
        const previous = leader.state.allocation(row.PreviousAllocation ?? "");
        const updated = previous?.DesiredDescription === AllocDescription.Updating;
        const placed = row.DeploymentID === current.ID && row.CreateIndex > current.CreateIndex;
        return updated && placed && row.DeploymentStatus?.Healthy == null;
      });
      assert.ok(underWay.length <= maxParallel, `${underWay.length} updates are under way`);
    }
    leader.assertNothingOvercommitted();
  }
}

const decisions = (run: SchedulerRun) => [
  run.plans.map(({ NodeAllocation, NodeUpdate, Deployment, DeploymentUpdates }) => ({
    NodeAllocation,
    NodeUpdate,
    Deployment,
    DeploymentUpdates,
  })),
  run.created,
];

/** Everything works from now on: nodes are up, time passes, what is asked is granted. */
async function endWell(history: History): Promise<void> {
  const { leader } = history;
  for (const node of leader.state.nodes()) leader.state.putNode({ ...node, Status: "ready" });
  await history.register({ version: 99 });
  for (let round = 0; round < 40; round++) {
    leader.now += 120_000;
    const deployment = leader.state.latestDeployment("default", "web");
    if (deployment !== null && deploymentActive(deployment)) leader.promote(history.job);
    leader.reportHealth(
      leader
        .live(history.job)
        .filter((row) => row.DeploymentID !== "")
        .map((row) => row.ID),
    );
    await history.settle();
  }
}

describe("any history of a service job", () => {
  it("keeps within count, canaries and max_parallel, comes to rest, and ends with what was asked for", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 20 }), async (events) => {
        const history = new History(service);
        await history.register({});
        for (const event of events) await history.happen(event);
        await endWell(history);
        const { leader, job, specification } = history;
        const live = leader.live(job);
        const { Version } = leader.state.job("default", "web")!;
        assert.equal(live.length, specification.count);
        assert.equal(new Set(live.map((row) => row.Name)).size, live.length, "names are unique");
        assert.ok(live.every((row) => row.JobVersion === Version));
        if (specification.maxParallel > 0 && specification.count > 0) {
          const deployment = leader.deployment(job);
          assert.deepEqual([deployment.Status, deployment.JobVersion], ["successful", Version]);
        }
        for (const deployment of leader.state.deployments())
          assert.ok(!deploymentActive(deployment), `${deployment.Status} for good`);
      }),
      { numRuns: 50 },
    );
  });
});

describe("any history of a batch job", () => {
  it("runs each allocation to its end once, whatever fails and is lost", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 20 }), async (events) => {
        const history = new History(batch);
        await history.register({});
        for (const event of events) await history.happen(event);
        await endWell(history);
        const { leader, job, specification } = history;
        const { Version } = leader.state.job("default", "web")!;
        const ended = leader.state
          .allocations()
          .filter(
            (row) =>
              row.JobVersion === Version && row.ClientStatus === "complete" && row.DesiredStatus === "run",
          );
        assert.equal(leader.live(job).length + ended.length, specification.count);
        const names = [...leader.live(job), ...ended].map((row) => row.Name);
        assert.equal(new Set(names).size, names.length, "names are unique");
        for (const { ID } of leader.live(job)) leader.report(ID, { ClientStatus: "complete" });
        const done = await leader.run(batch, again(job));
        assert.deepEqual([done.plans, done.placed], [[], []]);
      }),
      { numRuns: 30 },
    );
  });
});
