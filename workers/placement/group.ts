/**
 * Placing one task group: every feasible row is scored once, kept in heaps, and only rows that changed are scored again.
 *
 * The score of a row is a mean over the scorers that took part, so rows are kept apart by what may change the order among
 * them from outside: the values that spreads look at, and the number of scores. Within such a bucket the sum alone orders.
 */
import type {
  AllocatedResources,
  Allocation,
  AllocMetric,
  Evaluation,
  Job,
  NodeColumns,
  NodeFilter,
  NodeScoreMeta,
  NodeScorer,
  PlacementContext,
  PlacementRequest,
  Plan,
  SchedulerConfiguration,
  StateSnapshot,
  TaskGroup,
} from "@drover/plugin-sdk";
import {
  addExhaustedResources,
  allocationUse,
  antiAffinityScore,
  Candidates,
  fitScore,
  freeShare,
  parseTarget,
  type ResourceUse,
  resolveInRow,
  rowsOf,
  SpreadCounter,
} from "@drover/plugin-sdk/scheduling";
import { assignResources, type NodeHoldings, needsHoldings, plainResources } from "./assign.js";
import { applyTests, groupEscapes, type RowTest, readyRows, rowTests } from "./feasibility.js";
import { ScoreHeap } from "./heap.js";
import { DistinctRules, type JobRows } from "./job-rows.js";
import type { PlanUsage } from "./plan-usage.js";
import { affinityScores, classEligibility, coreShares } from "./row-values.js";
import { Tally } from "./tally.js";

/** What the groups of one placer share. */
export interface PlacementScope {
  readonly columns: NodeColumns;
  readonly state: StateSnapshot;
  readonly plan: Plan;
  readonly evaluation: Evaluation;
  readonly configuration: SchedulerConfiguration;
  readonly filters: readonly NodeFilter[];
  readonly scorers: readonly NodeScorer[];
  /** Rows looked at: those there were when the placer was made. */
  readonly length: number;
  /** By row; decides between equal scores. */
  readonly tie: Uint32Array;
  readonly usage: PlanUsage;
  /** The shared numbers by row, live; read from `columns` once because each look there costs a synchronisation. */
  readonly numbers: Pick<
    NodeColumns,
    "cpuTotal" | "cpuUsed" | "memoryTotal" | "memoryUsed" | "diskTotal" | "diskUsed"
  >;
  holdings(row: number): NodeHoldings | null;
  forgetHoldings(row: number): void;
  random(name: string): () => number;
}

interface Bucket {
  readonly heap: ScoreHeap;
  /** Number of scores in the sums of its rows. */
  readonly parts: number;
  /** A row of the bucket, by which spreads find its value. */
  readonly sample: number;
}

interface SpreadRule {
  readonly counter: SpreadCounter;
  readonly codes: Uint32Array;
  readonly values: readonly (string | undefined)[];
}

interface Candidate {
  readonly row: number;
  readonly score: number;
}

export interface Choice {
  readonly row: number;
  readonly resources: AllocatedResources;
  readonly metrics: AllocMetric;
}

const RESCHEDULE_PENALTY = -1;
const TOP_NODES = 5;

export class GroupPlacement {
  readonly job: Job;
  readonly group: TaskGroup;
  /** Computed class to whether a node of it passed the constraints. */
  readonly classes: Readonly<Record<string, boolean>>;
  readonly escaped: boolean;
  readonly #scope: PlacementScope;
  readonly #rows: JobRows;
  readonly #context: PlacementContext;
  readonly #tests: readonly RowTest[];
  readonly #candidates: Candidates;
  readonly #distinct: DistinctRules;
  readonly #plain: AllocatedResources;
  readonly #ask: ResourceUse;
  readonly #cores: number;
  readonly #coreShare: (row: number) => number;
  readonly #fit: (freeCpu: number, freeMemory: number) => number;
  readonly #oversubscription: boolean;

