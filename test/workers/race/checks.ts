/** What must hold of a state after any race. */
import assert from "node:assert/strict";
import {
  type Allocation,
  type Job,
  NodeCheck,
  type PackedPlan,
  type PackedPlanResult,
  type StateSnapshot,
} from "@drover/plugin-sdk";
import { holdsResources, overcommitted } from "../reference/holdings.js";
import { judge } from "../reference/judge.js";
import { couldEvict } from "../reference/preemption.js";

/** The first node of which something is given away twice; null: none. */
export function firstOvercommitted(snapshot: StateSnapshot): string | null {
  for (const node of snapshot.nodes()) {
    const why = overcommitted(node, snapshot.allocationsByNode(node.ID));
    if (why !== null) return `node ${node.Name} at index ${snapshot.index}: ${why}`;
  }
  return null;
}

/** Nodes that take no new allocations: id and index of the last change. */
export function closedNodes(snapshot: StateSnapshot): Map<string, number> {
  const closed = [...snapshot.nodes()].filter(
    (node) =>
      node.Status !== "ready" || node.SchedulingEligibility !== "eligible" || node.DrainStrategy !== null,
  );
  return new Map(closed.map((node) => [node.ID, node.ModifyIndex]));
}

/** What was closed before the plan came, and after it, may have taken nothing new. */
export function checkRefused(
  plan: PackedPlan,
  result: PackedPlanResult,
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): void {
  for (const [i, node] of plan.nodes.entries()) {
    if (plan.checks[i] !== NodeCheck.Counted || before.get(node) === undefined) continue;
    if (before.get(node) !== after.get(node)) continue;
    assert.ok(result.refused.includes(node), `node ${node} takes no allocations, and got new ones`);
  }
}

/** Who was pushed aside was so by somebody of a higher priority, on the same node, that says so. */
export function checkEvictions(snapshot: StateSnapshot): void {
  for (const victim of snapshot.allocations()) {
    if (victim.DesiredStatus !== "evict") continue;
    const by = snapshot.allocation(victim.PreemptedByAllocation ?? "");
    assert.ok(by !== null, `${victim.Name} made room for an allocation that was never committed`);
    assert.equal(by.NodeID, victim.NodeID);
    assert.ok(
      (by.PreemptedAllocations ?? []).includes(victim.ID),
      `${by.Name} doesn't tell of ${victim.Name}`,
    );
    const gap = snapshot.allocationJob(by)!.Priority - snapshot.allocationJob(victim)!.Priority;
    assert.ok(gap >= 10, `${by.Name} pushed ${victim.Name} aside with ${gap} more priority`);
  }
}

/**
 * Every group runs as often and in the version that it should, or the reference finds no room for more of it. For a state in
 * which every allocation is healthy, canaries are promoted, and what drains was asked to leave.
 */
export function checkComplete(snapshot: StateSnapshot, jobs: readonly string[]): void {
  const world = {
    nodes: [...snapshot.nodes()],
    allocations: [...snapshot.allocations()],
    configuration: snapshot.schedulerConfiguration(),
  };
  for (const node of world.nodes.filter(({ DrainStrategy }) => DrainStrategy !== null)) {
    const stays = world.allocations.find((one) => one.NodeID === node.ID && holdsResources(one));
    assert.equal(stays?.Name, undefined, `${node.Name} drains, and this is still there`);
  }
  /** Where one more would have room, with `without` gone. */
  const roomFor = (job: Job, without: Allocation | null): string | undefined => {
    const group = job.TaskGroups[0]!;
    const left = { ...world, allocations: world.allocations.filter((one) => one !== without) };
    return judge(left, job, group, new Set()).find(
      (verdict) => verdict.open || couldEvict(left, snapshot, job, group, verdict),
    )?.node.Name;
  };
  for (const id of jobs) {
    const job = snapshot.job("default", id)!;
    const live = world.allocations.filter((one) => holdsResources(one) && one.JobID === id);
    const wanted = job.Stop ? 0 : job.TaskGroups[0]!.Count;
    assert.ok(live.length <= wanted, `${live.length} allocations of ${id}, ${wanted} are wanted`);
    // While a canary is awaited, what ended by itself is not replaced (docs/scheduling.md, known gaps).
    const awaited = Object.values(snapshot.latestDeployment("default", id)?.TaskGroups ?? {}).some(
      ({ DesiredCanaries, Promoted }) => DesiredCanaries > 0 && !Promoted,
    );
    if (awaited && live.length < wanted) continue;
    if (live.length < wanted)
      assert.equal(
        roomFor(job, null),
        undefined,
        `${wanted - live.length} of ${id} are missing, this node has room`,
      );
    const old = live.filter(({ JobVersion }) => JobVersion !== job.Version);
    const { Update } = job.TaskGroups[0]!;
    // What is missing counts against max_parallel: without room for it nothing is replaced.
    if (old.length === 0 || (Update !== null && live.length < wanted)) continue;
    // A canary needs room beside what runs. Once one has no room, the others of the group are not tried in this evaluation.
    const canary = (Update?.Canary ?? 0) > 0;
    const stuck = old.some((one) => roomFor(job, canary ? null : one) === undefined);
    assert.ok(stuck, `${old.length} of ${id} are not of version ${job.Version}, and each could be replaced`);
  }
}
