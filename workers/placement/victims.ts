/** Preemption on rows: what would have to leave a node so that a group has room there. */
import type {
  AllocatedResources,
  Allocation,
  Job,
  SchedulerConfiguration,
  TaskGroup,
} from "@drover/plugin-sdk";
import {
  allocationUse,
  chooseVictims,
  netPriority,
  PREEMPTION_PRIORITY_GAP,
  type PreemptionCandidate,
  preemptionEnabled,
  preemptionScore,
  type ResourceUse,
  type Shortage,
} from "@drover/plugin-sdk/scheduling";
import { type Assigned, assignResources, NodeHoldings, needsHoldings } from "./assign.js";
import type { PlacementScope } from "./scope.js";

/** Room on a row, once its victims are gone. */
export interface Eviction extends Assigned {
  readonly row: number;
  readonly victims: readonly Allocation[];
  /** What they give back: MHz, MiB, MiB. */
  readonly freed: Pick<ResourceUse, "cpu" | "memory" | "disk">;
  /** The score `preemption`. */
  readonly score: number;
}

export class Evictions {
  readonly #scope: PlacementScope;
  readonly #job: Job;
  readonly #group: TaskGroup;
  readonly #ask: (row: number) => ResourceUse;
  readonly #plain: AllocatedResources;
  readonly #configuration: SchedulerConfiguration;
  /** What was found for a row, until the row changes. */
  readonly #known = new Map<number, Eviction | null>();

  constructor(
    scope: PlacementScope,
    job: Job,
    group: TaskGroup,
    plain: AllocatedResources,
    ask: (row: number) => ResourceUse,
  ) {
    this.#scope = scope;
    this.#job = job;
    this.#group = group;
    this.#plain = plain;
    this.#ask = ask;
    this.#configuration = scope.configuration;
  }

  /** Whether the job may push others aside at all. */
  get enabled(): boolean {
    return preemptionEnabled(this.#configuration, this.#job.Type);
  }

  /** The row changed: what is known of it is out of date. */
  forget(row: number): void {
    this.#known.delete(row);
  }

  /** How the group gets room on a row, null when nobody there may be pushed aside for it. */
  on(row: number, random: () => number): Eviction | null {
    let eviction = this.#known.get(row);
    if (eviction === undefined) {
      eviction = this.#find(row, random);
      this.#known.set(row, eviction);
    }
    return eviction;
  }

  #find(row: number, random: () => number): Eviction | null {
    const { columns, state, usage } = this.#scope;
    const id = columns.nodeId(row);
    if (id === undefined) return null;
    const proposed = usage.proposed(id);
    const candidates = this.#candidates(proposed);
    if (candidates.length === 0) return null;
    const node = needsHoldings(this.#group) ? state.node(id) : null;
    if (node === null && needsHoldings(this.#group)) return null;
    let assigned: Assigned = { resources: this.#plain, deviceScore: 0 };
    const missingWithout = (evicted: ReadonlySet<Allocation>): Shortage[] | null => {
      const short = this.#countedShortages(row, evicted);
      if (short.length > 0) return short;
      if (node === null) return null;
      const left = proposed.filter((allocation) => !evicted.has(allocation));
      const holdings = new NodeHoldings(node, left);
      const oversubscription = this.#configuration.MemoryOversubscriptionEnabled;
      const outcome = assignResources(this.#group, holdings, oversubscription, random);
      if ("error" in outcome) {
        if (outcome.missing <= 0) return [];
        const freedBy = ({ allocation }: PreemptionCandidate): number =>
          outcome.heldBy(allocation.AllocatedResources);
        return [{ missing: outcome.missing, freedBy }];
      }
      assigned = outcome;
      return null;
    };
    const alreadyPreempted = ({ allocation }: PreemptionCandidate): number => usage.preempted(allocation);
    const chosen = chooseVictims({ candidates, missingWithout, alreadyPreempted });
    if (chosen === null || chosen.length === 0) return null;
    // Once more with exactly those, so that what is assigned is what they leave.
    missingWithout(new Set(chosen.map(({ allocation }) => allocation)));
    const freed = { cpu: 0, memory: 0, disk: 0 };
    for (const { use } of chosen) {
      freed.cpu += use.cpu;
      freed.memory += use.memory;
      freed.disk += use.disk;
    }
    return {
      row,
      victims: chosen.map(({ allocation }) => allocation),
      freed,
      score: preemptionScore(netPriority(chosen.map(({ priority }) => priority))),
      ...assigned,
    };
  }

  #candidates(proposed: readonly Allocation[]): PreemptionCandidate[] {
    const candidates: PreemptionCandidate[] = [];
    for (const allocation of proposed) {
      // Only what runs already: this plan's own placements have an order of their own.
      if (allocation.CreateIndex === 0) continue;
      if (allocation.JobID === this.#job.ID && allocation.Namespace === this.#job.Namespace) continue;
      const job = this.#scope.jobOf(allocation);
      if (job === null || job.Priority > this.#job.Priority - PREEMPTION_PRIORITY_GAP) continue;
      const migrate = job.TaskGroups.find((group) => group.Name === allocation.TaskGroup)?.Migrate ?? null;
      candidates.push({
        allocation,
        priority: job.Priority,
        use: allocationUse(allocation.AllocatedResources),
        maxParallel: migrate?.MaxParallel ?? 0,
      });
    }
    return candidates;
  }

  /** What is missing of cpu, memory and disk when these are gone. */
  #countedShortages(row: number, evicted: ReadonlySet<Allocation>): Shortage[] {
    const { numbers, usage } = this.#scope;
    const ask = this.#ask(row);
    let cpu = numbers.cpuUsed[row]! + usage.cpu[row]! + ask.cpu - numbers.cpuTotal[row]!;
    let memory = numbers.memoryUsed[row]! + usage.memory[row]! + ask.memory - numbers.memoryTotal[row]!;
    let disk = numbers.diskUsed[row]! + usage.disk[row]! + ask.disk - numbers.diskTotal[row]!;
    for (const { AllocatedResources } of evicted) {
      const use = allocationUse(AllocatedResources);
      cpu -= use.cpu;
      memory -= use.memory;
      disk -= use.disk;
    }
    const short: Shortage[] = [];
    if (cpu > 0) short.push({ missing: cpu, freedBy: ({ use }) => use.cpu });
    if (memory > 0) short.push({ missing: memory, freedBy: ({ use }) => use.memory });
    if (disk > 0) short.push({ missing: disk, freedBy: ({ use }) => use.disk });
    return short;
  }
}
