/** Random clusters and jobs, placed by the engine under the eyes of the reference. */
import assert from "node:assert/strict";
import type { Allocation, Job, Placement, PlacementRequest, Placer, Plan } from "@drover/plugin-sdk";
import {
  createPlan,
  genericScheduler,
  placeAllocation,
  preemptFor,
  stopAllocation,
} from "@drover/plugin-sdk/scheduling";
import {
  makeEvaluation,
  type PlacerScope,
  SchedulerHarness,
  type SchedulerRun,
} from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { ColumnPlacer } from "../../workers/placement/index.js";
import { CheckedPlacer, checkWholePlan, type Outcome } from "./checked-placer.js";
import { holdsResources, overcommitted } from "./reference/holdings.js";
import { judge } from "./reference/judge.js";
import { allocationId, allocationOf, type Case, cases } from "./reference/random-clusters.js";

/** Checks so many random cases; gives what came of all of them. */
export function checkCases(numRuns: number, preemption: boolean): Outcome {
  const seen: Outcome = { placed: 0, failed: 0, evicting: 0 };
  fc.assert(
    fc.property(cases({ preemption }), (one) => {
      count(seen, placeAndCheck(one));
    }),
    { numRuns },
  );
  if (!preemption) assert.equal(seen.evicting, 0, "others are pushed aside although preemption is off");
  return seen;
}

/** Checks that so many random cases are planned alike when they are planned again. */
export function checkRepeats(numRuns: number): void {
  const withoutTimes = (plan: Plan): unknown =>
    JSON.parse(JSON.stringify(plan, (key, value) => (key === "AllocationTime" ? 0 : value)));
  fc.assert(
    fc.property(cases({ preemption: true }), (one) => {
      assert.deepEqual(withoutTimes(planOf(one)), withoutTimes(planOf(one)));
    }),
    { numRuns },
  );
}

/**
 * Lets the schedulers of service and batch jobs place so many random jobs, and then new versions of them: every placement is
 * checked, and what failed is counted and has no room.
 */
export async function checkSchedulers(numRuns: number): Promise<Outcome> {
  const seen: Outcome = { placed: 0, failed: 0, evicting: 0 };
  const types = fc.constantFrom("service" as const, "batch" as const);
  await fc.assert(
    fc.asyncProperty(cases({ preemption: false }), types, fc.boolean(), async (one, type, moves) => {
      const placers: CheckedPlacer[] = [];
      const leader = new SchedulerHarness({
        placer: (scope) => {
          const placer = new CheckedPlacer(scope);
          placers.push(placer);
          return placer;
        },
      });
      const scheduler = genericScheduler({ type, batch: type === "batch" });
      const job: Job = { ...one.load(leader.state), ID: "fresh", Name: "fresh", Type: type };
      checkFirstRun(leader, job, await leader.register(scheduler, job));
      checkNodes(leader);
      for (const group of job.TaskGroups) {
        group.Count = 1 + ((group.Count * 5) % 8);
        if (moves) group.Tasks[0]!.Env = { VERSION: "2" };
      }
      await leader.register(scheduler, job);
      checkNodes(leader);
      for (const group of job.TaskGroups)
        assert.ok(liveOf(leader, job, group.Name) <= group.Count, `too many of ${group.Name}`);
      for (const { outcome } of placers) count(seen, outcome);
    }),
    { numRuns },
  );
  return seen;
}

/** As many run as have room; the others are counted, and a blocked evaluation waits for them. */
function checkFirstRun(leader: SchedulerHarness, job: Job, run: SchedulerRun): void {
  const { state } = leader;
  const world = {
    nodes: state.nodes(),
    allocations: state.allocations(),
    configuration: state.schedulerConfiguration(),
  };
  const evaluation = run.updated.at(-1);
  const failed = evaluation?.FailedTGAllocs ?? {};
  for (const group of job.TaskGroups) {
    const missing = group.Count - liveOf(leader, job, group.Name);
    assert.equal(evaluation?.QueuedAllocations?.[group.Name], missing, `queued of ${group.Name}`);
    const metric = failed[group.Name];
    assert.equal(
      metric === undefined ? 0 : metric.CoalescedFailures + 1,
      missing,
      `failures of ${group.Name}`,
    );
    if (missing === 0) continue;
    const open = judge(world, job, group, new Set()).find((verdict) => verdict.open);
    assert.equal(open?.node.Name, undefined, `${missing} of ${group.Name} are missing, this node has room`);
  }
  const blocked = run.created.filter(({ Status }) => Status === "blocked");
  assert.equal(blocked.length, Object.keys(failed).length > 0 ? 1 : 0, "blocked evaluations");
}

