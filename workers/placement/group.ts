/**
 * Placing one task group: every feasible row is scored once and kept ranked, and only rows that changed are scored again.
 *
 * The score of a row is the mean over the scorers that took part:
 * - `binpack`: how full cpu and memory are once the group is there (also under the algorithm "spread"), always counted;
 * - `job-anti-affinity`: -(n + 1) / count with n > 0 allocations of the group on the row, else 0 and not counted;
 * - `node-affinity`, `allocation-spread`: not counted where 0;
 * - `devices`: counted where the group has device affinities;
 * - `node-reschedule-penalty`: -1, counted on the nodes that the request wants avoided;
 * - `preemption`: counted where others have to leave;
 * - those of plugins, always counted.
 * The allocation of a named node (system jobs) is rated by `binpack`, `devices` and `preemption` alone.
 * Source: https://developer.hashicorp.com/nomad/docs/concepts/scheduling/scheduling, and the recorded metrics of Nomad 1.1.
 */
import type {
  AllocatedResources,
  Allocation,
  AllocMetric,
  Job,
  NodeScoreMeta,
  NodeScorer,
  PlacementContext,
  PlacementRequest,
  TaskGroup,
} from "@drover/plugin-sdk";
import {
  addExhaustedResources,
  allocationUse,
  antiAffinityScore,
  Candidates,
  fitScore,
  freeShare,
  NodeFact,
  type ResourceUse,
  resolveInRow,
} from "@drover/plugin-sdk/scheduling";
import { type Assigned, assignResources, cpuWithCores, needsHoldings, plainResources } from "./assign.js";
import { groupEscapes } from "./feasibility.js";
import type { FeasibleRows } from "./feasible-rows.js";
import { DistinctRules, type JobRows } from "./job-rows.js";
import { type Ranked, Ranking } from "./ranking.js";
import type { RowCounts } from "./row-counts.js";
import { affinityScores, classEligibility, columnNumbers, deviceScoreBounds } from "./row-values.js";
import type { PlacementScope } from "./scope.js";
import { GroupSpreads } from "./spreads.js";
import { PLUGGED, Tally } from "./tally.js";
import { type Eviction, Evictions } from "./victims.js";

export interface Choice {
  readonly row: number;
  readonly resources: AllocatedResources;
  readonly metrics: AllocMetric;
  /** What has to leave the node. */
  readonly victims: readonly Allocation[];
}

export interface Failure {
  readonly failed: AllocMetric;
}

const RESCHEDULE_PENALTY = -1;
const TOP_NODES = 5;
const NOBODY: readonly Allocation[] = [];
const NO_ROWS: ReadonlySet<number> = new Set();

export class GroupPlacement {
  readonly job: Job;
  readonly group: TaskGroup;
  readonly escaped: boolean;
  readonly #scope: PlacementScope;
  readonly #rows: JobRows;
  /** Rows to numbers of the group's allocations. */
  readonly #own: RowCounts;
  readonly #context: PlacementContext;
  readonly #rowsThatCan: FeasibleRows;
  readonly #failed: Uint16Array;
  readonly #candidates: Candidates;
  readonly #distinct: DistinctRules;
  readonly #plain: AllocatedResources;
  readonly #ask: ResourceUse;
  readonly #needsHoldings: boolean;
  readonly #cores: number;
  readonly #coreMhz: (row: number) => number;
  readonly #coreCount: (row: number) => number;
  readonly #fitOf: (cpu: number, cpuTotal: number, memory: number, memoryTotal: number) => number;
  readonly #evictions: Evictions;

  readonly #plugged: { readonly scorer: NodeScorer; readonly scores: Float64Array }[] = [];
  readonly #affinity: Float64Array | null;
  readonly #deviceBound: ((row: number) => number) | null;
  /** By row, where it was found to be less than the bound. */
  readonly #deviceScores = new Map<number, number>();
  readonly #spreads: GroupSpreads;
  readonly #ranking: Ranking;
  readonly #fitScores: Float64Array;
  /** By row: changes with its scores. */
  readonly #stamps: Int32Array;
  readonly #metas = new Map<
    number,
    { readonly stamp: number; readonly spread: number; readonly meta: NodeScoreMeta }
  >();
  readonly #tally: Tally;
  #classes: Readonly<Record<string, boolean>> | null = null;

  /** MHz of the group at its peak by those of one core. */
  readonly #cpuByCore = new Map<number, number>();

