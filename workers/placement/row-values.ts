/** Numbers about rows that are computed once a group: shares of cores, affinities, eligibility of node classes. */
import type { Job, NodeColumns, TaskGroup } from "@drover/plugin-sdk";
import { type Candidates, compileRowTest, rowsOf } from "@drover/plugin-sdk/scheduling";

/** MHz of one core of each row, from the fingerprinted number of cores. */
export function coreShares(columns: NodeColumns): (row: number) => number {
  const codes = columns.codes("attr.cpu.numcores");
  const values = columns.values("attr.cpu.numcores");
  const { cpuTotal } = columns;
  return (row) => Math.floor(cpuTotal[row]! / Math.max(1, Number(values[codes[row]!] ?? 1) || 1));
}

/** Weighted share of the matching affinities, between -1 and 1; null when the group has none. */
export function affinityScores(
  job: Job,
  group: TaskGroup,
  columns: NodeColumns,
  candidates: Candidates,
  length: number,
): Float64Array | null {
  const affinities = [
    ...(job.Affinities ?? []),
    ...(group.Affinities ?? []),
    ...group.Tasks.flatMap((task) => task.Affinities ?? []),
  ];
  if (affinities.length === 0) return null;
  const weights = affinities.reduce((sum, affinity) => sum + Math.abs(affinity.Weight), 0);
  const scores = new Float64Array(length);
  for (const affinity of affinities) {
    const matches = compileRowTest(affinity, columns);
    for (const row of rowsOf(candidates)) if (matches(row)) scores[row]! += affinity.Weight / weights;
  }
  return scores;
}

export function classEligibility(
  columns: NodeColumns,
  ready: Candidates,
  feasible: Candidates,
): Record<string, boolean> {
  const codes = columns.codes("node.computed_class");
  const values = columns.values("node.computed_class");
  const classes: Record<string, boolean> = {};
  for (const row of rowsOf(ready)) {
    const name = values[codes[row]!];
    if (name !== undefined) classes[name] = (classes[name] ?? false) || feasible.has(row);
  }
  return classes;
}
