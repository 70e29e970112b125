/**
 * Scores of how full a node is, Google's "BestFit v3",
 * which Nomad names as its own (https://developer.hashicorp.com/nomad/docs/concepts/scheduling/scheduling).
 *
 * fitness = 20 - (10^freeCpu + 10^freeMemory), free as a share of the node's capacity: 0 on an empty node, 18 on a full
 * one, and highest where both dimensions are used evenly. Divided by 18 it lies in [0, 1].
 *
 * Recorded: allocation 1b2cb536 on a node of 5192 MHz and 24105 MiB, where it and two others use 300 MHz and 192 MiB, has
 * binpack 0.07930476367682084.
 */
import { SchedulerAlgorithm } from "../domain/operator.js";

/** Fitness of a full node. */
export const MAX_FITNESS = 18;

/** Score in [0, 1], 1 is a full node. Arguments are the shares (0 to 1) that stay free. */
export function binpackScore(freeCpu: number, freeMemory: number): number {
  return clamp(20 - (10 ** freeCpu + 10 ** freeMemory)) / MAX_FITNESS;
}

/** The opposite, worst fit: 1 is an empty node. */
export function spreadScore(freeCpu: number, freeMemory: number): number {
  return clamp(10 ** freeCpu + 10 ** freeMemory - 2) / MAX_FITNESS;
}

/** The score function of an algorithm of the scheduler configuration. */
export function fitScore(algorithm: SchedulerAlgorithm): (freeCpu: number, freeMemory: number) => number {
  return algorithm === SchedulerAlgorithm.Spread ? spreadScore : binpackScore;
}

/** Share of `total` that is free once `used` is taken; a node without the dimension counts as full. */
export function freeShare(used: number, total: number): number {
  return total > 0 ? 1 - used / total : 0;
}

/** Score of having `collisions` allocations of the same group on the node already; 0 (not counted) for none. */
export function antiAffinityScore(collisions: number, count: number): number {
  return collisions > 0 ? -(collisions + 1) / Math.max(1, count) : 0;
}

function clamp(fitness: number): number {
  return Math.min(MAX_FITNESS, Math.max(0, fitness));
}