  constructor(scope: PlacementScope, job: Job, group: TaskGroup, rows: JobRows) {
    const { columns, state, length } = scope;
    this.#scope = scope;
    this.job = job;
    this.group = group;
    this.#rows = rows;
    this.#own = rows.rowsOf(group.Name);
    this.#context = {
      job,
      group,
      columns,
      state,
      plan: scope.plan,
      evaluation: scope.evaluation,
      resolve: (target, row) => resolveInRow(target, columns, row),
    };
    this.#plain = plainResources(group, scope.configuration.MemoryOversubscriptionEnabled);
    this.#ask = allocationUse(this.#plain);
    this.#needsHoldings = needsHoldings(group);
    this.#cores = group.Tasks.reduce((sum, task) => sum + task.Resources.Cores, 0);
    this.#coreMhz = columnNumbers(columns, NodeFact.coreMhz, Number);
    this.#coreCount = columnNumbers(columns, NodeFact.cores, Number);
    this.#fitOf = rememberedFit(fitScore(scope.configuration.SchedulerAlgorithm));
    this.#fitScores = new Float64Array(length);
    this.#stamps = new Int32Array(length);
    this.#distinct = new DistinctRules(job, group, columns, rows);
    this.#evictions = new Evictions(scope, job, group, this.#plain, (row) => this.#askOn(row));
    this.escaped = groupEscapes(job, group);

