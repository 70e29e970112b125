/** How the store keeps the placements of plans: a block a plan, rows that refer to it, and what becomes of them. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { type Allocation, STORED_OUTLINE, wholeAllocation } from "@drover/plugin-sdk";
import { CommandType } from "../../../core/state/index.js";
import { GONE } from "../../../core/state/read/block-states.js";
import { openReader } from "../../../core/state/read/index.js";
import {
  type Machine,
  makeAllocation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
  report,
  TIME,
} from "./support.js";

const node = makeNode();
let machine: Machine;
let evaluation: string;
beforeEach(() => {
  machine = openMachine();
  machine.apply(nodeRegistration(node), registration(makeJob()));
  evaluation = randomUUID();
});
afterEach(() => machine.close());

function place(count: number): Allocation[] {
  const Placed = Array.from({ length: count }, (_, i) =>
    makeAllocation({ EvalID: evaluation, NodeID: node.ID, Name: `web.app[${i}]` }),
  );
  const [result] = machine.apply(plan({ EvalID: evaluation, Placed }));
  assert.ok(!(result instanceof Error), String(result));
  return Placed;
}

function collect(...allocations: readonly Allocation[]): void {
  machine.run(CommandType.EvaluationDelete, { EvalIDs: [], AllocIDs: allocations.map(({ ID }) => ID) });
}

const blocks = (): number => machine.store.tables.planBlocks.getKeysCount();
/** By block: how many allocations refer to it. */
const uses = (): number[] =>
  Array.from(machine.store.tables.blockStates.getRange({}), ({ value }) =>
    typeof value === "number" ? value : value.filter((state) => state !== GONE).length,
  );

describe("outlines of a job's allocations", () => {
  it("come from blocks alone while nothing but statuses changed", () => {
    const [first, second] = place(3) as [Allocation, Allocation, Allocation];
    machine.apply(report(first, { ClientStatus: "running" }), report(second, { ClientStatus: "complete" }));
    using snapshot = machine.store.snapshot();
    const outlines = snapshot.allocationOutlines("default", "web");
    assert.ok(outlines.every((outline) => STORED_OUTLINE in outline));
    const statuses = new Map(outlines.map(({ ID, ClientStatus }) => [ID, ClientStatus]));
    assert.equal(statuses.get(first.ID), "running");
    assert.equal(statuses.get(second.ID), "complete");
    const outline = outlines.find(({ ID }) => ID === first.ID)!;
    assert.deepEqual(wholeAllocation(outline), snapshot.allocation(first.ID));
  });

  it("are whole allocations where a block of an older schema has no states", () => {
    const placed = place(2);
    const { blockStates } = machine.store.tables;
    for (const key of [...blockStates.getKeys()]) blockStates.putSync(key, 2);
    using snapshot = machine.store.snapshot();
    const outlines = snapshot.allocationOutlines("default", "web");
    assert.deepEqual(outlines.map(({ ID }) => ID).sort(), placed.map(({ ID }) => ID).sort());
    assert.ok(outlines.every((outline) => !(STORED_OUTLINE in outline)));
    collect(...placed);
    assert.deepEqual([blocks(), uses()], [0, []]);
  });

  it("can't be read further once their snapshot is closed", () => {
    place(1);
    const snapshot = machine.store.snapshot();
    const [outline] = snapshot.allocationOutlines("default", "web");
    snapshot.close();
    assert.throws(() => wholeAllocation(outline!), /is closed/);
  });
});

