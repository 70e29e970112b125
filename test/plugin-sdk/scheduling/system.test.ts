import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Evaluation, Job, Node, Placer, UpdateStrategy } from "@drover/plugin-sdk";
import { systemScheduler } from "@drover/plugin-sdk/scheduling";
import {
  makeEvaluation,
  makeGroup,
  makeJob,
  makeNode,
  makeTask,
  ScanPlacer,
  SchedulerHarness,
} from "@drover/plugin-sdk/testing";
import fc from "fast-check";

const system = systemScheduler({ type: "system", batch: false });
const sysbatch = systemScheduler({ type: "sysbatch", batch: true });

const group = (overrides: Partial<Job["TaskGroups"][number]> = {}) =>
  makeGroup({ ReschedulePolicy: null, ...overrides });
const job = (overrides: Partial<Job> = {}): Job =>
  makeJob({ Type: "system", TaskGroups: [group()], ...overrides });
const update = (MaxParallel: number): UpdateStrategy => ({
  AutoPromote: false,
  AutoRevert: false,
  Canary: 0,
  HealthCheck: "checks",
  HealthyDeadline: 300e9,
  MaxParallel,
  MinHealthyTime: 10e9,
  ProgressDeadline: 600e9,
  Stagger: 30e9,
});
const withCommand = (command: string, overrides: Partial<Job["TaskGroups"][number]> = {}): Job =>
  job({ TaskGroups: [group({ Tasks: [makeTask({ Config: { command } })], ...overrides })] });

function cluster(leader: SchedulerHarness, count: number, overrides: Partial<Node> = {}): Node[] {
  return Array.from({ length: count }, () => {
    const node = makeNode(overrides);
    leader.state.putNode(node);
    return node;
  });
}

describe("updates of system jobs", () => {
  it("follow in place where no task changed", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 3);
    await leader.register(system, job());
    const run = await leader.register(system, job({ Priority: 60 }));
    assert.deepEqual(run.placed, []);
    assert.ok(leader.live(job()).every((allocation) => allocation.JobVersion === 1));
  });

  it("replace all at once without an update block, each on its node", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 3);
    await leader.register(system, withCommand("/bin/a"));
    const run = await leader.register(system, withCommand("/bin/b"));
    assert.equal(run.placed.length, 3);
    for (const placed of run.placed) {
      const previous = leader.state.allocation(placed.PreviousAllocation ?? "");
      assert.equal(previous?.NodeID, placed.NodeID);
      assert.equal(previous?.DesiredStatus, "stop");
    }
  });

  it("are rolled max_parallel at a time, the next after the stagger, and not sooner by another evaluation", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 5);
    const rolled = (command: string) => withCommand(command, { Update: update(2) });
    await leader.register(system, rolled("/bin/a"));
    const first = await leader.register(system, rolled("/bin/b"));
    assert.equal(first.placed.length, 2);
    const [next] = first.created;
    assert.equal(next?.TriggeredBy, "rolling-update");
    assert.equal(Date.parse(next?.WaitUntil ?? ""), leader.now + 30_000);
    assert.equal(first.updated[0]?.NextEval, next?.ID);

    const between = await leader.run(system, makeEvaluation(job()));
    assert.deepEqual([between.placed, between.created], [[], []]);

    leader.now += 30_000;
    const second = await leader.run(system, next!);
    assert.equal(second.placed.length, 2);
    leader.now += 30_000;
    const third = await leader.run(system, second.created[0]!);
    assert.equal(third.placed.length, 1);
    assert.deepEqual(third.created, []);
    assert.ok(leader.live(job()).every((allocation) => allocation.JobVersion === 1));
  });

  it("leave the old version running where the new one has no room", async () => {
    const leader = new SchedulerHarness();
    const [node] = cluster(leader, 1);
    await leader.register(system, withCommand("/bin/a"));
    const task = makeTask();
    const big = group({ Tasks: [{ ...task, Resources: { ...task.Resources, CPU: 9_000 } }] });
    const run = await leader.register(system, job({ TaskGroups: [big] }));
    assert.deepEqual(
      leader.live(job()).map(({ JobVersion }) => JobVersion),
      [0],
    );
    assert.equal(run.created[0]?.NodeID, node?.ID);
    assert.deepEqual(run.updated[0]?.FailedTGAllocs?.g?.DimensionExhausted, { cpu: 1 });
  });

  it("stop the allocation where the node meets the new constraints no more", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 1);
    await leader.register(system, job());
    const Constraints = [{ LTarget: "${attr.kernel.name}", RTarget: "plan9", Operand: "=" }];
    const run = await leader.register(system, job({ Constraints }));
    assert.deepEqual(leader.live(job()), []);
    assert.equal(run.updated[0]?.FailedTGAllocs, undefined);
    assert.deepEqual(run.created, []);
  });

  it("stop what runs in a datacenter that the job left", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 1, { Datacenter: "dc1" });
    const [stays] = cluster(leader, 1, { Datacenter: "dc2" });
    await leader.register(system, job({ Datacenters: ["dc1", "dc2"] }));
    await leader.register(system, job({ Datacenters: ["dc2"] }));
    assert.deepEqual(
      leader.live(job()).map(({ NodeID }) => NodeID),
      [stays?.ID],
    );
  });
});

