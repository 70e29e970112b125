import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import {
  type Allocation,
  type Job,
  type Node,
  NodeCheck,
  type PackedPlan,
  type Plan,
} from "@drover/plugin-sdk";
import {
  createPlan,
  nodeFits,
  placeAllocation,
  preemptAllocation,
  stopAllocation,
} from "@drover/plugin-sdk/scheduling";
import { eventually, makeEvaluation, makeGroup, quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { CommandLog } from "../../../core/server/command-log.js";
import type { EvalBroker } from "../../../core/server/evaluations/eval-broker.js";
import { PlanApplier } from "../../../core/server/plans/plan-applier.js";
import { type Command, CommandType } from "../../../core/state/index.js";
import { packPlan, SharedNodeColumns } from "../../../core/state/read/index.js";
import {
  type Machine,
  makeAllocation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  registration,
} from "../state/support.js";
import { SingleConsensus } from "./single-consensus.js";

/** The log, whose entries are committed when the test lets them. */
class HeldConsensus extends SingleConsensus {
  held: (() => void)[] | undefined;

  override async propose(data: Uint8Array): Promise<{ index: number; result: unknown }> {
    if (this.held !== undefined) await new Promise<void>((resolve) => this.held!.push(resolve));
    return super.propose(data);
  }

  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const resolve of held) resolve();
  }
}

const evaluation = makeEvaluation({ ID: "e0000000-0000-4000-8000-000000000001", JobID: "web" } as never);

