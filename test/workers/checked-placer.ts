/** The placement engine beside the reference: every answer of the one is checked by the other. */
import assert from "node:assert/strict";
import type {
  Allocation,
  AllocMetric,
  Job,
  Node,
  NodeScoreMeta,
  Placement,
  PlacementRequest,
  Placer,
  Plan,
  StateSnapshot,
  TaskGroup,
} from "@drover/plugin-sdk";
import type { PlacerScope } from "@drover/plugin-sdk/testing";
import { ColumnPlacer } from "../../workers/placement/index.js";
import { checkGranted } from "./reference/granted.js";
import { holdsResources, overcommitted } from "./reference/holdings.js";
import { judge, type Verdict, type World } from "./reference/judge.js";
import { checkEviction, couldEvict, type EvictionCase } from "./reference/preemption.js";
import { partsAlone } from "./reference/score.js";

/** Largest difference of two scores that are the same. */
const EPSILON = 1e-9;

/** What came of placements: counted, so that a run can tell that it met all kinds. */
export interface Outcome {
  placed: number;
  failed: number;
  evicting: number;
}

export class CheckedPlacer implements Placer {
  readonly outcome: Outcome = { placed: 0, failed: 0, evicting: 0 };
  readonly #scope: PlacerScope;
  readonly #placer: ColumnPlacer;
  /** Asked about one node after the other, as schedulers of system jobs ask. */
  readonly #single: ColumnPlacer;

  constructor(scope: PlacerScope) {
    this.#scope = scope;
    this.#placer = new ColumnPlacer({ ...scope, filters: [], scorers: [] });
    this.#single = new ColumnPlacer({ ...scope, filters: [], scorers: [] });
  }

  place(request: PlacementRequest): Placement | { readonly failed: AllocMetric } {
    const { plan, state } = this.#scope;
    const { job, group, name } = request;
    const world: World = {
      nodes: [...state.nodes()],
      allocations: proposed(state, plan),
      configuration: state.schedulerConfiguration(),
    };
    const verdicts = judge(world, job, group, request.penaltyNodes ?? new Set());
    const evicted = new Set(
      Object.values(plan.NodePreemptions)
        .flat()
        .map(({ ID }) => ID),
    );
    const situation = { world, state, job, group, verdicts, evicted };
    for (const node of world.nodes) this.#checkAlone(situation, node, request);
    const placement = this.#placer.place(request);
    if (!("failed" in placement)) checkGranted(world, group, placement);
    if ("failed" in placement) {
      this.outcome.failed++;
      checkFailure(verdicts, placement.failed);
      const possible = verdicts.find((verdict) => couldEvict(world, state, job, group, verdict));
      assert.equal(possible?.node.Name, undefined, `${name}: room could be made on this node`);
    } else if ((placement.preempted?.length ?? 0) > 0) {
      this.outcome.evicting++;
      const open = verdicts.find((verdict) => verdict.open);
      assert.equal(open?.node.Name, undefined, `${name}: others are pushed aside although this has room`);
      checkEviction({ ...situation, placement, alone: false });
    } else {
      this.outcome.placed++;
      checkChoice(verdicts, placement, request);
    }
    return placement;
  }