  readonly #plugged: { readonly scorer: NodeScorer; readonly scores: Float64Array }[] = [];
  readonly #affinity: Float64Array | null;
  readonly #spreads: readonly SpreadRule[];
  readonly #fitScores: Float64Array;
  readonly #sum: Float64Array;
  readonly #parts: Uint8Array;
  readonly #stamps: Int32Array;
  readonly #buckets = new Map<string, Bucket>();
  readonly #metas = new Map<number, { stamp: number; meta: NodeScoreMeta }>();

  readonly #tally: Tally;

  constructor(scope: PlacementScope, job: Job, group: TaskGroup, rows: JobRows) {
    const { columns, state, length } = scope;
    this.#scope = scope;
    this.job = job;
    this.group = group;
    this.#rows = rows;
    this.#context = {
      job,
      group,
      columns,
      state,
      plan: scope.plan,
      evaluation: scope.evaluation,
      resolve: (target, row) => resolveInRow(target, columns, row),
    };
    this.#tests = rowTests(job, group, columns, state);
    this.#oversubscription = scope.configuration.MemoryOversubscriptionEnabled;
    this.#plain = plainResources(group, this.#oversubscription);
    this.#ask = allocationUse(this.#plain);
    this.#cores = group.Tasks.reduce((sum, task) => sum + task.Resources.Cores, 0);
    this.#coreShare = coreShares(columns);
    this.#fit = fitScore(scope.configuration.SchedulerAlgorithm);
    this.#fitScores = new Float64Array(length);
    this.#sum = new Float64Array(length);
    this.#parts = new Uint8Array(length);
    this.#stamps = new Int32Array(length);
    this.#distinct = new DistinctRules(job, group, columns, rows);

