import type {
  Job,
  NetworkResource,
  Node,
  NodeDeviceResource,
  PlacementRequest,
  Plan,
  Resources,
  TaskGroup,
} from "@drover/plugin-sdk";
import { createPlan } from "@drover/plugin-sdk/scheduling";
import {
  makeEvaluation,
  makeGroup,
  makeTask,
  type PlacerScope,
  type SchedulerHarness,
} from "@drover/plugin-sdk/testing";
import { ColumnPlacer } from "../../workers/placement/index.js";

export const onColumns = (scope: PlacerScope): ColumnPlacer =>
  new ColumnPlacer({ ...scope, filters: [], scorers: [] });

/** A group `g` of one task that asks for these resources. */
export function groupOf(
  count: number,
  resources: Partial<Resources>,
  overrides: Partial<TaskGroup> = {},
): TaskGroup {
  const task = makeTask();
  return makeGroup({
    Count: count,
    Tasks: [{ ...task, Resources: { ...task.Resources, ...resources } }],
    ...overrides,
  });
}

export interface PortAsk {
  readonly label: string;
  /** 0: a dynamic one. */
  readonly value?: number;
  readonly hostNetwork?: string;
}

export function networkOf(ports: readonly PortAsk[], mode = "host"): NetworkResource[] {
  const list = (dynamic: boolean) =>
    ports
      .filter((port) => (port.value === undefined) === dynamic)
      .map(({ label, value = 0, hostNetwork = "default" }) => ({
        HostNetwork: hostNetwork,
        Label: label,
        To: 0,
        Value: value,
      }));
  return [
    {
      CIDR: "",
      DNS: null,
      Device: "",
      DynamicPorts: list(true),
      IP: "",
      MBits: 0,
      Mode: mode,
      ReservedPorts: list(false),
    },
  ];
}

/** `count` GPUs of nvidia with this memory, in GiB. */
export function gpus(name: string, memory: number, count: number): NodeDeviceResource {
  return {
    Attributes: { memory: { Int: memory, Unit: "GiB" } },
    Instances: Array.from({ length: count }, (_, i) => ({
      HealthDescription: "",
      Healthy: true,
      ID: `${name}-${i}`,
      Locality: null,
    })),
    Name: name,
    Type: "gpu",
    Vendor: "nvidia",
  };
}

/** Asks a placer of its own for one allocation of the job's first group. */
export function placeOne(
  leader: SchedulerHarness,
  job: Job,
  request: Partial<PlacementRequest> = {},
  plan: Plan = createPlan(makeEvaluation(job), "token", job, leader.state.index),
): { placer: ColumnPlacer; placement: ReturnType<ColumnPlacer["place"]>; plan: Plan } {
  const evaluation = makeEvaluation(job);
  const placer = onColumns({ state: leader.state, columns: leader.state.columns(), plan, evaluation });
  const group = job.TaskGroups[0]!;
  const placement = placer.place({ job, group, name: `${job.ID}.g[0]`, previous: null, ...request });
  return { placer, placement, plan };
}

/** Names of the nodes that may take the job's first group, and why the others may not. */
export function feasible(
  leader: SchedulerHarness,
  job: Job,
): { names: string[]; filtered: Record<string, number> | null; lacking: Record<string, number> | null } {
  const names: string[] = [];
  for (const node of leader.state.nodes()) {
    const { placement } = placeOne(leader, job, { onlyNode: node.ID });
    if (!("failed" in placement)) names.push(node.Name);
  }
  const { placement } = placeOne(leader, job);
  const metric = "failed" in placement ? placement.failed : placement.metrics;
  return {
    names: names.sort(),
    filtered: metric.ConstraintFiltered,
    lacking: metric.DimensionExhausted,
  };
}

/** The node with this name. */
export function nodeNamed(leader: SchedulerHarness, name: string): Node {
  const node = leader.state.nodes().find((one) => one.Name === name);
  if (node === undefined) throw new Error(`no node "${name}"`);
  return node;
}