  /** A request for this node alone gets it exactly where it is open, or where room can be made. */
  #checkAlone(
    situation: Omit<EvictionCase, "placement" | "alone">,
    node: Node,
    asked: PlacementRequest,
  ): void {
    const { world, state, job, group, verdicts } = situation;
    const name = `${asked.name} on ${node.Name} alone`;
    const verdict = verdicts.find((one) => one.node === node);
    const { preferredNode: _, ...request } = asked;
    const placement = this.#single.place({ ...request, onlyNode: node.ID });
    if ("failed" in placement) {
      assert.ok(verdict?.open !== true, `${name}: it has room`);
      const possible = verdict !== undefined && couldEvict(world, state, job, group, verdict);
      assert.ok(!possible, `${name}: room could be made`);
      return;
    }
    assert.equal(placement.nodeId, node.ID, name);
    checkGranted(world, group, placement);
    if ((placement.preempted?.length ?? 0) > 0) {
      assert.ok(verdict?.open === false, `${name}: others are pushed aside although it has room`);
      checkEviction({ ...situation, placement, alone: true });
      return;
    }
    assert.ok(verdict?.open === true, `${name}: it has no room`);
    const parts = partsAlone(verdict.score);
    const [shown] = placement.metrics.ScoreMetaData ?? [];
    assert.deepEqual(Object.keys(shown?.Scores ?? {}).sort(), Object.keys(parts).sort());
    for (const [part, expected] of Object.entries(parts))
      close(shown?.Scores[part], expected, `${name}: ${part}`);
    const scores = Object.values(parts);
    close(shown?.NormScore, scores.reduce((all, one) => all + one, 0) / scores.length, `${name}: NormScore`);
  }

  fitInPlace(allocation: Allocation, job: Job, group: TaskGroup): Placement | null {
    return this.#placer.fitInPlace(allocation, job, group);
  }

  classEligibility(): ReturnType<Placer["classEligibility"]> {
    return this.#placer.classEligibility();
  }
}

/** Throws where a node would be overcommitted once the plan is committed. */
export function checkWholePlan(state: StateSnapshot, plan: Plan): void {
  const all = proposed(state, plan);
  for (const node of state.nodes()) {
    const here = all.filter((allocation) => allocation.NodeID === node.ID);
    assert.equal(overcommitted(node, here), null, `node ${node.Name} after the plan`);
  }
}

/** What would hold resources once the plan is committed. */
function proposed(state: StateSnapshot, plan: Plan): Allocation[] {
  const placed = Object.values(plan.NodeAllocation).flat();
  const stopped = [plan.NodeUpdate, plan.NodePreemptions].flatMap((lists) => Object.values(lists).flat());
  const changed = new Set([...placed, ...stopped].map(({ ID }) => ID));
  const left = [...state.allocations()].filter(({ ID }) => !changed.has(ID));
  return [...left, ...placed].filter(holdsResources);
}

/** The node is open, nothing open is better, and the scores shown are those of the reference. */
function checkChoice(
  verdicts: readonly Verdict[],
  placement: Placement,
  { job, group, name, preferredNode }: PlacementRequest,
): void {
  const chosen = verdicts.find(({ node }) => node.ID === placement.nodeId);
  assert.ok(chosen !== undefined, `${name}: node ${placement.nodeName} isn't to be looked at`);
  const { hosts, distinct, room } = chosen;
  assert.deepEqual(
    { hosts, distinct, room },
    { hosts: true, distinct: true, room: true },
    `${name} on ${chosen.node.Name}`,
  );
  const open = verdicts.filter((verdict) => verdict.open).sort((a, b) => b.score.mean - a.score.mean);
  const shown = placement.metrics.ScoreMetaData ?? [];
  assert.equal(shown[0]?.NodeID, chosen.node.ID, `${name}: the first score shown is that of the node chosen`);
  for (const [i, meta] of shown.entries()) checkShown(meta, i === 0, verdicts, name);
  const metric = placement.metrics;
  assert.equal(metric.NodesEvaluated, verdicts.length, `${name}: NodesEvaluated`);
  assert.ok(
    metric.NodesFiltered + metric.NodesExhausted <= verdicts.length - open.length,
    `${name}: nodes left`,
  );
  if (preferredNode !== undefined && open.some(({ node }) => node.ID === preferredNode)) {
    assert.equal(placement.nodeId, preferredNode, `${name}: the preferred node is open`);
    return;
  }
  close(
    chosen.score.mean,
    open[0]!.score.mean,
    `${name}: score of ${chosen.node.Name}, best ${open[0]!.node.Name}`,
  );
  for (const [i, { NormScore }] of shown.slice(1).entries())
    assert.ok(NormScore <= shown[i]!.NormScore, `${name}: scores shown are in order`);
  if (isCountedAlone(job, group)) {
    assert.equal(shown.length, Math.min(5, open.length), `${name}: scores shown`);
    for (const { NodeID } of shown)
      assert.ok(
        open.some(({ node }) => node.ID === NodeID),
        `${name}: ${NodeID} is shown and closed`,
      );
  }
  assert.ok(shown.length === 5 || shown.length >= Math.min(5, open.length), `${name}: scores shown`);
  const last = shown.length < 5 ? Number.NEGATIVE_INFINITY : shown[4]!.NormScore;
  for (const { node, score } of open) {
    if (score.mean <= last + EPSILON) break;
    const isShown = shown.some(({ NodeID }) => NodeID === node.ID);
    assert.ok(isShown, `${name}: ${node.Name} is better than a node whose score is shown`);
  }
}

