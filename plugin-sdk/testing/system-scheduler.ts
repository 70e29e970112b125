/** The conformance kit of schedulers with an allocation on every node. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  EvalStatus,
  type Evaluation,
  evalTerminal,
  type Job,
  type Node,
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
 * Registers the cases that every scheduler of jobs with one allocation a node must pass: it fills the feasible nodes and no
 * other, overcommits nothing, comes to rest, follows nodes that come and go, and waits for each node without room.
 */
export function systemSchedulerConformance(name: string, subject: SchedulerSubject): void {
  const scheduler = subject.create();
  const harness = (options: SchedulerHarnessOptions = {}): SchedulerHarness =>
    new SchedulerHarness(subject.placer === undefined ? options : { placer: subject.placer, ...options });
  const job = (cpu = 100, overrides: Partial<Job> = {}): Job => {
    const task = makeTask();
    return makeJob({
      Type: scheduler.type,
      TaskGroups: [
        makeGroup({
          Count: 1,
          ReschedulePolicy: null,
          Tasks: [{ ...task, Resources: { ...task.Resources, CPU: cpu } }],
        }),
      ],
      ...overrides,
    });
  };
  const cluster = (leader: SchedulerHarness, count: number, overrides: Partial<Node> = {}): Node[] =>
    Array.from({ length: count }, () => {
      const node = makeNode(overrides);
      leader.state.putNode(node);
      return node;
    });
  const outcome = (run: SchedulerRun): Evaluation => {
    assert.equal(
      run.updated.length + run.reblocked.length,
      1,
      "exactly one outcome is written for an evaluation",
    );
    return (run.updated[0] ?? run.reblocked[0])!;
  };
  const nodesOf = (leader: SchedulerHarness): string[] =>
    leader
      .live(job())
      .map((allocation) => allocation.NodeID)
      .sort();
  const ids = (nodes: readonly Node[]): string[] => nodes.map((node) => node.ID).sort();
  const byNode = (node: Node): Evaluation =>
    makeEvaluation(job(), { TriggeredBy: "node-update", NodeID: node.ID });

  describe(`system scheduler ${name}`, () => {
    it("places one allocation on every ready node of the job's datacenters", async () => {
      const leader = harness();
      const nodes = cluster(leader, 5);
      cluster(leader, 1, { Datacenter: "dc9" });
      cluster(leader, 1, { SchedulingEligibility: "ineligible" });
      cluster(leader, 1, { Status: "initializing" });
      const run = await leader.register(scheduler, job());
      assert.equal(outcome(run).Status, EvalStatus.Complete);
      assert.deepEqual(nodesOf(leader), ids(nodes));
      assert.equal(outcome(run).QueuedAllocations?.g, 0);
    });

    it("takes nodes that the constraints rule out for none of the job's, not for failures", async () => {
      const leader = harness();
      const nodes = cluster(leader, 2);
      cluster(leader, 2, { Attributes: { "kernel.name": "linux" }, ComputedClass: "v1:2" });
      const run = await leader.register(scheduler, job());
      assert.deepEqual(nodesOf(leader), ids(nodes));
      assert.equal(outcome(run).FailedTGAllocs, undefined);
      assert.equal(outcome(run).QueuedAllocations?.g, 0);
      assert.deepEqual(run.created, []);
    });

    it("comes to rest: a second evaluation changes nothing", async () => {
      const leader = harness();
      const nodes = cluster(leader, 3);
      await leader.register(scheduler, job());
      const run = await leader.run(scheduler, makeEvaluation(job()));
      assert.equal(outcome(run).Status, EvalStatus.Complete);
      assert.deepEqual(run.plans, []);
      assert.deepEqual(nodesOf(leader), ids(nodes));
    });

    it("starts on a node that joins, and leaves the others alone", async () => {
      const leader = harness();
      cluster(leader, 2);
      await leader.register(scheduler, job());
      const [joined] = cluster(leader, 1);
      const run = await leader.run(scheduler, byNode(joined!));
      assert.deepEqual(
        run.placed.map((allocation) => allocation.NodeID),
        [joined!.ID],
      );
    });

    it("marks allocations of a node that is down lost, and replaces none", async () => {
      const leader = harness();
      const [down, up] = cluster(leader, 2);
      await leader.register(scheduler, job());
      leader.state.putNode({ ...down!, Status: "down" });
      const run = await leader.run(scheduler, byNode(down!));
      assert.deepEqual(run.placed, []);
      assert.deepEqual(nodesOf(leader), [up!.ID]);
      const gone = leader.state.allocationsByNode(down!.ID);
      assert.ok(gone.every((allocation) => serverTerminal(allocation) && allocation.ClientStatus === "lost"));
    });

    it("keeps the allocation of a node that becomes ineligible", async () => {
      const leader = harness();
      const [node] = cluster(leader, 1);
      await leader.register(scheduler, job());
      leader.state.putNode({ ...node!, SchedulingEligibility: "ineligible" });
      await leader.run(scheduler, byNode(node!));
      assert.deepEqual(nodesOf(leader), [node!.ID]);
    });

    it("stops everything of a stopped job and of a purged one", async () => {
      for (const purge of [false, true]) {
        const leader = harness();
        cluster(leader, 2);
        await leader.register(scheduler, job());
        leader.state.stopJob("default", job().ID, purge);
        const run = await leader.run(scheduler, makeEvaluation(job(), { TriggeredBy: "job-deregister" }));
        assert.ok(evalTerminal(outcome(run)));
        assert.deepEqual(nodesOf(leader), []);
      }
    });

    it("leaves a blocked evaluation for each node without room, and overcommits nothing", async () => {
      const leader = harness();
      const [full, ...others] = cluster(leader, 3);
      await leader.register(scheduler, job(3000, { ID: "first", Datacenters: ["dc1"] }));
      const taken = leader.live({ ID: "first", Namespace: "default" });
      for (const allocation of taken.filter((one) => one.NodeID !== full!.ID))
        leader.report(allocation.ID, { DesiredStatus: "stop", ClientStatus: "complete" });
      const run = await leader.register(scheduler, job(2000));
      assert.deepEqual(nodesOf(leader), ids(others));
      leader.assertNothingOvercommitted();
      const done = outcome(run);
      assert.equal(done.Status, EvalStatus.Complete);
      assert.equal(done.QueuedAllocations?.g, 1);
      assert.equal(done.FailedTGAllocs?.g?.NodesExhausted, 1);
      assert.deepEqual(
        run.created.map(({ Status, NodeID, PreviousEval }) => ({ Status, NodeID, PreviousEval })),
        [{ Status: EvalStatus.Blocked, NodeID: full!.ID, PreviousEval: done.ID }],
      );
    });

    it("ends when a part of every plan is refused", async () => {
      const leader = harness({ refuse: () => true });
      cluster(leader, 2);
      const run = await leader.register(scheduler, job());
      assert.equal(outcome(run).Status, EvalStatus.Failed);
      assert.deepEqual(nodesOf(leader), []);
    });

    it("plans the rest again when a part was refused", async () => {
      let refusals = 0;
      const leader = harness({ refuse: () => refusals++ === 0 });
      const nodes = cluster(leader, 3);
      const run = await leader.register(scheduler, job());
      assert.equal(outcome(run).Status, EvalStatus.Complete);
      assert.deepEqual(nodesOf(leader), ids(nodes));
    });
  });
}
