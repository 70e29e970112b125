/** Names of allocations: `web.app[0]`, the index reused from the lowest free one up. */
import type { AllocationOutline } from "../domain/allocation.js";
import { allocIndexOf, allocName } from "../domain/ids.js";

/** Indexes that are in use in a group. */
export class AllocNameIndex {
  readonly #jobId: string;
  readonly #group: string;
  readonly #used = new Set<number>();
  #lowest = 0;

  constructor(jobId: string, group: string) {
    this.#jobId = jobId;
    this.#group = group;
  }

  /** Marks the index of a name as used; a name without an index is ignored. */
  use(name: string): void {
    const index = allocIndexOf(name);
    if (index >= 0) this.#used.add(index);
  }

  has(name: string): boolean {
    return this.#used.has(allocIndexOf(name));
  }

  /** The lowest free name, which is used from now on. */
  next(): string {
    while (this.#used.has(this.#lowest)) this.#lowest++;
    this.#used.add(this.#lowest);
    return allocName(this.#jobId, this.#group, this.#lowest);
  }

  /**
   * Names of new canaries: of allocations that they will replace, lowest first, then free ones below the group's count, then
   * those from the count up. `taken` are the names of canaries that exist.
   */
  canaries(wanted: number, count: number, replaced: readonly string[], taken: readonly string[]): string[] {
    const mine = new Set(taken.map(allocIndexOf));
    const chosen: number[] = [];
    const take = (index: number): void => {
      if (chosen.length >= wanted || index < 0 || mine.has(index)) return;
      mine.add(index);
      chosen.push(index);
    };
    for (const index of replaced.map(allocIndexOf).sort((a, b) => a - b)) take(index);
    for (let index = 0; index < count && chosen.length < wanted; index++) {
      if (!this.#used.has(index)) take(index);
    }
    for (let index = count; chosen.length < wanted; index++) take(index);
    return chosen.map((index) => allocName(this.#jobId, this.#group, index));
  }
}

/** By index of the name, then by age; the same order whatever order they came in. */
export function inNameOrder(allocations: readonly AllocationOutline[]): AllocationOutline[] {
  if (allocations.length < 2) return [...allocations];
  return allocations
    .map((allocation) => ({ allocation, index: allocIndexOf(allocation.Name) }))
    .sort(
      (a, b) =>
        a.index - b.index ||
        a.allocation.CreateIndex - b.allocation.CreateIndex ||
        (a.allocation.ID < b.allocation.ID ? -1 : a.allocation.ID > b.allocation.ID ? 1 : 0),
    )
    .map(({ allocation }) => allocation);
}