/** Whether all that the group asks for is amounts: then what is told of any node is all there is to tell. */
function isCountedAlone(job: Job, group: TaskGroup): boolean {
  const rules = [...(job.Constraints ?? []), ...(group.Constraints ?? [])];
  return (
    (group.Networks ?? []).length === 0 &&
    !rules.some(({ Operand }) => Operand.startsWith("distinct_")) &&
    group.Tasks.every(
      ({ Resources: { Cores, Devices, Networks } }) =>
        Cores === 0 && (Devices ?? []).length === 0 && (Networks ?? []).length === 0,
    )
  );
}

/**
 * A score shown is the reference's. Nodes after the first are ranked by what can be told before ports, cores and devices
 * are given out and distinct rules are asked: they may turn out to be closed, or to have only devices that are liked less.
 */
function checkShown(meta: NodeScoreMeta, first: boolean, verdicts: readonly Verdict[], name: string): void {
  const verdict = verdicts.find(({ node }) => node.ID === meta.NodeID);
  assert.ok(
    verdict?.hosts === true,
    `${name}: a score is shown of ${meta.NodeID}, which can't take the group`,
  );
  const { node, score } = verdict;
  assert.deepEqual(Object.keys(meta.Scores).sort(), Object.keys(score.parts).sort());
  for (const [part, expected] of Object.entries(score.parts)) {
    if (first || part !== "devices") close(meta.Scores[part], expected, `${name}: ${part} of ${node.Name}`);
    else if (verdict.open)
      assert.ok(meta.Scores.devices! >= expected - EPSILON, `${name}: devices of ${node.Name}`);
  }
  if (first || score.parts.devices === undefined || meta.Scores.devices === score.parts.devices)
    close(meta.NormScore, score.mean, `${name}: NormScore of ${node.Name}`);
}

/** Nothing is open, and the counts say what became of every node. */
function checkFailure(verdicts: readonly Verdict[], metric: AllocMetric): void {
  const open = verdicts.find((verdict) => verdict.open);
  assert.equal(open?.node.Name, undefined, "the engine found no node, but this one is open");
  const { NodesEvaluated, NodesFiltered, NodesExhausted } = metric;
  assert.equal(NodesEvaluated, verdicts.length);
  assert.equal(NodesFiltered + NodesExhausted, NodesEvaluated, "filtered and exhausted are all");
  assert.equal(sum(metric.ConstraintFiltered), NodesFiltered);
  assert.equal(sum(metric.DimensionExhausted), NodesExhausted);
  const never = verdicts.filter(({ hosts }) => !hosts).length;
  const keptOut = verdicts.filter(({ hosts, distinct }) => hosts && !distinct).length;
  assert.ok(
    NodesFiltered >= never && NodesFiltered <= never + keptOut,
    `filtered ${NodesFiltered} of ${never} and ${keptOut}`,
  );
  assert.ok(
    NodesExhausted >= verdicts.filter(({ hosts, distinct }) => hosts && distinct).length,
    `exhausted ${NodesExhausted}`,
  );
}

function sum(counts: Readonly<Record<string, number>> | null): number {
  return Object.values(counts ?? {}).reduce((all, count) => all + count, 0);
}

function close(actual: number | undefined, expected: number, what: string): void {
  assert.ok(
    actual !== undefined && Math.abs(actual - expected) <= EPSILON,
    `${what}: ${actual}, the reference says ${expected}`,
  );
}
