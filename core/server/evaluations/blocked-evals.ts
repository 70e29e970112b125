import type { Evaluation } from "@drover/plugin-sdk";

export interface BlockedStats {
  readonly blocked: number;
  readonly escaped: number;
}

/**
 * Evaluations that wait for capacity. One a job: an older one is a duplicate and gets cancelled. An evaluation says which
 * computed node classes could hold its job; a capacity change of a class wakes those that said yes or never saw it.
 *
 * The index rule: capacity may have come free after the scheduler took its snapshot and before the evaluation arrived
 * here. The index of the last change a class is kept, and an evaluation whose snapshot is older than a change that
 * concerns it is woken at once, so that no change can be missed.
 */
export class BlockedEvals {
  readonly #byJob = new Map<string, Evaluation>();
  readonly #changed = new Map<string, number>();
  #maxChanged = 0;
  #enabled = false;
  #duplicates: Evaluation[] = [];

  constructor(
    private readonly wake: (evaluation: Evaluation) => void,
    private readonly onDuplicate: () => void,
  ) {}

  setEnabled(enabled: boolean): void {
    this.#enabled = enabled;
    if (enabled) return;
    this.#byJob.clear();
    this.#changed.clear();
    this.#duplicates = [];
    this.#maxChanged = 0;
  }

  block(evaluation: Evaluation): void {
    if (!this.#enabled) return;
    const key = jobKey(evaluation.Namespace, evaluation.JobID);
    const present = this.#byJob.get(key);
    if (present !== undefined) {
      if (present.ID === evaluation.ID) {
        this.#byJob.set(key, evaluation);
        this.#checkMissed(key, evaluation);
        return;
      }
      const older = present.CreateIndex <= evaluation.CreateIndex ? present : evaluation;
      this.#duplicates.push(older);
      this.onDuplicate();
      if (older === evaluation) return;
    }
    this.#byJob.set(key, evaluation);
    this.#checkMissed(key, evaluation);
  }

  /** Capacity of a computed class changed with the entry `index`. */
  unblock(computedClass: string, index: number): void {
    if (!this.#enabled) return;
    this.#changed.set(computedClass, index);
    this.#maxChanged = Math.max(this.#maxChanged, index);
    for (const [key, evaluation] of this.#byJob) {
      if (concerns(evaluation, computedClass)) this.#release(key, evaluation);
    }
  }

  /** Wakes everything: a setting changed that can make any placement possible. */
  unblockAll(index: number): void {
    this.#maxChanged = Math.max(this.#maxChanged, index);
    for (const [key, evaluation] of this.#byJob) this.#release(key, evaluation);
  }

  /** The job was placed or stopped: forget what waited for it; gives the evaluation to cancel. */
  untrack(namespace: string, jobId: string): Evaluation | undefined {
    const key = jobKey(namespace, jobId);
    const present = this.#byJob.get(key);
    this.#byJob.delete(key);
    return present;
  }

  /** Duplicates found since the last call, to be cancelled. */
  takeDuplicates(): Evaluation[] {
    const found = this.#duplicates;
    this.#duplicates = [];
    return found;
  }

  stats(): BlockedStats {
    let escaped = 0;
    for (const evaluation of this.#byJob.values()) if (evaluation.EscapedComputedClass === true) escaped++;
    return { blocked: this.#byJob.size, escaped };
  }

  #checkMissed(key: string, evaluation: Evaluation): void {
    const seen = evaluation.SnapshotIndex ?? 0;
    if (this.#maxChanged <= seen) return;
    for (const [computedClass, index] of this.#changed) {
      if (index > seen && concerns(evaluation, computedClass)) {
        this.#release(key, evaluation);
        return;
      }
    }
  }

  #release(key: string, evaluation: Evaluation): void {
    this.#byJob.delete(key);
    this.wake(evaluation);
  }
}

const jobKey = (namespace: string, jobId: string): string => `${namespace}\0${jobId}`;

function concerns(evaluation: Evaluation, computedClass: string): boolean {
  return evaluation.EscapedComputedClass === true || evaluation.ClassEligibility?.[computedClass] !== false;
}