describe("system jobs and nodes", () => {
  it("a draining node keeps its allocation until the drain asks for it, and gets none anew", async () => {
    const leader = new SchedulerHarness();
    const [node] = cluster(leader, 1);
    await leader.register(system, job());
    const DrainStrategy = { Deadline: 0, ForceDeadline: "", IgnoreSystemJobs: false, StartedAt: "" } as never;
    leader.state.putNode({ ...node!, DrainStrategy, SchedulingEligibility: "ineligible" });
    await leader.run(system, makeEvaluation(job()));
    const [allocation] = leader.live(job());
    assert.ok(allocation);
    leader.report(allocation.ID, {
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    });
    const run = await leader.run(system, makeEvaluation(job()));
    assert.deepEqual(run.placed, []);
    assert.equal(leader.state.allocation(allocation.ID)?.DesiredDescription, "alloc is being migrated");
  });

  it("an allocation that an operator stops is started anew on its node", async () => {
    const leader = new SchedulerHarness();
    const [node] = cluster(leader, 1);
    await leader.register(system, job());
    const [allocation] = leader.live(job());
    leader.report(allocation!.ID, {
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    });
    const run = await leader.run(system, makeEvaluation(job(), { TriggeredBy: "alloc-stop" }));
    assert.deepEqual(
      run.placed.map(({ NodeID, PreviousAllocation }) => ({ NodeID, PreviousAllocation })),
      [{ NodeID: node?.ID, PreviousAllocation: allocation?.ID }],
    );
  });

  it("groups that count 0 run nowhere, others on every node", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 2);
    const TaskGroups = [group({ Name: "a" }), group({ Name: "b", Count: 0 }), group({ Name: "c" })];
    await leader.register(system, job({ TaskGroups }));
    assert.deepEqual(
      leader
        .live(job())
        .map(({ TaskGroup }) => TaskGroup)
        .sort(),
      ["a", "a", "c", "c"],
    );
  });

  it("the evaluation of a node without room waits on, and places there alone once there is room", async () => {
    const leader = new SchedulerHarness();
    const [node, other] = cluster(leader, 2);
    const task = makeTask();
    const big = (ID: string, CPU: number) =>
      job({ ID, TaskGroups: [group({ Tasks: [{ ...task, Resources: { ...task.Resources, CPU } }] })] });
    await leader.register(system, big("first", 3_000));
    const waiting = await leader.register(system, big("second", 2_000));
    assert.equal(waiting.created.length, 2);
    const blocked = waiting.created.find(({ NodeID }) => NodeID === node?.ID)!;
    const again = await leader.run(system, blocked);
    assert.equal(again.reblocked[0]?.ID, blocked.ID);
    assert.deepEqual(again.created, []);
    for (const allocation of leader.live({ ID: "first", Namespace: "default" }))
      leader.report(allocation.ID, { DesiredStatus: "stop", ClientStatus: "complete" });
    const woken = await leader.run(system, leader.state.evaluation(blocked.ID)!);
    assert.equal(woken.updated[0]?.Status, "complete");
    assert.deepEqual(
      woken.placed.map(({ NodeID }) => NodeID),
      [node?.ID],
    );
    assert.notEqual(node?.ID, other?.ID);
  });
});

describe("preemption", () => {
  it("puts those that must leave into the plan and into its annotations", async () => {
    const leader = new SchedulerHarness({
      placer: (scope): Placer => {
        const placer = new ScanPlacer(scope);
        return {
          place: (request) => {
            const placement = placer.place(request);
            if ("failed" in placement) return placement;
            const preempted = scope.state
              .allocationsByNode(placement.nodeId)
              .filter((allocation) => allocation.JobID === "victim");
            return { ...placement, preempted };
          },
          fitInPlace: (...args) => placer.fitInPlace(...args),
          classEligibility: () => placer.classEligibility(),
        };
      },
    });
    cluster(leader, 1);
    await leader.register(system, job({ ID: "victim" }));
    const [victim] = leader.live({ ID: "victim", Namespace: "default" });
    const run = await leader.run(
      system,
      makeEvaluation(leader.state.putJob(job()), { AnnotatePlan: true } as Partial<Evaluation>),
    );
    const [plan] = run.plans;
    const [evicted] = Object.values(plan!.NodePreemptions).flat();
    const [placed] = Object.values(plan!.NodeAllocation).flat();
    assert.equal(evicted?.ID, victim?.ID);
    assert.equal(evicted?.DesiredStatus, "evict");
    assert.equal(evicted?.PreemptedByAllocation, placed?.ID);
    assert.deepEqual(placed?.PreemptedAllocations, [victim?.ID]);
    assert.equal(plan?.Annotations?.DesiredTGUpdates?.g?.Preemptions, 1);
    assert.equal(plan?.Annotations?.PreemptedAllocs?.[0]?.ID, victim?.ID);
  });
});