describe("the plan applier", () => {
  let machine: Machine;
  let consensus: HeldConsensus;
  let applier: PlanApplier;
  let node: Node;

  beforeEach(async () => {
    machine = openMachine();
    consensus = new HeldConsensus();
    await consensus.start(machine.fsm);
    applier = new PlanApplier({
      state: machine.store,
      usage: machine.store.usage,
      commands: new CommandLog(consensus),
      broker: {
        pauseNackTimeout() {},
        resumeNackTimeout() {},
        outstandingToken: () => "token",
      } as unknown as EvalBroker,
      log: quietLogger,
      metrics: quietMetrics,
    });
    applier.queue.setEnabled(true);
    // 3,900 MHz are free for allocations.
    node = makeNode();
    await propose(nodeRegistration(node), registration(makeJob()), registration(makeJob({ ID: "api" })));
  });
  afterEach(() => machine.close());

  async function propose(...commands: Command[]): Promise<void> {
    const log = new CommandLog(consensus);
    for (const { type, payload } of commands) await log.propose(type, payload as never);
  }

  function job(id = "web"): Job {
    using snapshot = machine.store.snapshot();
    return snapshot.job("default", id)!;
  }

  function plan(fill: (plan: Plan) => void, changes: Partial<Plan> = {}): PackedPlan {
    const made = createPlan(evaluation, "token", job(), machine.store.index());
    fill(made);
    return packPlan(Object.assign(made, changes), 1.8e18);
  }

  function allocation(cpu: number, changes: Partial<Allocation> = {}): Allocation {
    const made = makeAllocation({
      NodeID: node.ID,
      EvalID: evaluation.ID,
      JobCreateIndex: job().CreateIndex,
      ...changes,
    });
    made.AllocatedResources.Tasks.server!.Cpu.CpuShares = cpu;
    made.AllocatedResources.Tasks.server!.Memory.MemoryMB = 1;
    made.AllocatedResources.Shared.DiskMB = 1;
    return made;
  }

  function live(): Allocation[] {
    using snapshot = machine.store.snapshot();
    return snapshot.allocationsByNode(node.ID).filter((one) => one.DesiredStatus === "run");
  }

  it("commits what fits and refuses a node where it doesn't, with the index to look at again", async () => {
    const done = await applier.submit(plan((to) => placeAllocation(to, allocation(3_000))));
    assert.deepEqual([done.refused, done.refreshIndex], [[], 0]);
    assert.equal(live().length, 1);
    const other = makeNode({ ID: "20000000-0000-4000-8000-000000000002" });
    await propose(nodeRegistration(other));
    const half = await applier.submit(
      plan((to) => {
        placeAllocation(to, allocation(1_000));
        placeAllocation(to, allocation(1_000, { NodeID: other.ID }));
      }),
    );
    assert.deepEqual(half.refused, [node.ID]);
    assert.equal(half.refreshIndex, half.index);
    assert.equal(live().length, 1);
    using snapshot = machine.store.snapshot();
    assert.equal(snapshot.allocationsByNode(other.ID).length, 1);
  });

  it("counts what plans under way will take, so that two of them never overcommit a node", async () => {
    consensus.held = [];
    const first = applier.submit(plan((to) => placeAllocation(to, allocation(3_000))));
    const second = applier.submit(plan((to) => placeAllocation(to, allocation(3_000))));
    await eventually("the first is proposed", () => consensus.held!.length === 1);
    consensus.release();
    const done = await first;
    assert.deepEqual(done.refused, []);
    const refused = await second;
    assert.deepEqual(refused.refused, [node.ID]);
    assert.ok(refused.refreshIndex >= done.index, "the state to look at shows what took the room");
    using snapshot = machine.store.snapshot();
    assert.ok(nodeFits(snapshot.node(node.ID)!, snapshot.allocationsByNode(node.ID)).fits);
    const third = await applier.submit(plan((to) => placeAllocation(to, allocation(900))));
    assert.deepEqual(third.refused, [], "what was under way is counted once, by the state");
  });

  it("does not go by what a thread wrote into the shared columns", async () => {
    const columns = new SharedNodeColumns(machine.store.columns);
    columns.cpuTotal[columns.row(node.ID)!] = 1e9;
    const refused = await applier.submit(plan((to) => placeAllocation(to, allocation(9_000))));
    assert.deepEqual(refused.refused, [node.ID]);
  });

  it("lets a plan that must look at a whole node wait for those under way there", async () => {
    await applier.submit(plan((to) => placeAllocation(to, allocation(3_000, { ID: OLD }))));
    const old = live()[0]!;
    consensus.held = [];
    const replace = applier.submit(
      plan((to) => {
        stopAllocation(to, old, { description: "replaced" });
        placeAllocation(to, allocation(3_500));
      }),
    );
    await eventually("the first plan is proposed", () => consensus.held!.length === 1);
    const next = applier.submit(plan((to) => placeAllocation(to, allocation(300))));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(consensus.held!.length, 1, "the room that the first makes isn't there yet");
    consensus.release();
    assert.deepEqual([(await replace).refused, (await next).refused], [[], []]);
    assert.equal(live().length, 2);
  });

  it("commits all or nothing of a plan that says so", async () => {
    const other = makeNode({ ID: "20000000-0000-4000-8000-000000000002" });
    await propose(nodeRegistration(other));
    const result = await applier.submit(
      plan(
        (to) => {
          placeAllocation(to, allocation(9_000));
          placeAllocation(to, allocation(100, { NodeID: other.ID }));
        },
        { AllAtOnce: true },
      ),
    );
    assert.deepEqual([result.refused, result.index], [[node.ID], 0]);
    assert.equal(result.refreshIndex, machine.store.index());
    using snapshot = machine.store.snapshot();
    assert.equal(snapshot.allocationsByNode(other.ID).length, 0);
  });

  it("refuses new allocations on a node that is ineligible or gone, and lets them stop there", async () => {
    await applier.submit(plan((to) => placeAllocation(to, allocation(100, { ID: OLD }))));
    await propose({
      type: CommandType.NodeUpdateEligibility,
      payload: { NodeID: node.ID, Eligibility: "ineligible", Event: null, Evaluations: [], Time: 1.8e18 },
    });
    const refused = await applier.submit(plan((to) => placeAllocation(to, allocation(100))));
    assert.deepEqual(refused.refused, [node.ID]);
    await propose({
      type: CommandType.NodeDeregister,
      payload: { NodeIDs: [node.ID], Evaluations: [], Time: 1.8e18 },
    });
    const gone = await applier.submit(plan((to) => placeAllocation(to, allocation(100))));
    assert.deepEqual(gone.refused, [node.ID]);
    const old = live()[0]!;
    const stopped = await applier.submit(
      plan((to) => stopAllocation(to, old, { description: "lost", clientStatus: "lost" })),
    );
    assert.deepEqual(stopped.refused, []);
    assert.equal(live().length, 0);
  });

  it("makes an evaluation for each job that loses allocations to a plan", async () => {
    await applier.submit(
      plan((to) =>
        placeAllocation(
          to,
          allocation(3_000, { ID: OLD, JobID: "api", JobCreateIndex: job("api").CreateIndex }),
        ),
      ),
    );
    const victim = live()[0]!;
    const chosen = allocation(3_500, { PreemptedAllocations: [victim.ID] });
    const result = await applier.submit(
      plan((to) => {
        preemptAllocation(to, victim, chosen.ID);
        placeAllocation(to, chosen);
      }),
    );
    assert.deepEqual(result.refused, []);
    using snapshot = machine.store.snapshot();
    const evicted = snapshot.allocation(victim.ID)!;
    assert.deepEqual([evicted.DesiredStatus, evicted.PreemptedByAllocation], ["evict", chosen.ID]);
    assert.deepEqual(snapshot.allocation(chosen.ID)?.PreemptedAllocations, [victim.ID]);
    assert.deepEqual(
      snapshot.evaluationsByJob("default", "api").map((one) => [one.TriggeredBy, one.Status]),
      [["preemption", "pending"]],
    );
  });

  it("takes a large plan as several entries, stops with the first", async () => {
    const large = makeJob({ ID: "large", TaskGroups: [makeGroup({ Count: 1_000 })] });
    await propose(registration(large));
    await applier.submit(plan((to) => placeAllocation(to, allocation(1, { ID: OLD }))));
    const old = live()[0]!;
    const packed = plan((to) => {
      stopAllocation(to, old, { description: "replaced" });
      for (let i = 0; i < 1_000; i++) {
        const id = `30000000-0000-4000-8000-${String(i).padStart(12, "0")}`;
        placeAllocation(to, allocation(1, { ID: id, Name: `web.app[${i}]` }));
      }
    });
    assert.ok(packed.commands.length > 1);
    const result = await applier.submit(packed);
    assert.deepEqual(result.refused, []);
    assert.equal(live().length, 1_000);
    assert.equal(result.index, machine.store.index());
  });

  it("does not commit what was checked in a term that ended, and answers it", async () => {
    const withPort = allocation(100);
    withPort.AllocatedResources.Shared.Ports = [{ HostIP: "10.0.0.1", Label: "http", To: 0, Value: 8080 }];
    const answer = applier.submit(plan((to) => placeAllocation(to, withPort)));
    answer.catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(applier.queue.depth, 0, "the check began");
    // It takes turns of its own; meanwhile another server led, and this one leads again.
    applier.queue.setEnabled(false);
    applier.queue.setEnabled(true);
    await assert.rejects(answer, /lost leadership while the plan was being checked/);
    assert.deepEqual(live(), []);
    const again = await applier.submit(plan((to) => placeAllocation(to, withPort)));
    assert.deepEqual(again.refused, [], "nothing is held for the plan that was given up");
  });
});

