/**
 * Pushing others aside, as the documents promise it.
 * Source: https://developer.hashicorp.com/nomad/docs/concepts/scheduling/preemption
 */
import assert from "node:assert/strict";
import type { Allocation, Job, Placement, StateSnapshot, TaskGroup } from "@drover/plugin-sdk";
import type { Verdict, World } from "./judge.js";
import { hasRoom } from "./room.js";
import { partsAlone, scoreOf } from "./score.js";

/** Victims are of a priority lower by at least this. */
const GAP = 10;

export interface EvictionCase {
  readonly world: World;
  readonly state: StateSnapshot;
  readonly job: Job;
  readonly group: TaskGroup;
  readonly verdicts: readonly Verdict[];
  readonly placement: Placement;
  /** Ids of those that the plan pushed aside before. */
  readonly evicted: ReadonlySet<string>;
  /** The request named the node, as those of system jobs do: fit, devices and preemption alone are scored. */
  readonly alone: boolean;
}

function mayBeEvicted(state: StateSnapshot, job: Job, allocation: Allocation): boolean {
  // The plan's own placements don't leave again.
  if (state.allocation(allocation.ID) === null) return false;
  if (allocation.JobID === job.ID && allocation.Namespace === job.Namespace) return false;
  const owner = state.allocationJob(allocation);
  return owner !== null && owner.Priority <= job.Priority - GAP;
}

/** Whether the job may push others aside, and the node has room once all have left that may be made to. */
export function couldEvict(
  world: World,
  state: StateSnapshot,
  job: Job,
  group: TaskGroup,
  { node, hosts, distinct }: Verdict,
): boolean {
  const { ServiceSchedulerEnabled, BatchSchedulerEnabled } = world.configuration.PreemptionConfig;
  const enabled = job.Type === "batch" ? BatchSchedulerEnabled : ServiceSchedulerEnabled;
  if (!enabled || !hosts || !distinct) return false;
  const staying = world.allocations.filter((one) => one.NodeID === node.ID && !mayBeEvicted(state, job, one));
  return hasRoom(node, staying, group);
}

/** The victims may be evicted, are all needed, make room, and are counted in the score. */
export function checkEviction(one: EvictionCase): void {
  const { world, state, job, group, verdicts, placement, evicted, alone } = one;
  const victims = placement.preempted!;
  const verdict = verdicts.find(({ node }) => node.ID === placement.nodeId);
  assert.ok(verdict?.hosts === true && verdict.distinct, "the node can't take the group at all");
  const { node } = verdict;
  const here = world.allocations.filter((allocation) => allocation.NodeID === node.ID);
  for (const victim of victims) {
    assert.ok(!evicted.has(victim.ID), `${victim.ID} is pushed aside twice`);
    assert.ok(
      here.some(({ ID }) => ID === victim.ID),
      `${victim.ID} doesn't run on ${node.Name}`,
    );
    assert.ok(
      mayBeEvicted(state, job, victim),
      `${victim.ID} of job ${victim.JobID} may not be pushed aside`,
    );
  }
  const without = (gone: readonly Allocation[]): Allocation[] =>
    here.filter(({ ID }) => !gone.some((victim) => victim.ID === ID));
  assert.ok(hasRoom(node, without(victims), group), `no room on ${node.Name} although the victims are gone`);
  for (const victim of victims) {
    const rest = victims.filter((other) => other !== victim);
    assert.ok(!hasRoom(node, without(rest), group), `${victim.ID} leaves ${node.Name} in vain`);
  }
  const penalised = verdict.score.parts["node-reschedule-penalty"] === -1;
  const gone = world.allocations.filter(({ ID }) => !victims.some((victim) => victim.ID === ID));
  const score = scoreOf({ ...world, allocations: gone, node, job, group, penalised });
  const parts = alone ? partsAlone(score) : score.parts;
  const priorities = victims.map((victim) => state.allocationJob(victim)!.Priority);
  const highest = Math.max(...priorities);
  const net = highest + priorities.reduce((sum, priority) => sum + priority, 0) / highest;
  const expected: Record<string, number> = {
    ...parts,
    preemption: 1 / (1 + Math.exp(0.0048 * (net - 2048))),
  };
  const shown = placement.metrics.ScoreMetaData?.find(({ NodeID }) => NodeID === node.ID);
  assert.deepEqual(Object.keys(shown?.Scores ?? {}).sort(), Object.keys(expected).sort());
  const counted = Object.entries(expected).filter(
    ([name, score]) => ["binpack", "devices", "preemption"].includes(name) || score !== 0,
  );
  const mean = counted.reduce((sum, [, score]) => sum + score, 0) / counted.length;
  for (const [name, score] of [...Object.entries(expected), ["NormScore", mean] as const]) {
    const value = name === "NormScore" ? shown!.NormScore : shown!.Scores[name]!;
    assert.ok(
      Math.abs(value - score) <= 1e-9,
      `${name} of ${node.Name}: ${value}, the reference says ${score}`,
    );
  }
}
