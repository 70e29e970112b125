/** The placement engine: a `Placer` on node columns. */
import type {
  Allocation,
  AllocMetric,
  Evaluation,
  Job,
  NodeColumns,
  NodeFilter,
  NodeScorer,
  Placement,
  PlacementRequest,
  Placer,
  Plan,
  StateSnapshot,
  TaskGroup,
} from "@drover/plugin-sdk";
import { emptyMetric, hashText, mix32, planChanges, seededRandom } from "@drover/plugin-sdk/scheduling";
import type { TakenRoom } from "../underway.js";
import { NodeHoldings } from "./assign.js";
import { GroupPlacement } from "./group.js";
import { JobRows } from "./job-rows.js";
import { changesOf, PlanUsage } from "./plan-usage.js";
import type { PlacementScope } from "./scope.js";

export interface ColumnPlacerOptions {
  readonly columns: NodeColumns;
  readonly state: StateSnapshot;
  readonly plan: Plan;
  readonly evaluation: Evaluation;
  readonly filters: readonly NodeFilter[];
  readonly scorers: readonly NodeScorer[];
  /** Taken by plans that are on their way to the columns; null for nothing. */
  readonly taken?: TakenRoom | null;
}

/**
 * Places on the columns, exactly: the best of all feasible nodes. It follows the plan it was made for; that is cheap for
 * plans of `createPlan` that are changed by the functions beside it, any other plan is read again each time.
 */
export class ColumnPlacer implements Placer {
  readonly #options: ColumnPlacerOptions;
  readonly #random: (name: string) => () => number;
  #scope!: PlacementScope;
  #groups = new Map<string, GroupPlacement>();
  #jobs = new Map<string, JobRows>();
  #holdings = new Map<number, NodeHoldings>();
  /** Resources that are marked in the holdings already, though not in the plan yet. */
  #marked = new Map<number, object>();
  /** Changes of rows so far, for jobs that are met later. */
  #history: { readonly row: number; readonly allocation: Allocation; readonly by: 1 | -1 }[] = [];
  #seen = 0;
  /** Jobs of allocations met, by version. */
  readonly #versions = new Map<string, Job | null>();

  constructor(options: ColumnPlacerOptions) {
    this.#options = options;
    this.#random = (name) => seededRandom(options.evaluation.ID, name);
    this.#reset();
  }

  place(request: PlacementRequest): Placement | { readonly failed: AllocMetric } {
    this.#follow();
    const choice = this.#group(request.job, request.group).place(request);
    if ("failed" in choice) return choice;
    const { row, resources, metrics, victims } = choice;
    const placement = this.#placement(row, resources, metrics);
    if (victims.length > 0) return { ...placement, preempted: victims };
    this.#marked.set(row, resources);
    return placement;
  }

  fitInPlace(allocation: Allocation, job: Job, group: TaskGroup): Placement | null {
    this.#follow();
    const row = this.#options.columns.row(allocation.NodeID);
    if (row === undefined || row >= this.#scope.length) return null;
    const resources = this.#group(job, group).fitInPlace(allocation, row);
    return resources === null ? null : this.#placement(row, resources, allocation.Metrics ?? emptyMetric());
  }

  classEligibility(): { readonly classes: Readonly<Record<string, boolean>>; readonly escaped: boolean } {
    const classes: Record<string, boolean> = {};
    let escaped = false;
    for (const group of this.#groups.values()) {
      escaped ||= group.escaped;
      for (const [name, eligible] of Object.entries(group.classes))
        classes[name] = classes[name] === true || eligible;
    }
    return { classes, escaped };
  }

  #placement(row: number, resources: Placement["resources"], metrics: AllocMetric): Placement {
    const { columns } = this.#options;
    const name = columns.values("node.unique.name")[columns.codes("node.unique.name")[row] ?? 0];
    return { nodeId: columns.nodeId(row) ?? "", nodeName: name ?? "", resources, metrics };
  }