function checkNodes({ state }: SchedulerHarness): void {
  for (const node of state.nodes())
    assert.equal(overcommitted(node, state.allocationsByNode(node.ID)), null, `node ${node.Name}`);
}

function liveOf(leader: SchedulerHarness, job: Job, group: string): number {
  return leader.live(job).filter(({ TaskGroup }) => TaskGroup === group).length;
}

function count(seen: Outcome, more: Outcome): void {
  seen.placed += more.placed;
  seen.failed += more.failed;
  seen.evicting += more.evicting;
}

/** Places all of the job's groups and checks each placement, and at the end the whole plan. */
function placeAndCheck(one: Case): Outcome {
  const { state } = one;
  const scope = newScope(one);
  const placer = new CheckedPlacer(scope);
  fill(one, scope.plan, placer);
  checkWholePlan(state, scope.plan);
  return placer.outcome;
}

/** The plan that the engine makes of a case on its own. */
function planOf(one: Case): Plan {
  const scope = newScope(one);
  fill(one, scope.plan, new ColumnPlacer({ ...scope, filters: [], scorers: [] }));
  return scope.plan;
}

function newScope({ state, job }: Case): PlacerScope {
  const evaluation = makeEvaluation(job, { ID: "e0000000-0000-4000-8000-000000000000" });
  const plan = createPlan(evaluation, "token", job, state.index);
  return { state, columns: state.columns(), plan, evaluation };
}

/** Places the job's groups and stops old allocations between; some requests avoid nodes, some would rather have a certain one. */
function fill(one: Case, plan: Plan, placer: Placer): void {
  const nodes = one.state.nodes();
  const ids = (numbers: readonly number[]): string[] => numbers.flatMap((number) => nodes[number]?.ID ?? []);
  const old = one.state.allocationsByJob(one.job.Namespace, one.job.ID).filter(holdsResources);
  for (const [index, request] of requestsOf(one).entries()) {
    const leaving = index % 3 === 2 ? old.pop() : undefined;
    if (leaving !== undefined) stopAllocation(plan, leaving, { description: "replaced" });
    const [preferredNode] = index % 3 === 0 && one.preferred !== null ? ids([one.preferred]) : [];
    const placement = placer.place({
      ...request,
      penaltyNodes: new Set(index % 2 === 0 ? ids(one.penalty) : []),
      ...(preferredNode === undefined ? {} : { preferredNode }),
    });
    if (!("failed" in placement)) add(one, plan, request, placement, index);
  }
}

/** One for each allocation of each group, the groups by turns. */
function requestsOf({ job }: Case): PlacementRequest[] {
  return job.TaskGroups.flatMap((group) =>
    Array.from({ length: group.Count }, (_, i) => ({
      turn: i,
      request: { job, group, name: `${job.ID}.${group.Name}[${i}]`, previous: null },
    })),
  )
    .sort((a, b) => a.turn - b.turn)
    .map(({ request }) => request);
}

function add(one: Case, plan: Plan, request: PlacementRequest, placement: Placement, index: number): void {
  const node = one.state.node(placement.nodeId)!;
  const allocation: Allocation = {
    ...allocationOf(one.job, request.group.Name, node, allocationId("b", index)),
    AllocatedResources: placement.resources,
    ClientStatus: "pending",
    Name: request.name,
  };
  preemptFor(plan, allocation, placement.preempted ?? []);
  placeAllocation(plan, allocation);
}