describe("sysbatch jobs", () => {
  const batch = (overrides: Partial<Job> = {}): Job => job({ Type: "sysbatch", ...overrides });

  it("are done where they ended, well or not, until the job changes", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 2);
    await leader.register(sysbatch, batch());
    const [a, b] = leader.live(batch());
    leader.report(a!.ID, { ClientStatus: "complete" });
    leader.report(b!.ID, { ClientStatus: "failed" });
    const again = await leader.run(sysbatch, makeEvaluation(batch()));
    assert.deepEqual(again.placed, []);
    const changed = await leader.register(sysbatch, batch({ Meta: { run: "2" } }));
    assert.equal(changed.placed.length, 2);
  });

  it("run again on a node that was lost and came back, and after a drain, as they were interrupted", async () => {
    const leader = new SchedulerHarness();
    const [lost, drained] = cluster(leader, 2);
    await leader.register(sysbatch, batch());
    const onDrained = leader.live(batch()).find(({ NodeID }) => NodeID === drained?.ID)!;
    leader.state.putNode({ ...lost!, Status: "down" });
    leader.state.putNode({ ...drained!, SchedulingEligibility: "ineligible" });
    leader.report(onDrained.ID, {
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    });
    await leader.run(sysbatch, makeEvaluation(batch()));
    assert.deepEqual(leader.live(batch()), []);
    leader.state.putNode(lost!);
    leader.state.putNode(drained!);
    const run = await leader.run(sysbatch, makeEvaluation(batch()));
    assert.equal(run.placed.length, 2);
  });

  it("stay stopped where an operator stopped them", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 1);
    await leader.register(sysbatch, batch());
    leader.report(leader.live(batch())[0]!.ID, {
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    });
    await leader.run(sysbatch, makeEvaluation(batch()));
    const run = await leader.run(sysbatch, makeEvaluation(batch()));
    assert.deepEqual(run.placed, []);
    assert.deepEqual(leader.live(batch()), []);
  });

  it("of a parameterized job run nothing themselves", async () => {
    const leader = new SchedulerHarness();
    cluster(leader, 1);
    const ParameterizedJob = { MetaOptional: null, MetaRequired: null, Payload: "optional" } as const;
    const run = await leader.register(sysbatch, batch({ ParameterizedJob }));
    assert.deepEqual(run.placed, []);
    assert.equal(run.updated[0]?.Status, "complete");
  });
});

describe("whatever happens to nodes and jobs", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("join" as const), datacenter: fc.constantFrom("dc1", "dc2") }),
    fc.record({
      kind: fc.constantFrom("down" as const, "up" as const, "ineligible" as const, "eligible" as const),
      node: fc.nat(9),
    }),
    fc.record({
      kind: fc.constant("job" as const),
      command: fc.constantFrom("/bin/a", "/bin/b"),
      cpu: fc.constantFrom(100, 3_000),
    }),
    fc.record({ kind: fc.constant("end" as const), allocation: fc.nat(9) }),
  );

  it("an evaluation leaves exactly one live allocation on each open node with room, none on a node that is gone", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const leader = new SchedulerHarness();
        cluster(leader, 2);
        await leader.register(system, job());
        for (const each of steps) {
          const nodes = leader.state.nodes();
          const node = "node" in each ? nodes[each.node % nodes.length]! : nodes[0]!;
          if (each.kind === "join") cluster(leader, 1, { Datacenter: each.datacenter });
          else if (each.kind === "down") leader.state.putNode({ ...node, Status: "down" });
          else if (each.kind === "up") leader.state.putNode({ ...node, Status: "ready" });
          else if (each.kind === "ineligible" || each.kind === "eligible")
            leader.state.putNode({ ...node, SchedulingEligibility: each.kind });
          else if (each.kind === "job") {
            const task = makeTask({ Config: { command: each.command } });
            const Resources = { ...task.Resources, CPU: each.cpu };
            leader.state.putJob(job({ TaskGroups: [group({ Tasks: [{ ...task, Resources }] })] }));
          } else if (each.kind === "end") {
            const live = leader.live(job());
            if (live.length > 0)
              leader.report(live[each.allocation % live.length]!.ID, { ClientStatus: "failed" });
          }
          await leader.run(system, makeEvaluation(job()));
          const live = leader.live(job());
          for (const one of leader.state.nodes()) {
            const here = live.filter((allocation) => allocation.NodeID === one.ID);
            const open =
              one.Status === "ready" && one.SchedulingEligibility === "eligible" && one.Datacenter === "dc1";
            if (open) assert.equal(here.length, 1, `node ${one.ID}`);
            if (one.Status === "down" || one.Datacenter === "dc2") assert.equal(here.length, 0);
          }
          const version = leader.state.job("default", job().ID)!.Version;
          const openIds = new Set(
            leader.state
              .nodes()
              .filter((one) => one.Status === "ready" && one.SchedulingEligibility === "eligible")
              .map((one) => one.ID),
          );
          for (const allocation of live)
            if (openIds.has(allocation.NodeID)) assert.equal(allocation.JobVersion, version);
          leader.assertNothingOvercommitted();
        }
      }),
      { numRuns: 60 },
    );
  });
});