  #group(job: Job, group: TaskGroup): GroupPlacement {
    const key = `${job.Namespace}\n${job.ID}\n${group.Name}`;
    let placement = this.#groups.get(key);
    if (placement === undefined || placement.group !== group) {
      placement = new GroupPlacement(this.#scope, job, group, this.#jobRows(job));
      this.#groups.set(key, placement);
    }
    return placement;
  }

  #jobRows(job: Job): JobRows {
    const key = `${job.Namespace}\n${job.ID}`;
    let rows = this.#jobs.get(key);
    if (rows === undefined) {
      rows = new JobRows(job, this.#options.columns, this.#options.state);
      for (const { row, allocation, by } of this.#history)
        if (rows.owns(allocation)) rows.add(row, allocation, by);
      this.#jobs.set(key, rows);
    }
    return rows;
  }

  /** Brings the engine up to the plan. */
  #follow(): void {
    const { plan, state } = this.#options;
    let changes = planChanges(plan);
    if (changes === null) {
      this.#reset();
      changes = changesOf(plan, state);
    }
    for (; this.#seen < changes.length; this.#seen++) {
      this.#scope.usage.apply(changes[this.#seen]!, (row, allocation, by) =>
        this.#changed(row, allocation, by),
      );
    }
  }

  #changed(row: number, allocation: Allocation, by: 1 | -1): void {
    this.#history.push({ row, allocation, by });
    if (by < 0 || this.#marked.get(row) !== allocation.AllocatedResources) this.#holdings.delete(row);
    this.#marked.delete(row);
    for (const rows of this.#jobs.values()) if (rows.owns(allocation)) rows.add(row, allocation, by);
    for (const group of this.#groups.values()) group.changed(row, allocation, by);
  }

  #reset(): void {
    const { columns, state, plan, evaluation, filters, scorers } = this.#options;
    const length = columns.length;
    const seed = hashText(evaluation.ID);
    const usage = new PlanUsage(columns, state, plan, this.#options.taken ?? null);
    this.#groups = new Map();
    this.#jobs = new Map();
    this.#holdings = new Map();
    this.#marked = new Map();
    this.#history = [];
    this.#seen = 0;
    this.#scope = {
      columns,
      state,
      plan,
      evaluation,
      configuration: state.schedulerConfiguration(),
      filters,
      scorers,
      length,
      tie: Uint32Array.from({ length }, (_, row) => mix32(row ^ seed)),
      usage,
      numbers: {
        cpuTotal: columns.cpuTotal,
        cpuUsed: columns.cpuUsed,
        memoryTotal: columns.memoryTotal,
        memoryUsed: columns.memoryUsed,
        diskTotal: columns.diskTotal,
        diskUsed: columns.diskUsed,
      },
      holdings: (row) => this.#nodeHoldings(row, usage),
      forgetHoldings: (row) => this.#holdings.delete(row),
      jobOf: (allocation) => this.#jobOf(allocation),
      random: this.#random,
    };
  }

  #jobOf(allocation: Allocation): Job | null {
    const { Namespace, JobID, JobVersion, JobCreateIndex } = allocation;
    const key = `${Namespace}\n${JobID}\n${JobVersion}\n${JobCreateIndex ?? ""}`;
    let job = this.#versions.get(key);
    if (job === undefined) {
      job = this.#options.state.allocationJob(allocation);
      this.#versions.set(key, job);
    }
    return job;
  }

  #nodeHoldings(row: number, usage: PlanUsage): NodeHoldings | null {
    // What was marked for a placement that never reached the plan is not held.
    if (this.#marked.has(row)) {
      this.#marked.delete(row);
      this.#holdings.delete(row);
    }
    let holdings = this.#holdings.get(row);
    if (holdings === undefined) {
      const id = this.#options.columns.nodeId(row);
      const node = id === undefined ? null : this.#options.state.node(id);
      if (node === null) return null;
      holdings = new NodeHoldings(node, usage.proposed(node.ID));
      this.#holdings.set(row, holdings);
    }
    return holdings;
  }
}
