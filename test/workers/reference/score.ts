/**
 * The score of a node for one more allocation of a group: the mean over the parts that take part.
 * Source: https://developer.hashicorp.com/nomad/docs/concepts/scheduling/scheduling and the pages on `affinity`, `spread`
 * and `device`.
 */
import type { Allocation, Job, Node, SchedulerConfiguration, Spread, TaskGroup } from "@drover/plugin-sdk";
import { holds, resolve } from "./constraints.js";
import { affinityWeight, takeDevices } from "./devices.js";
import { capacity, devicesHeld, holdsResources, total } from "./holdings.js";
import { askOf } from "./room.js";

export interface ScoreQuestion {
  readonly node: Node;
  readonly nodes: readonly Node[];
  /** Everything that runs on any node, the plan's placements included. */
  readonly allocations: readonly Allocation[];
  readonly job: Job;
  readonly group: TaskGroup;
  readonly configuration: SchedulerConfiguration;
  readonly penalised: boolean;
}

export interface Score {
  readonly mean: number;
  /** By the names of `ScoreMetaData`. */
  readonly parts: Readonly<Record<string, number>>;
}

export function scoreOf(question: ScoreQuestion): Score {
  const { node, job, group, penalised } = question;
  const running = question.allocations.filter(holdsResources);
  const onNode = running.filter((one) => one.NodeID === node.ID);
  const own = running.filter(
    (one) => one.JobID === job.ID && one.Namespace === job.Namespace && one.TaskGroup === group.Name,
  );
  const same = own.filter((one) => one.NodeID === node.ID).length;
  const parts: Record<string, number> = {
    binpack: fit(question, onNode),
    "job-anti-affinity": same > 0 ? -(same + 1) / group.Count : 0,
    "node-affinity": affinity(node, job, group),
    "node-reschedule-penalty": penalised ? -1 : 0,
  };
  const spreads = [...(group.Spreads ?? []), ...(job.Spreads ?? [])];
  if (spreads.length > 0) {
    const weights = spreads.reduce((sum, spread) => sum + spread.Weight, 0);
    parts["allocation-spread"] = spreads.reduce(
      (sum, spread) => sum + spreadScore(question, spread, spread.Weight / weights, own),
      0,
    );
  }
  if (affinityWeight(group) > 0) {
    const devices = takeDevices(group, node, devicesHeld(onNode));
    parts.devices = (devices?.liked ?? 0) / affinityWeight(group);
  }
  // Fit and devices always take part, the others where they say anything.
  const counted = Object.entries(parts).filter(
    ([name, score]) => name === "binpack" || name === "devices" || score !== 0,
  );
  return { mean: counted.reduce((sum, [, score]) => sum + score, 0) / counted.length, parts };
}

/** What counts where the request names the node: there is no other to prefer. */
export function partsAlone({ parts }: Score): Record<string, number> {
  const counted = ["binpack", "devices"];
  return Object.fromEntries(Object.entries(parts).filter(([name]) => counted.includes(name)));
}

/** BestFit v3: 20 - (10^free cpu + 10^free memory) of 18, or its opposite for the algorithm "spread". */
function fit({ node, group, configuration }: ScoreQuestion, onNode: readonly Allocation[]): number {
  const [ask, used, has] = [askOf(group, node), total(onNode), capacity(node)];
  const free = (dimension: "cpu" | "memory"): number =>
    has[dimension] > 0 ? 1 - (used[dimension] + ask[dimension]) / has[dimension] : 0;
  const sum = 10 ** free("cpu") + 10 ** free("memory");
  const fitness = configuration.SchedulerAlgorithm === "spread" ? sum - 2 : 20 - sum;
  return Math.min(18, Math.max(0, fitness)) / 18;
}

function affinity(node: Node, job: Job, group: TaskGroup): number {
  const affinities = [job, group, ...group.Tasks].flatMap((owner) => owner.Affinities ?? []);
  if (affinities.length === 0) return 0;
  const matching = affinities.filter((rule) => holds(rule, node));
  const sum = matching.reduce((weight, rule) => weight + rule.Weight, 0);
  return sum / affinities.reduce((weight, rule) => weight + Math.abs(rule.Weight), 0);
}

function spreadScore(
  { node, nodes, group }: ScoreQuestion,
  spread: Spread,
  weight: number,
  own: readonly Allocation[],
): number {
  const value = resolve(spread.Attribute, node);
  if (value === undefined) return -1;
  const counts = new Map<string, number>();
  for (const one of own) {
    const host = nodes.find(({ ID }) => ID === one.NodeID);
    const there = host === undefined ? undefined : resolve(spread.Attribute, host);
    if (there !== undefined) counts.set(there, (counts.get(there) ?? 0) + 1);
  }
  const here = counts.get(value) ?? 0;
  const targets = spread.SpreadTarget ?? [];
  if (targets.length > 0) {
    const percent = targets.reduce((sum, target) => sum + target.Percent, 0);
    const share = (name: string): number | undefined =>
      targets.find((target) => target.Value === name)?.Percent;
    // "*" is every value without a target of its own; unnamed, it has what the others leave.
    const wanted = ((share(value) ?? share("*") ?? 100 - percent) / 100) * group.Count;
    return wanted > 0 ? ((wanted - (here + 1)) / wanted) * weight : -1;
  }
  // Evenly over the values that are in use.
  if (counts.size === 0) return 0;
  const [least, most] = [Math.min(...counts.values()), Math.max(...counts.values())];
  if (here !== least) return (least - here) / least;
  return least === most ? -1 : (most - least) / least;
}
