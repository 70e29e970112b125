import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Allocation, Placement, PlacementRequest, Placer } from "@drover/plugin-sdk";
import { makeNode, ScanPlacer, SchedulerHarness } from "@drover/plugin-sdk/testing";
import { again, service, web } from "./support.js";

/** Pushes the first allocation of another job aside for everything it places. */
class PushyPlacer implements Placer {
  readonly #inner: ScanPlacer;
  readonly #victims: Allocation[];

  constructor(scope: ConstructorParameters<typeof ScanPlacer>[0]) {
    this.#inner = new ScanPlacer(scope);
    this.#victims = scope.state
      .allocationsByJob("default", "low")
      .filter((one) => one.DesiredStatus === "run");
  }

  place(request: PlacementRequest): ReturnType<Placer["place"]> {
    const placement = this.#inner.place(request);
    const victim = this.#victims.shift();
    return "failed" in placement || victim === undefined ? placement : { ...placement, preempted: [victim] };
  }

  fitInPlace(...of: Parameters<Placer["fitInPlace"]>): Placement | null {
    return this.#inner.fitInPlace(...of);
  }

  classEligibility(): ReturnType<Placer["classEligibility"]> {
    return this.#inner.classEligibility();
  }
}

describe("an allocation that pushes others aside", () => {
  it("names them, and they go with the same plan", async () => {
    const leader = new SchedulerHarness();
    leader.state.putNode(makeNode());
    await leader.register(service, web({ Count: 2 }, { ID: "low", Priority: 10 }));
    const low = leader.live(web({}, { ID: "low" })).map((one) => one.ID);
    const pushy = new SchedulerHarness({ placer: (scope) => new PushyPlacer(scope) });
    for (const node of leader.state.nodes()) pushy.state.putNode(node);
    for (const allocation of leader.state.allocations()) pushy.state.putAllocation(allocation);
    const job = pushy.state.putJob(web({ Count: 3 }, { ID: "high", Priority: 90 }));
    const run = await pushy.run(service, again(job, { AnnotatePlan: true }));

    const named = run.placed.flatMap((one) => one.PreemptedAllocations ?? []);
    assert.deepEqual(named.sort(), low.sort());
    for (const id of low) {
      const row = pushy.state.allocation(id)!;
      const by = run.placed.find((one) => one.PreemptedAllocations?.includes(id))!;
      assert.deepEqual(
        [row.DesiredStatus, row.DesiredDescription, row.PreemptedByAllocation],
        ["evict", `Preempted by alloc ID ${by.ID}`, by.ID],
      );
    }
    const annotations = run.updated[0]!.PlanAnnotations!;
    assert.equal(annotations.DesiredTGUpdates!.g!.Preemptions, 2);
    assert.deepEqual(
      annotations.PreemptedAllocs!.map((stub) => stub.JobID),
      ["low", "low"],
    );
    assert.deepEqual(Object.keys(annotations.PreemptedAllocs![0]!).sort(), [
      "ID",
      "JobID",
      "Name",
      "Namespace",
      "NodeID",
      "TaskGroup",
    ]);
  });
});

describe("an annotated plan", () => {
  const updates = {
    Canary: 0,
    DestructiveUpdate: 0,
    Ignore: 0,
    InPlaceUpdate: 0,
    Migrate: 0,
    Place: 0,
    Preemptions: 0,
    Stop: 0,
  };

  it("counts what it does a group, as recorded", async () => {
    const leader = new SchedulerHarness();
    leader.state.putNode(makeNode());
    const job = leader.state.putJob(web({ Count: 2 }));
    const run = await leader.run(service, again(job, { AnnotatePlan: true }));
    const annotations = { DesiredTGUpdates: { g: { ...updates, Place: 2 } }, PreemptedAllocs: null };
    assert.deepEqual(run.plans[0]!.Annotations, annotations);
    assert.deepEqual(run.updated[0]!.PlanAnnotations, annotations);
  });

  it("is made though nothing is to be done", async () => {
    const leader = new SchedulerHarness();
    leader.state.putNode(makeNode());
    await leader.register(service, web({ Count: 2 }));
    const run = await leader.run(service, again(web({}), { AnnotatePlan: true }));
    assert.deepEqual(run.updated[0]!.PlanAnnotations, {
      DesiredTGUpdates: { g: { ...updates, Ignore: 2 } },
      PreemptedAllocs: null,
    });
  });
});