describe("the block of a plan in the store", () => {
  it("stays as long as one of its allocations does, whatever their nodes report", () => {
    const [first, second, third] = place(3) as [Allocation, Allocation, Allocation];
    machine.apply(report(first, { ClientStatus: "complete" }));
    assert.deepEqual([blocks(), uses()], [1, [3]]);
    collect(first, third);
    assert.deepEqual([blocks(), uses()], [1, [1]]);
    using snapshot = machine.store.snapshot();
    assert.equal(snapshot.allocation(second.ID)?.Name, "web.app[1]");
    collect(second);
    assert.deepEqual([blocks(), uses()], [0, []]);
  });

  it("is let go when its allocations were updated in place by later plans", () => {
    const placed = place(2);
    using before = machine.store.snapshot();
    const updates = placed.map(({ ID }) => ({ ...before.allocation(ID)!, DesiredDescription: "new" }));
    machine.apply(plan({ EvalID: evaluation, Placed: updates.slice(0, 1) }));
    assert.deepEqual([blocks(), uses()], [2, [1, 1]]);
    machine.apply(plan({ EvalID: evaluation, Placed: updates.slice(1) }));
    assert.deepEqual([blocks(), uses()], [2, [1, 1]]);
    using after = machine.store.snapshot();
    for (const update of updates) {
      const row = after.allocation(update.ID)!;
      assert.equal(row.CreateIndex, update.CreateIndex);
      assert.equal(row.DesiredDescription, "new");
    }
    collect(...placed);
    assert.deepEqual([blocks(), uses()], [0, []]);
  });

  it("of an entry that was undone is not found under the index that comes next", () => {
    const good = makeAllocation({ EvalID: evaluation, NodeID: node.ID });
    const bad = makeAllocation({ EvalID: evaluation, NodeID: node.ID, JobID: "gone" });
    const results = machine.apply(
      plan({ EvalID: evaluation, Placed: [good] }),
      plan({ EvalID: evaluation, Placed: [bad] }),
      plan({ EvalID: evaluation, Placed: [makeAllocation({ EvalID: evaluation, NodeID: node.ID })] }),
    );
    assert.deepEqual(
      results.map((result) => result instanceof Error),
      [false, true, false],
    );
    assert.equal(blocks(), 2);
    using snapshot = machine.store.snapshot();
    assert.equal(snapshot.allocation(good.ID)?.ID, good.ID);
    assert.equal(snapshot.allocation(bad.ID), null);
  });

  it("refuses to place an allocation twice, and an id that is no UUID", () => {
    const twice = makeAllocation({ EvalID: evaluation, NodeID: node.ID });
    const [refused] = machine.apply(
      plan({ EvalID: evaluation, Placed: [twice, { ...twice, Name: "web.app[1]" }] }),
    );
    assert.match(String(refused), /places an allocation twice/);
    const [odd] = machine.apply(
      plan({ EvalID: evaluation, Placed: [makeAllocation({ ID: "odd", NodeID: node.ID })] }),
    );
    assert.match(String(odd), /allocation "odd": the id is no UUID/);
    assert.equal(blocks(), 0);
  });

  it("is another one for a reader of another thread after the state was replaced", async () => {
    const folder = join(machine.folder, "snapshot");
    const other = openMachine();
    try {
      // The same indexes mean other plans in the two stores.
      other.apply(nodeRegistration(node), registration(makeJob()));
      const theirs = makeAllocation({ EvalID: evaluation, NodeID: node.ID, Name: "web.app[77]" });
      theirs.AllocatedResources.Tasks.server!.Cpu.CpuShares = 777;
      other.apply(plan({ EvalID: evaluation, Placed: [theirs] }));
      await other.fsm.snapshot(folder);

      const [ours] = place(1) as [Allocation];
      const reader = openReader(machine.store.path);
      {
        using snapshot = reader.snapshot();
        assert.equal(snapshot.allocation(ours.ID)?.Name, "web.app[0]");
      }
      await machine.fsm.restore(folder);
      {
        using snapshot = reader.snapshot();
        assert.equal(snapshot.allocation(ours.ID), null);
        assert.equal(snapshot.allocation(theirs.ID)?.Name, "web.app[77]");
      }
      const { usage } = machine.store;
      assert.equal(usage.numbers.cpuUsed[usage.row(node.ID)!], 777);
      await reader.close();
    } finally {
      await other.close();
    }
  });

  it("keeps metrics where they were written: a node's report doesn't copy them", () => {
    const metrics = {
      AllocationTime: 1,
      ClassExhausted: null,
      ClassFiltered: null,
      CoalescedFailures: 0,
      ConstraintFiltered: { "${attr.kernel.name} = linux, of a very long name indeed": 5 },
      DimensionExhausted: null,
      NodesAvailable: { dc1: 3 },
      NodesEvaluated: 3,
      NodesExhausted: 0,
      NodesFiltered: 0,
      QuotaExhausted: null,
      ResourcesExhausted: null,
      ScoreMetaData: [{ NodeID: node.ID, NormScore: 0.5, Scores: { binpack: 0.5 } }],
      Scores: null,
    };
    const placed = makeAllocation({ EvalID: evaluation, NodeID: node.ID, Metrics: metrics });
    machine.apply(plan({ EvalID: evaluation, Placed: [placed] }), report(placed, {}));
    const raw = machine.store.env.openDB("allocs", { encoding: "binary", keyEncoding: "binary" } as object);
    const sizes = [...raw.getRange({ start: Buffer.from([0]) as never })].map(
      ({ value }) => (value as Buffer).length,
    );
    assert.ok(sizes.length === 1 && sizes[0]! < 64, `${sizes} bytes`);
    using snapshot = machine.store.snapshot();
    const row = snapshot.allocation(placed.ID)!;
    assert.equal(row.ClientStatus, "running");
    assert.equal(row.ModifyTime, TIME + 1e6);
    assert.deepEqual(row.Metrics, metrics);
  });
});

describe("rows of the first layout", () => {
  it("are read, changed and collected as they are", () => {
    const old = makeAllocation({ EvalID: evaluation, NodeID: node.ID, JobCreateIndex: 2, CreateIndex: 1 });
    machine.store.commit(machine.store.index(), (txn) => {
      txn.begin(machine.store.index());
      txn.putAllocation(old, null);
      txn.end();
    });
    machine.apply(report(old, { ClientStatus: "failed" }));
    {
      using snapshot = machine.store.snapshot();
      assert.equal(snapshot.allocationsByJob("default", "web")[0]?.ClientStatus, "failed");
    }
    collect(old);
    using snapshot = machine.store.snapshot();
    assert.equal(snapshot.allocation(old.ID), null);
  });

  it("are in a store that says schema 1, which is raised when it is opened", async () => {
    machine.store.env.transactionSync(() => void machine.store.tables.meta.putSync("schema", 1));
    machine = await machine.reopen();
    assert.equal(machine.store.tables.meta.get("schema"), 4);
  });
});
