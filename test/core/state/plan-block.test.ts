import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import type { Allocation, AllocMetric } from "@drover/plugin-sdk";
import fc from "fast-check";
import { CommandType, decodeCommand, PlanBlock } from "../../../core/state/index.js";
import { allocationOf, placedRow } from "../../../core/state/read/allocation-rows.js";
import { createRowEncoders } from "../../../core/state/read/rows.js";
import { makeAllocation } from "./support.js";

const uuid = (kind: number, n: number): string =>
  `${kind}0000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

const counts = fc.option(fc.dictionary(fc.constantFrom("a", "b", "${meta.x} = 1"), fc.nat(5)), { nil: null });
const score = fc.record({
  NodeID: fc.nat(9).map((n) => uuid(1, n)),
  NormScore: fc.double({ noNaN: true }),
  Scores: fc.dictionary(
    fc.constantFrom("binpack", "job-anti-affinity", "node-affinity"),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
  ),
});
const metric: fc.Arbitrary<AllocMetric> = fc.record({
  AllocationTime: fc.nat(),
  ClassExhausted: counts,
  ClassFiltered: counts,
  CoalescedFailures: fc.nat(2),
  ConstraintFiltered: counts,
  DimensionExhausted: counts,
  NodesAvailable: counts,
  NodesEvaluated: fc.nat(),
  NodesExhausted: fc.nat(),
  NodesFiltered: fc.nat(),
  QuotaExhausted: fc.constantFrom(null, ["cpu"]),
  ResourcesExhausted: fc.constant(null),
  ScoreMetaData: fc.option(fc.array(score, { maxLength: 5 }), { nil: null }),
  Scores: fc.constantFrom(null, { x: 1 }),
});
const resources = [100, 200].map((cpu) => {
  const { AllocatedResources } = makeAllocation();
  AllocatedResources.Tasks.server!.Cpu.CpuShares = cpu;
  return AllocatedResources;
});
const allocation = fc
  .record({
    node: fc.nat(9),
    name: fc.oneof(
      fc.nat(2 ** 31).map((n) => `web.app[${n}]`),
      fc.string(),
    ),
    AllocatedResources: fc.constantFrom(...resources),
    Metrics: fc.option(metric, { nil: null }),
    JobVersion: fc.nat(1),
    previous: fc.option(
      fc.nat(9).map((n) => uuid(4, n)),
      { nil: undefined },
    ),
    CreateIndex: fc.nat(1),
    deployment: fc.boolean(),
  })
  .map(({ node, name, previous, deployment, ...changes }) =>
    makeAllocation({
      EvalID: uuid(2, 1),
      JobCreateIndex: 7,
      ...changes,
      Name: name,
      NodeID: uuid(1, node),
      NodeName: `host-${node}`,
      ...(previous === undefined ? {} : { PreviousAllocation: previous }),
      ...(deployment
        ? {
            DeploymentID: uuid(5, 1),
            DeploymentStatus: { Canary: true, Healthy: null, ModifyIndex: 0, Timestamp: "" },
          }
        : {}),
    }),
  );
const placements = fc
  .array(allocation, { maxLength: 40 })
  .map((list) => list.map((one, i) => ({ ...one, ID: uuid(3, i) })));

/** -0 and 0 are one score. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("the block of a plan", () => {
  it("gives every allocation as it was planned (property)", () => {
    fc.assert(
      fc.property(placements, (list) => {
        const block = PlanBlock.of(list);
        assert.deepEqual(plain([...block]), plain(list));
        assert.deepEqual(new Set(block.placedNodes()), new Set(list.map((one) => one.NodeID)));
        for (const [at, one] of list.entries()) assert.equal(block.isUpdate(at), one.CreateIndex !== 0);
      }),
    );
  });

  it("without some nodes is the block of the other allocations (property)", () => {
    fc.assert(
      fc.property(placements, fc.uniqueArray(fc.nat(9)), (list, nodes) => {
        const gone = new Set(nodes.map((n) => uuid(1, n)));
        const rest = list.filter((one) => !gone.has(one.NodeID));
        const cut = PlanBlock.of(list).without(gone);
        assert.deepEqual(plain([...cut]), plain(rest));
        for (const [at, one] of rest.entries()) assert.equal(cut.isUpdate(at), one.CreateIndex !== 0);
      }),
    );
  });

  it("bears the index and time of its commit, also where health was not decided yet", () => {
    const planned = makeAllocation({
      JobCreateIndex: 7,
      DeploymentID: uuid(5, 1),
      DeploymentStatus: { Canary: false, Healthy: null, ModifyIndex: 0, Timestamp: "" },
    });
    const stored = PlanBlock.of([planned]).allocation(0, { index: 42, time: 5e18 });
    assert.deepEqual(
      [stored.CreateIndex, stored.ModifyIndex, stored.AllocModifyIndex, stored.CreateTime, stored.ModifyTime],
      [42, 42, 42, 5e18, 5e18],
    );
    assert.equal(stored.DeploymentStatus?.ModifyIndex, 42);
  });

  it("writes what allocations share once: a placement with five scores takes less than 85 bytes, one without 25", () => {
    const metrics = (n: number): AllocMetric => ({
      ...fc.sample(metric, { seed: 1, numRuns: 1 })[0]!,
      AllocationTime: 10_000,
      ScoreMetaData: [0, 1, 2, 3, 4].map((i) => shared[n + i]!),
    });
    const shared = Array.from({ length: 1_005 }, (_, n) => ({
      NodeID: uuid(1, n),
      NormScore: n / 7,
      Scores: { binpack: n / 7, "job-anti-affinity": 0, "node-affinity": 0 },
    }));
    const list = Array.from({ length: 1_000 }, (_, n) =>
      makeAllocation({
        ID: uuid(3, n),
        EvalID: uuid(2, 1),
        Name: `web.app[${n}]`,
        NodeID: uuid(1, n % 100),
        AllocatedResources: resources[0]!,
        Metrics: metrics(n),
      }),
    );
    const { bytes } = PlanBlock.of(list);
    assert.ok(bytes.length / list.length < 85, `${bytes.length / list.length} bytes each`);
    assert.ok(PlanBlock.of(list.map((one) => ({ ...one, Metrics: null }))).bytes.length / list.length < 25);
  });

  it("that is damaged says so instead of giving something else", () => {
    const { bytes } = PlanBlock.of([makeAllocation(), makeAllocation()]);
    assert.throws(() => new PlanBlock(bytes.subarray(0, bytes.length - 20)));
  });
});

describe("a row that refers to a block", () => {
  const encoder = createRowEncoders().allocation;
  const changes: fc.Arbitrary<Partial<Allocation>> = fc.record(
    {
      ClientStatus: fc.constantFrom("running" as const, "failed" as const),
      ClientDescription: fc.string(),
      DesiredStatus: fc.constantFrom("stop" as const, "run" as const),
      DesiredDescription: fc.string(),
      ModifyIndex: fc.nat(),
      NextAllocation: fc.uuid(),
      TaskStates: fc.constantFrom(null, { t: { State: "running" } as never }),
      DesiredTransition: fc.constant({ ForceReschedule: null, Migrate: true, Reschedule: null }),
    },
    { requiredKeys: [] },
  );

  it("holds what changed since, and gives the allocation as it is now (property)", () => {
    fc.assert(
      fc.property(
        placements.filter((list) => list.length > 0),
        changes,
        fc.integer({ min: 1, max: 2 ** 50 }),
        (list, change, index) => {
          const block = PlanBlock.of(list);
          const position = list.length - 1;
          const commit = { index, time: 5e18 };
          const now: Allocation = { ...block.allocation(position, commit), ...change };
          const row = encoder.decode(encoder.encode(placedRow(now, block, position, commit)));
          assert.deepEqual(plain(allocationOf(row as never, block, commit.time)), plain(now));
        },
      ),
    );
  });

  it("takes a dozen bytes while nothing changed, and loses a field that is taken back", () => {
    const block = PlanBlock.of([makeAllocation({ JobCreateIndex: 1, FollowupEvalID: uuid(2, 9) })]);
    const commit = { index: 1_000_000, time: 5e18 };
    const placed = block.allocation(0, commit);
    assert.ok(encoder.encode(placedRow(placed, block, 0, commit)).length <= 12);
    const { FollowupEvalID: _, ...without } = placed;
    const row = encoder.decode(encoder.encode(placedRow(without, block, 0, commit)));
    assert.equal("FollowupEvalID" in allocationOf(row as never, block, commit.time), false);
  });
});

describe("a plan in the first form of the log", () => {
  it("is read as it was written", () => {
    const file = new URL("../../../../test/core/state/first-plan-form.json", import.meta.url);
    const { entry, payload } = JSON.parse(readFileSync(file, "utf8")) as { entry: string; payload: object };
    const command = decodeCommand(Buffer.from(entry, "base64"));
    assert.equal(command.type, CommandType.PlanApply);
    assert.deepEqual(plain(command.payload), payload);
  });
});
