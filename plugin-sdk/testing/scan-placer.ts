/**
 * A placer that looks at every node anew for every allocation: slow, short, and so a measure for faster ones. It ranks by
 * free capacity and anti-affinity only, knows constraints, drivers and ports, and pushes nobody aside.
 */
import type { NodeColumns, Placement, PlacementRequest, Placer } from "../contracts/scheduler.js";
import type { StateSnapshot } from "../contracts/state.js";
import {
  type AllocatedResources,
  type Allocation,
  type AllocMetric,
  allocIsTerminal,
  type Evaluation,
  type Job,
  type Node,
  nodeReady,
  type Plan,
  type TaskGroup,
} from "../domain/index.js";
import {
  addExhaustedResources,
  antiAffinityScore,
  binpackScore,
  checkConstraint,
  constraintText,
  emptyMetric,
  freeShare,
  NetworkIndex,
  NodeFact,
  nodeCapacity,
  nodeFact,
  nodeFits,
  resolveOnNode,
  seededRandom,
} from "../scheduling/index.js";

/** What a placer is made for. */
export interface PlacerScope {
  readonly state: StateSnapshot;
  readonly columns: NodeColumns;
  readonly plan: Plan;
  readonly evaluation: Evaluation;
}

export class ScanPlacer implements Placer {
  readonly #scope: PlacerScope;
  readonly #classes: Record<string, boolean> = {};

  constructor(scope: PlacerScope) {
    this.#scope = scope;
  }

  place(request: PlacementRequest): Placement | { readonly failed: AllocMetric } {
    const { job, group } = request;
    const metric = emptyMetric();
    metric.NodesAvailable = Object.fromEntries(job.Datacenters.map((name) => [name, 0]));
    let best: { node: Node; resources: AllocatedResources; score: number } | null = null;
    const { onlyNode } = request;
    const only = onlyNode === undefined ? null : this.#scope.state.node(onlyNode);
    const nodes = onlyNode === undefined ? this.#scope.state.nodes() : only === null ? [] : [only];
    for (const node of nodes) {
      if (!nodeReady(node) || !job.Datacenters.includes(node.Datacenter)) continue;
      metric.NodesAvailable[node.Datacenter]!++;
      metric.NodesEvaluated++;
      const reason = infeasible(node, job, group);
      this.#classes[node.ComputedClass] = (this.#classes[node.ComputedClass] ?? false) || reason === null;
      if (reason !== null) {
        metric.NodesFiltered++;
        metric.ConstraintFiltered = bump(metric.ConstraintFiltered, reason);
        continue;
      }
      const proposed = this.#proposed(node.ID);
      const resources = this.#resources(node, group, proposed, request.name);
      const fit = "error" in resources ? null : nodeFits(node, [...proposed, candidate(node, resources)]);
      if ("error" in resources || fit?.fits !== true) {
        metric.NodesExhausted++;
        metric.DimensionExhausted = bump(
          metric.DimensionExhausted,
          "error" in resources ? resources.error : fit!.dimension,
        );
        continue;
      }
      const collisions = proposed.filter(
        (one) => one.JobID === job.ID && one.TaskGroup === group.Name,
      ).length;
      const capacity = nodeCapacity(node);
      const scores = [
        binpackScore(freeShare(fit.used.cpu, capacity.cpu), freeShare(fit.used.memory, capacity.memory)),
        ...(collisions > 0 ? [antiAffinityScore(collisions, group.Count)] : []),
        ...(request.penaltyNodes?.has(node.ID) === true ? [-1] : []),
      ];
      const score = scores.reduce((sum, one) => sum + one, 0) / scores.length;
      if (best === null || score > best.score) best = { node, resources, score };
    }
    if (best === null) {
      addExhaustedResources(metric, group);
      return { failed: metric };
    }
    metric.ScoreMetaData = [{ NodeID: best.node.ID, NormScore: best.score, Scores: {} }];
    return { nodeId: best.node.ID, nodeName: best.node.Name, resources: best.resources, metrics: metric };
  }

  fitInPlace(allocation: Allocation, job: Job, group: TaskGroup): Placement | null {
    const node = this.#scope.state.node(allocation.NodeID);
    if (node === null || !job.Datacenters.includes(node.Datacenter) || infeasible(node, job, group) !== null)
      return null;
    const { AllocatedResources: resources, Metrics: metrics } = allocation;
    return { nodeId: node.ID, nodeName: node.Name, resources, metrics: metrics ?? emptyMetric() };
  }

  classEligibility(): { readonly classes: Readonly<Record<string, boolean>>; readonly escaped: boolean } {
    return { classes: this.#classes, escaped: false };
  }

  /** What would run on the node after the plan. */
  #proposed(nodeId: string): Allocation[] {
    const { plan, state } = this.#scope;
    const placed = plan.NodeAllocation[nodeId] ?? [];
    const leaving = new Set([...(plan.NodeUpdate[nodeId] ?? []), ...placed].map((one) => one.ID));
    return [...state.allocationsByNode(nodeId).filter((one) => !leaving.has(one.ID)), ...placed].filter(
      (one) => !allocIsTerminal(one),
    );
  }

  #resources(
    node: Node,
    group: TaskGroup,
    proposed: readonly Allocation[],
    name: string,
  ): AllocatedResources | { readonly error: string } {
    const resources: AllocatedResources = {
      Shared: { DiskMB: group.EphemeralDisk.SizeMB, Networks: null, Ports: null },
      TaskLifecycles: {},
      Tasks: {},
    };
    const network = group.Networks?.[0];
    if (network !== undefined) {
      const index = new NetworkIndex(node);
      for (const allocation of proposed) index.addAllocation(allocation.AllocatedResources);
      const assigned = index.assignPorts(network, seededRandom(this.#scope.evaluation.ID, name));
      if ("error" in assigned) return { error: `network: ${assigned.error}` };
      resources.Shared.Networks = [assigned.network];
      resources.Shared.Ports = assigned.ports;
    }
    for (const task of group.Tasks) {
      resources.TaskLifecycles[task.Name] = task.Lifecycle;
      resources.Tasks[task.Name] = {
        Cpu: { CpuShares: task.Resources.CPU, ReservedCores: null },
        Devices: null,
        Memory: { MemoryMB: task.Resources.MemoryMB, MemoryMaxMB: 0 },
        Networks: null,
      };
    }
    return resources;
  }
}

function infeasible(node: Node, job: Job, group: TaskGroup): string | null {
  for (const task of group.Tasks) {
    const health = nodeFact(node, NodeFact.driver(task.Driver));
    const detected = ["1", "true"].includes(node.Attributes[`driver.${task.Driver}`] ?? "");
    if (health === "unhealthy" || (health === undefined && !detected)) return "missing drivers";
  }
  const constraints = [job.Constraints, group.Constraints, ...group.Tasks.map((task) => task.Constraints)];
  for (const constraint of constraints.flatMap((list) => list ?? [])) {
    const left = resolveOnNode(constraint.LTarget, node);
    const right = resolveOnNode(constraint.RTarget, node);
    if (!checkConstraint(constraint.Operand, left, right)) return constraintText(constraint);
  }
  return null;
}

/** Just enough of an allocation to see whether it fits. */
function candidate(node: Node, resources: AllocatedResources): Allocation {
  return {
    AllocatedResources: resources,
    ClientStatus: "pending",
    DesiredStatus: "run",
    NodeID: node.ID,
  } as Allocation;
}

function bump(counts: Record<string, number> | null, key: string): Record<string, number> {
  return { ...counts, [key]: (counts?.[key] ?? 0) + 1 };
}
