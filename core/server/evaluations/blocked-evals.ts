import { EvalTrigger, type Evaluation } from "@drover/plugin-sdk";
import { ChangeIndexes } from "./change-indexes.js";

export interface BlockedStats {
  readonly blocked: number;
  /** Of those, whose constraints name unique attributes: any capacity may help them. */
  readonly escaped: number;
  /** Of those, that reached a quota: capacity doesn't help them. */
  readonly quota: number;
}

interface Entry {
  readonly evaluation: Evaluation;
  readonly job: string;
}

/** Classes, nodes or quotas whose last change is remembered one by one. */
const REMEMBERED = 8_192;

/**
 * Evaluations that wait for capacity, each for one thing: a quota it reached (`QuotaLimitReached`), the one node that a
 * system job needs (`NodeID`), or a node of a computed class that can hold its job (`ClassEligibility`: those that it
 * names with true, and those it never saw; every one where it `EscapedComputedClass`). There is one a job, or one a job and
 * node: an older one is a duplicate and gets cancelled.
 *
 * The index rule: capacity may have come free after the scheduler took its snapshot and before the evaluation arrived
 * here. The index of the last change of each class, node and quota is kept, and an evaluation whose snapshot is older than
 * a change that concerns it is woken at once, so that no change can be missed. The oldest of many such indexes are
 * forgotten; an evaluation whose snapshot is older than what was forgotten is woken to be safe.
 */
export class BlockedEvals {
  readonly #byJob = new Map<string, Map<string, Entry>>();
  readonly #byNode = new Map<string, Set<Entry>>();
  readonly #byQuota = new Map<string, Set<Entry>>();
  readonly #byClass = new Set<Entry>();
  readonly #classes: ChangeIndexes;
  readonly #nodes: ChangeIndexes;
  readonly #quotas: ChangeIndexes;
  /** Evaluations of an older snapshot are woken at once, whatever they wait for. */
  #floor = 0;
  #count = 0;
  #escaped = 0;
  #quota = 0;
  #enabled = false;
  #duplicates: Evaluation[] = [];

  constructor(
    private readonly wake: (evaluation: Evaluation) => void,
    private readonly onDuplicate: () => void,
    remembered = REMEMBERED,
  ) {
    this.#classes = new ChangeIndexes(remembered);
    this.#nodes = new ChangeIndexes(remembered);
    this.#quotas = new ChangeIndexes(remembered);
  }

