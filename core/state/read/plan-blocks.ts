/** Blocks of plans that were read lately in one environment. A block never changes, so readers of any index may share them. */
import type { PlanBlock } from "./plan-block.js";

/** Bytes of blocks that a thread keeps. */
const MAX_BYTES = 32 * 1024 * 1024;

export interface CommittedBlock {
  readonly block: PlanBlock;
  /** Unix nanoseconds of the commit. */
  readonly time: number;
}

export class PlanBlockCache {
  readonly #blocks = new Map<number, CommittedBlock>();
  #bytes = 0;

  get(index: number): CommittedBlock | undefined {
    return this.#blocks.get(index);
  }

  set(index: number, committed: CommittedBlock): void {
    this.delete(index);
    this.#blocks.set(index, committed);
    this.#bytes += committed.block.bytes.length;
    for (const oldest of this.#blocks.keys()) {
      if (this.#bytes <= MAX_BYTES || oldest === index) return;
      this.delete(oldest);
    }
  }

  delete(index: number): void {
    const known = this.#blocks.get(index);
    if (known === undefined) return;
    this.#blocks.delete(index);
    this.#bytes -= known.block.bytes.length;
  }

  clear(): void {
    this.#blocks.clear();
    this.#bytes = 0;
  }
}
