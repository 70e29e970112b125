import assert from "node:assert/strict";
import { test } from "node:test";
import type { Allocation, Plan } from "@drover/plugin-sdk";
import { generateUUID } from "@drover/plugin-sdk";
import { checkPlan, genericScheduler } from "@drover/plugin-sdk/scheduling";
import { makeEvaluation, makeGroup, makeJob, makeNode, SchedulerHarness } from "@drover/plugin-sdk/testing";

/** A plan that a scheduler really made, and the state it was made against. */
async function madePlan(): Promise<{
  check: (plan: unknown) => string | null;
  plan: Plan;
  placed: Allocation[];
}> {
  const harness = new SchedulerHarness();
  for (let i = 0; i < 3; i++) harness.state.putNode(makeNode());
  const evaluation = makeEvaluation(harness.state.putJob(makeJob({ TaskGroups: [makeGroup({ Count: 5 })] })));
  const { plans } = await harness.run(genericScheduler({ type: "service", batch: false }), evaluation);
  const plan = structuredClone(plans[0]!);
  const check = (one: unknown): string | null =>
    checkPlan(one, { evaluation, token: "token", state: harness.state });
  // What was committed of it exists now; a new allocation has the same shape.
  const placed = Object.values(plan.NodeAllocation).flat();
  for (const allocation of placed) allocation.ID = generateUUID();
  return { check, plan, placed };
}

test("a plan that a scheduler makes passes", async () => {
  const { check, plan, placed } = await madePlan();
  assert.equal(placed.length, 5);
  assert.equal(check(plan), null);
});

const damages: readonly [what: string, damage: (plan: Plan, one: Allocation) => unknown, says: RegExp][] = [
  ["that is a list", () => [], /EvalID is undefined/],
  [
    "without lists",
    (plan) => Object.assign(plan, { NodeUpdate: null }),
    /NodeUpdate is null, not lists by node/,
  ],
  [
    "with something for a list",
    (plan) => Object.assign(plan.NodeAllocation, { x: 7 }),
    /of node x is a number/,
  ],
  [
    "with null for an allocation",
    (plan, one) => plan.NodeAllocation[one.NodeID]!.push(null as never),
    /holds null/,
  ],
  ["with an id that is none", (_, one) => Object.assign(one, { ID: "1" }), /the ID "1", no UUID/],
  [
    "with an allocation on two nodes",
    (_, one) => Object.assign(one, { NodeID: generateUUID() }),
    /with the NodeID/,
  ],
  ["for another namespace", (_, one) => Object.assign(one, { Namespace: "other" }), /in namespace "other"/],
  ["for a group of no job", (_, one) => Object.assign(one, { TaskGroup: "db" }), /of group "db"/],
  [
    "with a status of its own",
    (_, one) => Object.assign(one, { ClientStatus: "fine" }),
    /the status "fine", "run"/,
  ],
  ["with an update of nothing", (_, one) => Object.assign(one, { CreateIndex: 9 }), /has no such allocation/],
  [
    "with a number that is none",
    (_, one) => Object.assign(one, { JobVersion: Number.NaN }),
    /the JobVersion NaN/,
  ],
  [
    "that stops what isn't there",
    (plan, one) => Object.assign(plan.NodeUpdate, { [one.NodeID]: [{ ...one, ID: generateUUID() }] }),
    /NodeUpdate names allocation [0-9a-f-]+, which does not exist/,
  ],
  [
    "without cores it can count",
    (_, one) => {
      one.AllocatedResources = structuredClone(one.AllocatedResources);
      Object.values(one.AllocatedResources.Tasks)[0]!.Cpu.ReservedCores = 4 as never;
    },
    /Cpu\.ReservedCores 4, neither a list nor null/,
  ],
];
for (const [what, damage, says] of damages) {
  test(`a plan ${what} does not`, async () => {
    const { check, plan, placed } = await madePlan();
    const made = damage(plan, placed[0]!);
    assert.match(check(Array.isArray(made) && made.length === 0 ? made : plan) ?? "", says);
  });
}