  setEnabled(enabled: boolean): void {
    this.#enabled = enabled;
    if (enabled) return;
    for (const each of [this.#byJob, this.#byNode, this.#byQuota, this.#byClass]) each.clear();
    for (const each of [this.#classes, this.#nodes, this.#quotas]) each.clear();
    this.#duplicates = [];
    this.#floor = 0;
    this.#count = 0;
    this.#escaped = 0;
    this.#quota = 0;
  }

  block(evaluation: Evaluation): void {
    if (!this.#enabled) return;
    const entry: Entry = { evaluation, job: jobKey(evaluation.Namespace, evaluation.JobID) };
    const present = this.#byJob.get(entry.job)?.get(evaluation.NodeID ?? "");
    if (present !== undefined && present.evaluation.ID !== evaluation.ID) {
      const isOlder = evaluation.CreateIndex < present.evaluation.CreateIndex;
      this.#duplicates.push(isOlder ? evaluation : present.evaluation);
      this.onDuplicate();
      if (isOlder) return;
    }
    if (present !== undefined) this.#remove(present);
    this.#add(entry);
    if (this.#missedAChange(evaluation)) this.#release(entry);
  }

  /** Capacity of a node changed with the entry `index`. */
  unblock(nodeId: string, computedClass: string, index: number): void {
    this.unblockNodes([[nodeId, computedClass]], index);
  }

  /** Capacity of nodes, each with its computed class, changed with the entry `index`. */
  unblockNodes(nodes: Iterable<readonly [nodeId: string, computedClass: string]>, index: number): void {
    if (!this.#enabled) return;
    const classes = new Set<string>();
    for (const [nodeId, computedClass] of nodes) {
      this.#note(this.#nodes, nodeId, index);
      classes.add(computedClass);
      for (const entry of [...(this.#byNode.get(nodeId) ?? [])]) this.#release(entry);
    }
    for (const computedClass of classes) this.#note(this.#classes, computedClass, index);
    for (const entry of this.#byClass) {
      for (const computedClass of classes) {
        if (!concerns(entry.evaluation, computedClass)) continue;
        this.#release(entry);
        break;
      }
    }
  }

  /** A quota was raised, or what it counts went down, with the entry `index`. */
  unblockQuota(quota: string, index: number): void {
    if (!this.#enabled) return;
    this.#note(this.#quotas, quota, index);
    for (const entry of [...(this.#byQuota.get(quota) ?? [])]) this.#release(entry);
  }

  /** Wakes everything: a setting changed that can make any placement possible. */
  unblockAll(index: number): void {
    if (!this.#enabled) return;
    this.#floor = Math.max(this.#floor, index);
    for (const entry of this.#entries()) this.#release(entry);
  }

  /** Wakes those that wait because their plans were refused too often: no change of capacity may ever come to their help. */
  unblockFailed(): void {
    for (const entry of this.#entries()) {
      if (entry.evaluation.TriggeredBy === EvalTrigger.MaxPlans) this.#release(entry);
    }
  }

  /**
   * The job was placed or stopped, on `nodeId` alone or altogether: forgets what waited for it and gives it, to be
   * cancelled.
   */
  untrack(namespace: string, jobId: string, nodeId?: string): Evaluation[] {
    const entries = this.#byJob.get(jobKey(namespace, jobId));
    if (entries === undefined) return [];
    const own = nodeId === undefined ? [...entries.values()] : [entries.get(nodeId)];
    return this.#forget(own.filter((entry) => entry !== undefined));
  }

  /** The node was removed: forgets what waited for it and gives it, to be cancelled. */
  untrackNode(nodeId: string): Evaluation[] {
    return this.#forget([...(this.#byNode.get(nodeId) ?? [])]);
  }

  /** Duplicates found since the last call, to be cancelled. */
  takeDuplicates(): Evaluation[] {
    const found = this.#duplicates;
    this.#duplicates = [];
    return found;
  }

  stats(): BlockedStats {
    return { blocked: this.#count, escaped: this.#escaped, quota: this.#quota };
  }

  #entries(): Entry[] {
    return [...this.#byJob.values()].flatMap((entries) => [...entries.values()]);
  }

  #missedAChange(evaluation: Evaluation): boolean {
    const seen = evaluation.SnapshotIndex ?? 0;
    if (seen < this.#floor) return true;
    if (evaluation.QuotaLimitReached) return this.#quotas.at(evaluation.QuotaLimitReached) > seen;
    if (evaluation.NodeID) return this.#nodes.at(evaluation.NodeID) > seen;
    return this.#classes.someAfter(seen, (computedClass) => concerns(evaluation, computedClass));
  }

  #note(changes: ChangeIndexes, key: string, index: number): void {
    this.#floor = Math.max(this.#floor, changes.note(key, index));
  }

  #release(entry: Entry): void {
    this.#remove(entry);
    this.wake(entry.evaluation);
  }

  #forget(entries: readonly Entry[]): Evaluation[] {
    for (const entry of entries) this.#remove(entry);
    return entries.map((entry) => entry.evaluation);
  }

  #add(entry: Entry): void {
    const { evaluation, job } = entry;
    const { NodeID, QuotaLimitReached, EscapedComputedClass } = evaluation;
    let ofJob = this.#byJob.get(job);
    if (ofJob === undefined) {
      ofJob = new Map();
      this.#byJob.set(job, ofJob);
    }
    ofJob.set(NodeID ?? "", entry);
    if (QuotaLimitReached) addTo(this.#byQuota, QuotaLimitReached, entry);
    else if (NodeID) addTo(this.#byNode, NodeID, entry);
    else this.#byClass.add(entry);
    this.#count++;
    if (EscapedComputedClass === true) this.#escaped++;
    if (QuotaLimitReached) this.#quota++;
  }

  #remove(entry: Entry): void {
    const { evaluation, job } = entry;
    const { NodeID, QuotaLimitReached, EscapedComputedClass } = evaluation;
    const ofJob = this.#byJob.get(job);
    ofJob?.delete(NodeID ?? "");
    if (ofJob?.size === 0) this.#byJob.delete(job);
    if (QuotaLimitReached) removeFrom(this.#byQuota, QuotaLimitReached, entry);
    else if (NodeID) removeFrom(this.#byNode, NodeID, entry);
    else this.#byClass.delete(entry);
    this.#count--;
    if (EscapedComputedClass === true) this.#escaped--;
    if (QuotaLimitReached) this.#quota--;
  }
}

const jobKey = (namespace: string, jobId: string): string => `${namespace}\0${jobId}`;

function concerns(evaluation: Evaluation, computedClass: string): boolean {
  return evaluation.EscapedComputedClass === true || evaluation.ClassEligibility?.[computedClass] !== false;
}

function addTo(sets: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([entry]));
  else set.add(entry);
}

function removeFrom(sets: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const set = sets.get(key);
  set?.delete(entry);
  if (set?.size === 0) sets.delete(key);
}