    const can = scope.feasible.get(job, group, columns, length);
    this.#rowsThatCan = can;
    const isFiltered = scope.filters.length > 0;
    this.#failed = isFiltered ? can.failed.slice() : can.failed;
    this.#candidates = Candidates.copyOf(can.candidates);
    const plugged = this.#applyFilters();
    this.#tally = new Tally({
      columns,
      available: can.byDatacenter,
      evaluated: can.ready,
      filtered: this.#failed,
      reasons: can.reasons,
      plugged,
    });

    const feasible = isFiltered
      ? can.feasible.filter((row) => this.#failed[row] === 0)
      : can.feasible.slice();
    this.#affinity = affinityScores(job, group, columns, feasible, length);
    this.#deviceBound = deviceScoreBounds(group, columns);
    for (const scorer of scope.scorers) {
      const scores = new Float64Array(length);
      if (scorer.score(this.#candidates, scores, this.#context)) this.#plugged.push({ scorer, scores });
    }
    this.#spreads = new GroupSpreads(job, group, columns, feasible, length, this.#own);
    this.#ranking = new Ranking(length, scope.tie, this.#spreads);
    let withRoom = 0;
    for (let i = 0; i < feasible.length; i++) {
      const row = feasible[i]!;
      if (this.#score(row)) feasible[withRoom++] = row;
    }
    this.#ranking.fill(feasible.subarray(0, withRoom));
  }

  /** Computed class to whether a node of it may pass the constraints. */
  get classes(): Readonly<Record<string, boolean>> {
    if (this.#scope.filters.length === 0) return this.#rowsThatCan.classes();
    const { ready, tests } = this.#rowsThatCan;
    this.#classes ??= classEligibility(this.#scope.columns, ready, this.#failed, tests);
    return this.#classes;
  }

  /** The plan put an allocation on a row or took one off; what is known of the row is out of date. */
  changed(row: number, allocation: Allocation, by: 1 | -1): void {
    if (this.#rows.owns(allocation)) {
      this.#distinct.changed(row, allocation, by);
      if (allocation.TaskGroup === this.group.Name)
        for (const other of this.#spreads.add(row, by)) this.#ranking.restand(other);
      // Rows that a distinct rule kept out may be open again; they are asked when their turn comes.
      if (by < 0) for (const other of this.#tally.letIn()) this.#enter(other);
    }
    this.#evictions.forget(row);
    this.#deviceScores.delete(row);
    if (!this.#candidates.has(row) || this.#tally.isKeptOut(row)) return;
    for (const { scorer, scores } of this.#plugged) {
      if (scorer.rescore !== undefined) scores[row] = scorer.rescore(row, this.#context);
    }
    this.#enter(row);
  }

  /** The best node for the request, or why there is none. */
  place(request: PlacementRequest): Choice | Failure {
    const started = performance.now();
    const random = this.#scope.random(request.name);
    if (request.onlyNode !== undefined) return this.#placeOn(request.onlyNode, random, started);
    const penalised = this.#penalisedRows(request);
    if (request.preferredNode !== undefined) {
      const row = this.#scope.columns.row(request.preferredNode);
      if (row !== undefined && this.#open(row)) {
        const assigned = this.#accept(row, random);
        if (assigned !== null) {
          this.#lowered(row, assigned.deviceScore);
          const metrics = this.#tally.metric(started);
          metrics.ScoreMetaData = [this.#meta(row, penalised.has(row))];
          return { row, resources: assigned.resources, metrics, victims: NOBODY };
        }
      }
    }
    for (;;) {
      const top = this.#top(penalised);
      const best = top[0];
      if (best === undefined) break;
      const { row } = best;
      const assigned = this.#accept(row, random);
      if (assigned === null) continue;
      if (this.#lowered(row, assigned.deviceScore)) {
        this.#scope.forgetHoldings(row);
        continue;
      }
      const metrics = this.#tally.metric(started);
      const metas: NodeScoreMeta[] = [];
      for (const one of top) metas.push(this.#meta(one.row, penalised.has(one.row)));
      metrics.ScoreMetaData = metas;
      return { row, resources: assigned.resources, metrics, victims: NOBODY };
    }
    const evicting = this.#evictions.enabled ? this.#placeByEviction(penalised, random, started) : null;
    if (evicting !== null) return evicting;
    const failed = this.#tally.metric(started);
    addExhaustedResources(failed, this.group);
    return { failed };
  }

  /** Whether an allocation may get a new version of the group where it runs: constraints hold and the difference fits. */
  fitInPlace(allocation: Allocation, row: number): AllocatedResources | null {
    const { columns, numbers, usage, length } = this.#scope;
    const datacenter = columns.values("node.datacenter")[columns.codes("node.datacenter")[row] ?? 0];
    if (datacenter === undefined || !this.job.Datacenters.includes(datacenter)) return null;
    if (!this.#rowsThatCan.tests.every((test) => test.passes(row))) return null;
    const single = new Candidates(length);
    single.add(row);
    for (const filter of this.#scope.filters) filter.filter(single, this.#context);
    if (!single.has(row) || this.#distinct.violation(row, allocation) !== null) return null;

    const held = allocation.AllocatedResources;
    if (!samePorts(held, this.group)) return null;
    const resources: AllocatedResources = structuredClone(held);
    resources.Shared.DiskMB = this.#plain.Shared.DiskMB;
    for (const task of this.group.Tasks) {
      const holds = resources.Tasks[task.Name];
      // A task that wasn't there has no ports, cores or devices: the allocation must be placed anew.
      if (holds === undefined || (holds.Cpu.ReservedCores?.length ?? 0) !== task.Resources.Cores) return null;
      const devices = (holds.Devices ?? []).reduce((sum, device) => sum + device.DeviceIDs.length, 0);
      const asked = (task.Resources.Devices ?? []).reduce((sum, device) => sum + device.Count, 0);
      if (devices !== asked) return null;
      const plain = this.#plain.Tasks[task.Name]!;
      holds.Memory = { ...plain.Memory };
      if (holds.Cpu.ReservedCores === null) holds.Cpu.CpuShares = plain.Cpu.CpuShares;
    }
    resources.TaskLifecycles = this.#plain.TaskLifecycles;
    const before = allocationUse(held);
    const after = allocationUse(resources);
    const cpu = numbers.cpuUsed[row]! + usage.cpu[row]!;
    const memory = numbers.memoryUsed[row]! + usage.memory[row]!;
    const disk = numbers.diskUsed[row]! + usage.disk[row]!;
    const fits =
      growthFits(numbers.cpuTotal[row]!, cpu, after.cpu - before.cpu) &&
      growthFits(numbers.memoryTotal[row]!, memory, after.memory - before.memory) &&
      growthFits(numbers.diskTotal[row]!, disk, after.disk - before.disk);
    return fits ? resources : null;
  }

  /** On one node alone; what failed there is told of that node only. */
  #placeOn(nodeId: string, random: () => number, started: number): Choice | Failure {
    const row = this.#scope.columns.row(nodeId);
    if (row !== undefined && this.#open(row)) {
      const assigned = this.#accept(row, random);
      if (assigned !== null) return this.#chosenOn(row, assigned, null, started);
    }
    if (row !== undefined && this.#evictions.enabled && this.#roomCanBeMade(row)) {
      const eviction = this.#evictions.on(row, random);
      if (eviction !== null) return this.#chosenOn(row, eviction, eviction, started);
    }
    const failed = this.#tally.metricOf(row, started);
    addExhaustedResources(failed, this.group);
    return { failed };
  }

  #chosenOn(row: number, assigned: Assigned, eviction: Eviction | null, started: number): Choice {
    const metrics = this.#tally.metricOf(row, started);
    metrics.NodesExhausted = metrics.NodesFiltered = 0;
    metrics.DimensionExhausted = metrics.ClassExhausted = null;
    metrics.ConstraintFiltered = metrics.ClassFiltered = null;
    const scores: Record<string, number> = { binpack: this.#fitWithout(row, eviction) };
    if (this.#deviceBound !== null) scores.devices = assigned.deviceScore;
    if (eviction !== null) scores.preemption = eviction.score;
    const values = Object.values(scores);
    const NormScore = values.reduce((sum, score) => sum + score, 0) / values.length;
    metrics.ScoreMetaData = [{ NodeID: this.#scope.columns.nodeId(row) ?? "", NormScore, Scores: scores }];
    return { row, resources: assigned.resources, metrics, victims: eviction?.victims ?? NOBODY };
  }

  /** The best of the nodes where room can be made by pushing others aside; null when there is none. */
  #placeByEviction(penalised: ReadonlySet<number>, random: () => number, started: number): Choice | null {
    const top: (Ranked & { readonly eviction: Eviction })[] = [];
    const exhausted: number[] = [];
    const { ready } = this.#rowsThatCan;
    for (let i = 0; i < ready.length; i++) {
      const row = ready[i]!;
      if (!this.#roomCanBeMade(row)) continue;
      const eviction = this.#evictions.on(row, random);
      if (eviction === null) {
        exhausted.push(row);
        continue;
      }
      const ranked = { row, score: this.#meanWith(eviction, penalised.has(row)), eviction };
      let at = top.length;
      while (at > 0 && this.#ranking.before(ranked, top[at - 1]!)) at--;
      if (at === TOP_NODES) continue;
      top.splice(at, 0, ranked);
      if (top.length > TOP_NODES) top.pop();
    }
    const best = top[0];
    if (best === undefined) return null;
    const metrics = { ...this.#tally.metric(started), ...this.#tally.exhaustedAmong(exhausted) };
    metrics.ScoreMetaData = top.map(({ row, score, eviction }) => ({
      NodeID: this.#scope.columns.nodeId(row) ?? "",
      NormScore: score,
      Scores: this.#scoresOf(row, penalised.has(row), eviction),
    }));
    const { row, eviction } = best;
    return { row, resources: eviction.resources, metrics, victims: eviction.victims };
  }

  /** Whether it is room alone that a row lacks. */
  #roomCanBeMade(row: number): boolean {
    return (
      this.#candidates.has(row) &&
      this.#tally.lacks(row) !== null &&
      !this.#tally.isKeptOut(row) &&
      (!this.#distinct.any || this.#distinct.violation(row, null) === null)
    );
  }

  /** Gives the group its resources on a row; null (and noted) when the row can't take it after all. */
  #accept(row: number, random: () => number): Assigned | null {
    const violation = this.#distinct.any ? this.#distinct.violation(row, null) : null;
    if (violation !== null) {
      this.#ranking.remove(row);
      this.#tally.keepOut(row, violation);
      return null;
    }
    const assigned = this.#assign(row, random);
    if (typeof assigned !== "string") return assigned;
    this.#ranking.remove(row);
    this.#tally.exhaust(row, assigned);
    return null;
  }

  /** The resources on this row, or the dimension that it lacks. */
  #assign(row: number, random: () => number): Assigned | string {
    if (!this.#needsHoldings) return { resources: this.#plain, deviceScore: 0 };
    const holdings = this.#scope.holdings(row);
    // The node left between the columns and this snapshot.
    if (holdings === null) return "node";
    const oversubscription = this.#scope.configuration.MemoryOversubscriptionEnabled;
    const assigned = assignResources(this.group, holdings, oversubscription, random);
    if ("error" in assigned) {
      this.#scope.forgetHoldings(row);
      return assigned.error;
    }
    return assigned;
  }

  /** Whether the devices that are free are liked less than the row was ranked by; it is then scored and ranked anew. */
  #lowered(row: number, score: number): boolean {
    if (this.#deviceBound === null || score === this.#deviceScore(row)) return false;
    this.#deviceScores.set(row, score);
    this.#enter(row);
    return true;
  }

  #deviceScore(row: number): number {
    return this.#deviceScores.get(row) ?? this.#deviceBound!(row);
  }

  #applyFilters(): Record<string, number> {
    const removed: Record<string, number> = {};
    for (const filter of this.#scope.filters) {
      for (const [reason, count] of Object.entries(filter.filter(this.#candidates, this.#context)))
        removed[reason] = (removed[reason] ?? 0) + count;
    }
    if (this.#scope.filters.length > 0) {
      for (const row of this.#rowsThatCan.ready)
        if (this.#failed[row] === 0 && !this.#candidates.has(row)) this.#failed[row] = PLUGGED;
    }
    return removed;
  }

  /** Scores a row; false (and noted) when the group doesn't fit on it. */
  #score(row: number): boolean {
    this.#stamps[row]!++;
    const { numbers, usage } = this.#scope;
    const cpu = numbers.cpuUsed[row]! + usage.cpu[row]! + this.#cpuAsk(row);
    const memory = numbers.memoryUsed[row]! + usage.memory[row]! + this.#ask.memory;
    const cpuTotal = numbers.cpuTotal[row]!;
    const memoryTotal = numbers.memoryTotal[row]!;
    let dimension = "";
    if (cpu > cpuTotal) dimension = "cpu";
    else if (this.#cores > 0 && this.#coreCount(row) < this.#cores) dimension = "cores";
    else if (memory > memoryTotal) dimension = "memory";
    else if (numbers.diskUsed[row]! + usage.disk[row]! + this.#ask.disk > numbers.diskTotal[row]!)
      dimension = "disk";
    if (dimension !== "") this.#tally.exhaust(row, dimension);
    const fit = this.#fitOf(cpu, cpuTotal, memory, memoryTotal);
    this.#fitScores[row] = fit;
    let sum = fit;
    let parts = 1;
    const own = this.#own.get(row);
    if (own > 0) {
      sum += antiAffinityScore(own, this.group.Count);
      parts++;
    }
    if (this.#affinity !== null && this.#affinity[row] !== 0) {
      sum += this.#affinity[row]!;
      parts++;
    }
    if (this.#deviceBound !== null) {
      sum += this.#deviceScore(row);
      parts++;
    }
    for (let i = 0; i < this.#plugged.length; i++) {
      sum += this.#plugged[i]!.scores[row]!;
      parts++;
    }
    this.#ranking.sums[row] = sum;
    this.#ranking.parts[row] = parts;
    return dimension === "";
  }

  /** The fit score of a row once the victims of an eviction are gone. */
  #fitWithout(row: number, eviction: Eviction | null): number {
    if (eviction === null) return this.#fitScores[row]!;
    const { numbers, usage } = this.#scope;
    const { cpu, memory } = eviction.freed;
    return this.#fitOf(
      numbers.cpuUsed[row]! + usage.cpu[row]! + this.#cpuAsk(row) - cpu,
      numbers.cpuTotal[row]!,
      numbers.memoryUsed[row]! + usage.memory[row]! + this.#ask.memory - memory,
      numbers.memoryTotal[row]!,
    );
  }

  /** Mean score of a row where others have to leave. */
  #meanWith(eviction: Eviction, penalised: boolean): number {
    const { row } = eviction;
    const device = this.#deviceBound === null ? 0 : eviction.deviceScore - this.#deviceScore(row);
    const spread = this.#ranking.spread(row);
    const sum =
      this.#ranking.sums[row]! +
      this.#fitWithout(row, eviction) -
      this.#fitScores[row]! +
      device +
      spread +
      (penalised ? RESCHEDULE_PENALTY : 0) +
      eviction.score;
    return sum / (this.#ranking.parts[row]! + (spread === 0 ? 0 : 1) + (penalised ? 1 : 0) + 1);
  }

  #enter(row: number): void {
    this.#tally.free(row);
    if (this.#score(row)) this.#ranking.put(row);
    else this.#ranking.remove(row);
  }

  /** The best open rows by their mean score; penalised ones count with their penalty. */
  #top(penalised: ReadonlySet<number>): Ranked[] {
    const top = this.#ranking.best(TOP_NODES, penalised);
    if (penalised.size === 0) return top;
    for (const row of penalised)
      if (this.#open(row)) top.push({ row, score: this.#ranking.mean(row, RESCHEDULE_PENALTY) });
    return top.sort((a, b) => (this.#ranking.before(a, b) ? -1 : 1)).slice(0, TOP_NODES);
  }

  /** Whether the row is a candidate with room that no distinct rule keeps out. */
  #open(row: number): boolean {
    return this.#candidates.has(row) && this.#tally.open(row);
  }

  #penalisedRows(request: PlacementRequest): ReadonlySet<number> {
    if (request.penaltyNodes === undefined || request.penaltyNodes.size === 0) return NO_ROWS;
    const rows = new Set<number>();
    for (const id of request.penaltyNodes) {
      const row = this.#scope.columns.row(id);
      if (row !== undefined) rows.add(row);
    }
    return rows;
  }

  #askOn(row: number): ResourceUse {
    return this.#cores === 0 ? this.#ask : { ...this.#ask, cpu: this.#cpuAsk(row) };
  }

  #cpuAsk(row: number): number {
    if (this.#cores === 0) return this.#ask.cpu;
    const mhz = this.#coreMhz(row);
    let cpu = this.#cpuByCore.get(mhz);
    if (cpu === undefined) {
      cpu = cpuWithCores(this.group, this.#plain, mhz);
      this.#cpuByCore.set(mhz, cpu);
    }
    return cpu;
  }

  #meta(row: number, penalised: boolean): NodeScoreMeta {
    // The same object for the same scores: a plan of ten thousand allocations names the same few nodes over and over.
    const known = penalised ? undefined : this.#metas.get(row);
    const stamp = this.#stamps[row]!;
    const spread = this.#ranking.spread(row);
    if (known !== undefined && known.stamp === stamp && known.spread === spread) return known.meta;
    const meta: NodeScoreMeta = {
      NodeID: this.#scope.columns.nodeId(row) ?? "",
      NormScore: this.#ranking.mean(row, penalised ? RESCHEDULE_PENALTY : null),
      Scores: this.#scoresOf(row, penalised, null),
    };
    if (!penalised) this.#metas.set(row, { stamp, spread, meta });
    return meta;
  }

  #scoresOf(row: number, penalised: boolean, eviction: Eviction | null): Record<string, number> {
    const scores: Record<string, number> = {
      "job-anti-affinity": antiAffinityScore(this.#own.get(row), this.group.Count),
      "node-reschedule-penalty": penalised ? RESCHEDULE_PENALTY : 0,
      "node-affinity": this.#affinity?.[row] ?? 0,
    };
    if (this.#spreads.any) scores["allocation-spread"] = this.#ranking.spread(row);
    scores.binpack = this.#fitWithout(row, eviction);
    if (this.#deviceBound !== null) scores.devices = eviction?.deviceScore ?? this.#deviceScore(row);
    if (eviction !== null) scores.preemption = eviction.score;
    for (const { scorer, scores: plugged } of this.#plugged) scores[scorer.name] = plugged[row]!;
    return scores;
  }
}

/** Fits that are remembered; a power of two. */
const REMEMBERED = 512;

/** The fit by what is used of what there is: powers are dear, and many nodes are filled alike. */
function rememberedFit(
  fit: (freeCpu: number, freeMemory: number) => number,
): (cpu: number, cpuTotal: number, memory: number, memoryTotal: number) => number {
  const known = new Float64Array(REMEMBERED * 5).fill(Number.NaN);
  return (cpu, cpuTotal, memory, memoryTotal) => {
    const at = ((Math.imul(cpu, 31) ^ Math.imul(memory, 17) ^ cpuTotal ^ memoryTotal) & (REMEMBERED - 1)) * 5;
    if (
      known[at] !== cpu ||
      known[at + 1] !== cpuTotal ||
      known[at + 2] !== memory ||
      known[at + 3] !== memoryTotal
    ) {
      known[at] = cpu;
      known[at + 1] = cpuTotal;
      known[at + 2] = memory;
      known[at + 3] = memoryTotal;
      known[at + 4] = fit(freeShare(cpu, cpuTotal), freeShare(memory, memoryTotal));
    }
    return known[at + 4]!;
  };
}

function growthFits(total: number, used: number, growth: number): boolean {
  return growth <= 0 || used + growth <= total;
}

/** Whether an allocation holds the ports that the group asks for, by their labels and static numbers. */
function samePorts(held: AllocatedResources, group: TaskGroup): boolean {
  const network = group.Networks?.[0];
  const wanted = [...(network?.ReservedPorts ?? []), ...(network?.DynamicPorts ?? [])];
  const ports = new Map((held.Shared.Ports ?? []).map((port) => [port.Label, port.Value]));
  return (
    ports.size === wanted.length &&
    wanted.every((port) => ports.has(port.Label)) &&
    (network?.ReservedPorts ?? []).every((port) => ports.get(port.Label) === port.Value)
  );
}
