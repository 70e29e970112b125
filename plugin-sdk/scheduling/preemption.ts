/**
 * Whom to push aside where a job finds no room.
 * Source: https://developer.hashicorp.com/nomad/docs/concepts/scheduling/preemption
 */
import type { Allocation } from "../domain/allocation.js";
import { JobType } from "../domain/job.js";
import type { SchedulerConfiguration } from "../domain/operator.js";
import type { ResourceUse } from "./fit.js";

/** Only allocations whose job has a priority lower by at least this much may be pushed aside. */
export const PREEMPTION_PRIORITY_GAP = 10;
/** Added to the distance of an allocation for each one beyond the `max_parallel` of its group's migrate block. */
const MAX_PARALLEL_PENALTY = 50;
/** Net priority at which the score is a half, and how steeply it falls there. */
const SCORE_ORIGIN = 2048;
const SCORE_RATE = 0.0048;

/** An allocation that may be pushed aside. */
export interface PreemptionCandidate {
  readonly allocation: Allocation;
  /** Of its job. */
  readonly priority: number;
  readonly use: ResourceUse;
  /** Of its group's migrate block; 0: as many as you like. */
  readonly maxParallel: number;
}

/** Something that there is too little of, and how much of it the eviction of a candidate gives back. */
export interface Shortage {
  readonly missing: number;
  freedBy(candidate: PreemptionCandidate): number;
}

export interface VictimSearch {
  readonly candidates: readonly PreemptionCandidate[];
  /** What is still missing when these are gone; null: all fits. An empty list: nothing here helps. */
  missingWithout(evicted: ReadonlySet<Allocation>): readonly Shortage[] | null;
  /** How many of the candidate's group the plan pushes aside already. */
  alreadyPreempted(candidate: PreemptionCandidate): number;
}

/** Whether operators let jobs of this type push others aside. */
export function preemptionEnabled(configuration: SchedulerConfiguration, jobType: string): boolean {
  const config = configuration.PreemptionConfig;
  switch (jobType) {
    case JobType.System:
      return config.SystemSchedulerEnabled;
    case JobType.SysBatch:
      return config.SysBatchSchedulerEnabled;
    case JobType.Batch:
      return config.BatchSchedulerEnabled;
    case JobType.Service:
      return config.ServiceSchedulerEnabled;
    default:
      return false;
  }
}

/** The highest priority among the victims, and a little for each further one: the sum over the highest. */
export function netPriority(priorities: readonly number[]): number {
  const highest = Math.max(0, ...priorities);
  if (highest === 0) return 0;
  return highest + priorities.reduce((sum, priority) => sum + priority, 0) / highest;
}

/** Between 0 and 1, falling with the net priority of the victims: 1 / (1 + e^(0.0048 (net - 2048))). */
export function preemptionScore(net: number): number {
  return 1 / (1 + Math.exp(SCORE_RATE * (net - SCORE_ORIGIN)));
}

/**
 * The victims that make room, null where none do. One is taken after the other: of those that give back something that is
 * missing the ones of lowest priority, of these the one that is nearest to what is missing. In the end those that the others
 * made needless are let off, those of the highest priority first.
 */
export function chooseVictims(search: VictimSearch): PreemptionCandidate[] | null {
  const evicted = new Set<Allocation>();
  const victims: PreemptionCandidate[] = [];
  for (;;) {
    const missing = search.missingWithout(evicted);
    if (missing === null) break;
    const next = nearest(search, evicted, victims, missing);
    if (next === null) return null;
    evicted.add(next.allocation);
    victims.push(next);
  }
  const dearestFirst = victims.toSorted((a, b) => b.priority - a.priority);
  for (const { allocation } of victims.length > 1 ? dearestFirst : []) {
    evicted.delete(allocation);
    if (search.missingWithout(evicted) !== null) evicted.add(allocation);
  }
  return victims.filter(({ allocation }) => evicted.has(allocation));
}

function nearest(
  search: VictimSearch,
  evicted: ReadonlySet<Allocation>,
  victims: readonly PreemptionCandidate[],
  missing: readonly Shortage[],
): PreemptionCandidate | null {
  let best: PreemptionCandidate | null = null;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of search.candidates) {
    if (evicted.has(candidate.allocation)) continue;
    if (best !== null && candidate.priority > best.priority) continue;
    let squares = 0;
    let helps = false;
    for (const shortage of missing) {
      const freed = shortage.freedBy(candidate);
      if (freed > 0) helps = true;
      squares += ((shortage.missing - freed) / shortage.missing) ** 2;
    }
    if (!helps) continue;
    const distance = Math.sqrt(squares) + penalty(search, candidate, victims);
    if (best !== null && candidate.priority === best.priority && distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best;
}

/** For pushing aside more of a group at once than may migrate at once. */
function penalty(
  search: VictimSearch,
  candidate: PreemptionCandidate,
  victims: readonly PreemptionCandidate[],
): number {
  if (candidate.maxParallel <= 0) return 0;
  const before =
    search.alreadyPreempted(candidate) +
    victims.filter(({ allocation }) => sameGroup(allocation, candidate.allocation)).length;
  return Math.max(0, before + 1 - candidate.maxParallel) * MAX_PARALLEL_PENALTY;
}

function sameGroup(a: Allocation, b: Allocation): boolean {
  return a.TaskGroup === b.TaskGroup && a.JobID === b.JobID && a.Namespace === b.Namespace;
}
