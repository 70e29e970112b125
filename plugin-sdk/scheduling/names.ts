/** Names of allocations: `web.app[0]`, the index reused from the lowest free one up. */
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
}
