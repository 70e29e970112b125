/** Evaluations in words: lists, and why allocations could not be placed. */
import type { AllocMetric, Evaluation } from "@drover/plugin-sdk";
import { columns, formatUnixNano, plural, shortId, timeDifference } from "../format.js";

/** Whether placements failed: a blocked evaluation is still at it. */
export function placementFailures(evaluation: Evaluation): string {
  if (evaluation.Status === "blocked") return "N/A - In Progress";
  return String(hasFailures(evaluation));
}

export function hasFailures(evaluation: Evaluation): boolean {
  return Object.keys(evaluation.FailedTGAllocs ?? {}).length > 0;
}

export function evaluationTable(evaluations: readonly Evaluation[], now: number, verbose = false): string {
  return columns([
    ["ID", "Priority", "Triggered By", "Job ID", "Status", "Placement Failures", "Created"],
    ...evaluations.map((evaluation) => [
      shortId(evaluation.ID, verbose),
      String(evaluation.Priority),
      evaluation.TriggeredBy,
      evaluation.JobID,
      evaluation.Status,
      placementFailures(evaluation),
      verbose ? formatUnixNano(evaluation.CreateTime) : timeDifference(evaluation.CreateTime / 1e6, now),
    ]),
  ]);
}

/** Groups that could not be placed, by name, each with its reasons. */
export function failedGroups(
  evaluation: Pick<Evaluation, "FailedTGAllocs">,
): [group: string, metric: AllocMetric][] {
  return Object.entries(evaluation.FailedTGAllocs ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** `Task Group "g" (failed to place 2 allocations):` */
export function failedGroupTitle(group: string, metric: AllocMetric): string {
  return `Task Group "${group}" (failed to place ${plural(metric.CoalescedFailures + 1, "allocation")}):`;
}

/** Reasons of a metric, one a line, and with `scores` what the best nodes scored. */
export function metricLines(metric: AllocMetric, scores = false): string[] {
  const lines: string[] = [];
  const each = (counts: Record<string, number> | null, line: (name: string, count: number) => string) => {
    for (const [name, count] of Object.entries(counts ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))) {
      lines.push(line(name, count));
    }
  };
  if (metric.NodesEvaluated === 0) lines.push("* No nodes were eligible for evaluation");
  for (const [datacenter, available] of Object.entries(metric.NodesAvailable ?? {})) {
    if (available === 0) lines.push(`* No nodes are available in datacenter "${datacenter}"`);
  }
  each(metric.ClassFiltered, (name, count) => `* Class "${name}": ${count} nodes excluded by filter`);
  each(
    metric.ConstraintFiltered,
    (name, count) => `* Constraint "${name}": ${count} nodes excluded by filter`,
  );
  if (metric.NodesExhausted > 0) lines.push(`* Resources exhausted on ${metric.NodesExhausted} nodes`);
  each(metric.ClassExhausted, (name, count) => `* Class "${name}" exhausted on ${count} nodes`);
  each(metric.DimensionExhausted, (name, count) => `* Dimension "${name}" exhausted on ${count} nodes`);
  for (const quota of metric.QuotaExhausted ?? []) lines.push(`* Quota limit hit "${quota}"`);
  if (scores) lines.push(...scoreLines(metric));
  return lines;
}

function scoreLines(metric: AllocMetric): string[] {
  const ranked = metric.ScoreMetaData ?? [];
  const scorers = [...new Set(ranked.flatMap((node) => Object.keys(node.Scores ?? {})))].sort();
  if (ranked.length === 0 || scorers.length === 0) return [];
  const number = (score: number) => String(Number(score.toPrecision(3)));
  return columns([
    ["Node", ...scorers, "final score"],
    ...ranked.map((node) => [
      node.NodeID,
      ...scorers.map((scorer) => number(node.Scores[scorer] ?? 0)),
      number(node.NormScore),
    ]),
  ]).split("\n");
}
