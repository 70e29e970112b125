/** Numbers about rows that are computed once a group: shares of cores, affinities, eligibility of node classes. */
import type { Job, NodeColumns, TaskGroup } from "@drover/plugin-sdk";
import {
  compileRowTest,
  type DeviceFact,
  deviceAffinity,
  deviceAffinityWeight,
  deviceAsks,
  deviceMatches,
  NodeFact,
} from "@drover/plugin-sdk/scheduling";
import type { RowTest } from "./feasibility.js";

/** A number of each row that a column tells; 0 where it tells none. */
export function columnNumbers(
  columns: NodeColumns,
  key: string,
  of: (value: string) => number,
): (row: number) => number {
  const codes = columns.codes(key);
  const numbers = Float64Array.from(columns.values(key), (value) => (value === undefined ? 0 : of(value)));
  return (row) => numbers[codes[row]!] ?? 0;
}

/**
 * Sum of the weights of the matching affinities over the sum of all weights' amounts, between -1 and 1; null when the
 * group has none. Source: https://developer.hashicorp.com/nomad/docs/job-specification/affinity
 */
export function affinityScores(
  job: Job,
  group: TaskGroup,
  columns: NodeColumns,
  rows: Int32Array,
  length: number,
): Float64Array | null {
  const affinities = [
    ...(job.Affinities ?? []),
    ...(group.Affinities ?? []),
    ...group.Tasks.flatMap((task) => task.Affinities ?? []),
  ];
  if (affinities.length === 0) return null;
  const scores = new Float64Array(length);
  for (const affinity of affinities) {
    const matches = compileRowTest(affinity, columns);
    for (let i = 0; i < rows.length; i++) if (matches(rows[i]!)) scores[rows[i]!]! += affinity.Weight;
  }
  const weights = affinities.reduce((sum, affinity) => sum + Math.abs(affinity.Weight), 0);
  for (let i = 0; i < rows.length; i++) scores[rows[i]!]! /= weights;
  return scores;
}

/**
 * The score `devices` that a row can reach while all its devices are free; null when the group has no device affinities.
 * What it reaches depends on what is free and is known where devices are assigned.
 */
export function deviceScoreBounds(group: TaskGroup, columns: NodeColumns): ((row: number) => number) | null {
  const weight = deviceAffinityWeight(group);
  if (weight === 0) return null;
  const asks = deviceAsks(group);
  return columnNumbers(columns, NodeFact.devices, (text) => {
    const facts = JSON.parse(text) as DeviceFact[];
    let sum = 0;
    for (const ask of asks) {
      const liked = facts
        .filter((fact) => fact.Healthy >= ask.Count && deviceMatches(ask, fact))
        .map((fact) => deviceAffinity(ask, fact));
      sum += Math.max(...liked, Number.NEGATIVE_INFINITY);
    }
    return sum / weight;
  });
}

/**
 * Computed class to whether a node of it may pass. What the class doesn't decide may come true for any of its nodes, so
 * only the other tests count.
 */
export function classEligibility(
  columns: NodeColumns,
  ready: Int32Array,
  failed: Uint16Array,
  tests: readonly RowTest[],
): Record<string, boolean> {
  const codes = columns.codes("node.computed_class");
  const values = columns.values("node.computed_class");
  const byClass = tests.filter((test) => test.byClass);
  /** By code: 0 not met, 1 out, 2 eligible. */
  const eligible = new Uint8Array(values.length);
  for (let i = 0; i < ready.length; i++) {
    const row = ready[i]!;
    const code = codes[row]!;
    if (eligible[code] === 2) continue;
    const may = failed[row] === 0 || byClass.every((test) => test.passes(row));
    eligible[code] = may ? 2 : 1;
  }
  const classes: Record<string, boolean> = {};
  for (const [code, name] of values.entries())
    if (name !== undefined && eligible[code]! > 0) classes[name] = eligible[code] === 2;
  return classes;
}
