/** The conformance kit that every scheduler of jobs with counted groups must pass. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  EvalStatus,
  type Evaluation,
  evalTerminal,
  type Job,
  type Plan,
  serverTerminal,
} from "../domain/index.js";
import { makeEvaluation, makeGroup, makeJob, makeNode, makeTask } from "./fixtures.js";
import {
  SchedulerHarness,
  type SchedulerHarnessOptions,
  type SchedulerRun,
  type SchedulerSubject,
} from "./scheduler.js";

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