    const ready = readyRows(columns, length, job.Datacenters);
    this.#candidates = Candidates.copyOf(ready.rows);
    const filtered = applyTests(this.#candidates, this.#tests);
    this.classes = classEligibility(columns, ready.rows, this.#candidates);
    this.escaped = groupEscapes(job, group);
    for (const filter of scope.filters) {
      for (const [reason, count] of Object.entries(filter.filter(this.#candidates, this.#context))) {
        filtered[reason] = (filtered[reason] ?? 0) + count;
      }
    }
    this.#tally = new Tally(columns, ready.byDatacenter, ready.rows, this.#candidates, filtered);

    this.#affinity = affinityScores(job, group, columns, this.#candidates, length);
    this.#spreads = this.#spreadRules();
    for (const scorer of scope.scorers) {
      const scores = new Float64Array(length);
      if (scorer.score(this.#candidates, scores, this.#context)) this.#plugged.push({ scorer, scores });
    }
    for (const row of rowsOf(this.#candidates))
      if (this.#score(row)) this.#bucketOf(row).heap.append(row, this.#sum[row]!);
    for (const { heap } of this.#buckets.values()) heap.build();
  }

  /** The plan put an allocation on a row or took one off; what is known of the row is out of date. */
  changed(row: number, allocation: Allocation, by: 1 | -1): void {
    if (this.#rows.owns(allocation)) {
      this.#distinct.changed(row, allocation, by);
      if (allocation.TaskGroup === this.group.Name) {
        for (const { counter, codes, values } of this.#spreads) counter.add(values[codes[row]!], by);
      }
      // Rows that a distinct rule kept out may be open again; they are asked when their turn comes.
      if (by < 0) for (const other of this.#tally.letIn()) this.#enter(other);
    }
    if (!this.#candidates.has(row) || this.#tally.isKeptOut(row)) return;
    for (const { scorer, scores } of this.#plugged) {
      if (scorer.rescore !== undefined) scores[row] = scorer.rescore(row, this.#context);
    }
    this.#enter(row);
  }

  /** The best node for the request, or why there is none. */
  place(request: PlacementRequest): Choice | { readonly failed: AllocMetric } {
    const started = performance.now();
    const penalised = this.#penalisedRows(request);
    const random = this.#scope.random(request.name);
    const accept = (row: number): Choice | null => {
      const violation = this.#distinct.any ? this.#distinct.violation(row) : null;
      if (violation !== null) {
        this.#stamps[row]!++;
        this.#tally.keepOut(row, violation);
        return null;
      }
      const resources = this.#assign(row, random);
      if (typeof resources === "string") {
        this.#stamps[row]!++;
        this.#tally.exhaust(row, resources);
        return null;
      }
      const metrics = this.#tally.metric(started);
      metrics.ScoreMetaData = this.#topNodes(row, penalised);
      return { row, resources, metrics };
    };

    if (request.onlyNode !== undefined) return this.#placeOn(request.onlyNode, accept, started);
    if (request.preferredNode !== undefined) {
      const row = this.#scope.columns.row(request.preferredNode);
      if (row !== undefined && this.#open(row)) {
        const choice = accept(row);
        if (choice !== null) return choice;
      }
    }
    for (;;) {
      const best = this.#best(penalised);
      if (best === null) break;
      const choice = accept(best.row);
      if (choice !== null) return choice;
    }
    const failed = this.#tally.metric(started);
    addExhaustedResources(failed, this.group);
    return { failed };
  }

  /** The same on one node alone; what failed there is told of that node only. */
  #placeOn(
    nodeId: string,
    accept: (row: number) => Choice | null,
    started: number,
  ): Choice | { readonly failed: AllocMetric } {
    const row = this.#scope.columns.row(nodeId);
    if (row !== undefined && this.#open(row)) {
      const choice = accept(row);
      if (choice !== null) return choice;
    }
    const failed = this.#tally.metricOf(row, started);
    addExhaustedResources(failed, this.group);
    return { failed };
  }

  /** Whether an allocation may get a new version of the group where it runs: constraints hold and the difference fits. */
  fitInPlace(allocation: Allocation, row: number): AllocatedResources | null {
    const { columns, numbers, usage, length } = this.#scope;
    const datacenter = columns.values("node.datacenter")[columns.codes("node.datacenter")[row] ?? 0];
    if (datacenter === undefined || !this.job.Datacenters.includes(datacenter)) return null;
    if (!this.#tests.every((test) => test.passes(row))) return null;
    const single = new Candidates(length);
    single.add(row);
    for (const filter of this.#scope.filters) filter.filter(single, this.#context);
    if (!single.has(row)) return null;

    const resources: AllocatedResources = structuredClone(allocation.AllocatedResources);
    resources.Shared.DiskMB = this.#plain.Shared.DiskMB;
    for (const [name, task] of Object.entries(this.#plain.Tasks)) {
      const held = resources.Tasks[name];
      // A task that wasn't there has no ports, cores or devices: the allocation must be placed anew.
      if (held === undefined) return null;
      held.Memory = { ...task.Memory };
      if (held.Cpu.ReservedCores === null) held.Cpu.CpuShares = task.Cpu.CpuShares;
    }
    const before = allocationUse(allocation.AllocatedResources);
    const after = allocationUse(resources);
    const fits =
      this.#fitsGrowth(
        numbers.cpuTotal[row]!,
        numbers.cpuUsed[row]! + usage.cpu[row]!,
        after.cpu - before.cpu,
      ) &&
      this.#fitsGrowth(
        numbers.memoryTotal[row]!,
        numbers.memoryUsed[row]! + usage.memory[row]!,
        after.memory - before.memory,
      ) &&
      this.#fitsGrowth(
        numbers.diskTotal[row]!,
        numbers.diskUsed[row]! + usage.disk[row]!,
        after.disk - before.disk,
      );
    return fits ? resources : null;
  }

  #fitsGrowth(total: number, used: number, growth: number): boolean {
    return growth <= 0 || used + growth <= total;
  }

  /** Scores a row; false (and noted) when the group doesn't fit on it. */
  #score(row: number): boolean {
    this.#stamps[row]!++;
    const { numbers, usage } = this.#scope;
    const cpu = numbers.cpuUsed[row]! + usage.cpu[row]! + this.#cpuAsk(row);
    const memory = numbers.memoryUsed[row]! + usage.memory[row]! + this.#ask.memory;
    const disk = numbers.diskUsed[row]! + usage.disk[row]! + this.#ask.disk;
    const cpuTotal = numbers.cpuTotal[row]!;
    const memoryTotal = numbers.memoryTotal[row]!;
    let dimension = "";
    if (cpu > cpuTotal) dimension = "cpu";
    else if (memory > memoryTotal) dimension = "memory";
    else if (disk > numbers.diskTotal[row]!) dimension = "disk";
    if (dimension !== "") {
      this.#tally.exhaust(row, dimension);
      return false;
    }
    const fit = this.#fit(freeShare(cpu, cpuTotal), freeShare(memory, memoryTotal));
    this.#fitScores[row] = fit;
    let sum = fit;
    let parts = 1;
    const collision = antiAffinityScore(this.#rows.inGroup(this.group.Name, row), this.group.Count);
    if (collision !== 0) {
      sum += collision;
      parts++;
    }
    const affinity = this.#affinity?.[row] ?? 0;
    if (affinity !== 0) {
      sum += affinity;
      parts++;
    }
    for (const { scores } of this.#plugged) {
      sum += scores[row]!;
      parts++;
    }
    this.#sum[row] = sum;
    this.#parts[row] = parts;
    return true;
  }

  #enter(row: number): void {
    this.#tally.free(row);
    if (this.#score(row)) this.#bucketOf(row).heap.push(row, this.#sum[row]!);
  }

  #bucketOf(row: number): Bucket {
    let key = "";
    for (const { codes } of this.#spreads) key += `${codes[row]},`;
    key += this.#parts[row];
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = { heap: new ScoreHeap(this.#stamps, this.#scope.tie), parts: this.#parts[row]!, sample: row };
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  #spreadScore(row: number): number {
    let total = 0;
    for (const { counter, codes, values } of this.#spreads) total += counter.score(values[codes[row]!]);
    return total;
  }

  /** The best open row by its mean score; a penalised one counts with its penalty. */
  #best(penalised: ReadonlySet<number>): Candidate | null {
    let best: Candidate | null = null;
    const better = (row: number, score: number): boolean =>
      best === null ||
      score > best.score ||
      (score === best.score && this.#scope.tie[row]! < this.#scope.tie[best.row]!);
    for (const { heap, parts, sample } of this.#buckets.values()) {
      const row = this.#topOf(heap, penalised);
      if (row < 0) continue;
      const spread = this.#spreads.length === 0 ? 0 : this.#spreadScore(sample);
      const score = (this.#sum[row]! + spread) / (parts + (spread === 0 ? 0 : 1));
      if (better(row, score)) best = { row, score };
    }
    for (const row of penalised) {
      if (!this.#open(row)) continue;
      const score = this.#mean(row, true);
      if (better(row, score)) best = { row, score };
    }
    return best;
  }

  #topOf(heap: ScoreHeap, except: ReadonlySet<number>): number {
    if (except.size === 0) return heap.peek();
    const aside: number[] = [];
    let row = heap.peek();
    while (row >= 0 && except.has(row)) {
      aside.push(heap.pop());
      row = heap.peek();
    }
    for (const one of aside) heap.push(one, this.#sum[one]!);
    return row;
  }

  #mean(row: number, penalised: boolean): number {
    const spread = this.#spreads.length === 0 ? 0 : this.#spreadScore(row);
    const sum = this.#sum[row]! + spread + (penalised ? RESCHEDULE_PENALTY : 0);
    return sum / (this.#parts[row]! + (spread === 0 ? 0 : 1) + (penalised ? 1 : 0));
  }

  /** Whether the row is a candidate with room that no distinct rule keeps out. */
  #open(row: number): boolean {
    return this.#candidates.has(row) && this.#tally.open(row);
  }

  #penalisedRows(request: PlacementRequest): ReadonlySet<number> {
    const rows = new Set<number>();
    for (const id of request.penaltyNodes ?? []) {
      const row = this.#scope.columns.row(id);
      if (row !== undefined) rows.add(row);
    }
    return rows;
  }

  /** The resources on this row, or the dimension that it lacks. */
  #assign(row: number, random: () => number): AllocatedResources | string {
    if (!needsHoldings(this.group)) return this.#plain;
    const holdings = this.#scope.holdings(row);
    // The node left between the columns and this snapshot.
    if (holdings === null) return "node";
    const resources = assignResources(this.group, holdings, this.#oversubscription, random);
    if ("error" in resources) {
      this.#scope.forgetHoldings(row);
      return resources.error;
    }
    const { numbers, usage } = this.#scope;
    const cpu = numbers.cpuUsed[row]! + usage.cpu[row]! + allocationUse(resources).cpu;
    if (cpu > numbers.cpuTotal[row]!) {
      this.#scope.forgetHoldings(row);
      return "cpu";
    }
    return resources;
  }

  #cpuAsk(row: number): number {
    return this.#cores === 0 ? this.#ask.cpu : this.#ask.cpu + this.#cores * this.#coreShare(row);
  }

  /** The chosen row and the best of the others. */
  #topNodes(chosen: number, penalised: ReadonlySet<number>): NodeScoreMeta[] {
    const top = [this.#meta(chosen, penalised.has(chosen))];
    const taken: { heap: ScoreHeap; row: number }[] = [];
    while (top.length < TOP_NODES) {
      let best: { heap: ScoreHeap; row: number; score: number } | null = null;
      for (const { heap, parts, sample } of this.#buckets.values()) {
        let row = heap.peek();
        while (row === chosen || penalised.has(row)) {
          taken.push({ heap, row: heap.pop() });
          row = heap.peek();
        }
        if (row < 0) continue;
        const spread = this.#spreads.length === 0 ? 0 : this.#spreadScore(sample);
        const score = (this.#sum[row]! + spread) / (parts + (spread === 0 ? 0 : 1));
        if (best === null || score > best.score) best = { heap, row, score };
      }
      if (best === null) break;
      taken.push({ heap: best.heap, row: best.heap.pop() });
      top.push(this.#meta(best.row, false));
    }
    for (const { heap, row } of taken) heap.push(row, this.#sum[row]!);
    return top.sort((a, b) => b.NormScore - a.NormScore);
  }

  #meta(row: number, penalised: boolean): NodeScoreMeta {
    // The same object for the same scores: a plan of ten thousand allocations names the same few nodes over and over.
    const cacheable = !penalised && this.#spreads.length === 0;
    const known = cacheable ? this.#metas.get(row) : undefined;
    if (known !== undefined && known.stamp === this.#stamps[row]) return known.meta;
    const scores: Record<string, number> = {
      "job-anti-affinity": antiAffinityScore(this.#rows.inGroup(this.group.Name, row), this.group.Count),
      "node-reschedule-penalty": penalised ? RESCHEDULE_PENALTY : 0,
      "node-affinity": this.#affinity?.[row] ?? 0,
    };
    if (this.#spreads.length > 0) scores["allocation-spread"] = this.#spreadScore(row);
    scores.binpack = this.#fitScores[row]!;
    for (const { scorer, scores: plugged } of this.#plugged) scores[scorer.name] = plugged[row]!;
    const meta: NodeScoreMeta = {
      NodeID: this.#scope.columns.nodeId(row) ?? "",
      NormScore: this.#mean(row, penalised),
      Scores: scores,
    };
    if (cacheable) this.#metas.set(row, { stamp: this.#stamps[row]!, meta });
    return meta;
  }

  #spreadRules(): SpreadRule[] {
    const { columns } = this.#scope;
    const spreads = [...(this.group.Spreads ?? []), ...(this.job.Spreads ?? [])];
    const weights = spreads.reduce((sum, spread) => sum + spread.Weight, 0);
    return spreads.map((spread) => {
      const target = parseTarget(spread.Attribute);
      const key = "key" in target ? target.key : target.literal;
      const rule = {
        counter: new SpreadCounter(spread, weights, this.group.Count),
        codes: columns.codes(key),
        values: columns.values(key),
      };
      for (const [row, count] of this.#rows.rowsOf(this.group.Name)) {
        rule.counter.add(rule.values[rule.codes[row]!], count);
      }
      return rule;
    });
  }
}