describe("a packed plan", () => {
  it("tells which nodes need only counting", () => {
    const id = (n: number): string => `10000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
    const made = createPlan(evaluation, "token", null, 1);
    const counted = makeAllocation({ NodeID: id(1) });
    const withPort = makeAllocation({ NodeID: id(2) });
    withPort.AllocatedResources.Shared.Ports = [{ HostIP: "10.0.0.1", Label: "http", To: 0, Value: 8080 }];
    placeAllocation(made, counted);
    placeAllocation(made, withPort);
    placeAllocation(made, makeAllocation({ NodeID: id(3), CreateIndex: 5 }));
    placeAllocation(made, makeAllocation({ NodeID: id(4) }));
    stopAllocation(made, makeAllocation({ NodeID: id(4) }), { description: "" });
    stopAllocation(made, makeAllocation({ NodeID: id(5) }), { description: "" });
    placeAllocation(made, makeAllocation({ NodeID: id(6), CreateIndex: 5, ClientStatus: "failed" }));
    const packed = packPlan(made, 1);
    const checks = Object.fromEntries(packed.nodes.map((node, i) => [node, packed.checks[i]]));
    assert.deepEqual(checks, {
      [id(1)]: NodeCheck.Counted,
      [id(2)]: NodeCheck.Whole,
      [id(3)]: NodeCheck.Whole,
      [id(4)]: NodeCheck.Whole,
      [id(5)]: NodeCheck.None,
      [id(6)]: NodeCheck.None,
    });
  });
});

const OLD = "00000000-0000-4000-8000-00000000000a";
