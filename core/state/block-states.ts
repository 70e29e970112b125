import { GONE } from "./read/block-states.js";
import { indexKey, jobKey } from "./read/keys.js";
import type { PlanBlock } from "./read/plan-block.js";
import type { OpenTables } from "./read/schema.js";

/**
 * The states of the allocations that refer to blocks, gathered over one log entry. A block goes with the last of its
 * allocations. Blocks of schema 2 have only the number of their allocations.
 */
export class BlockStates {
  private readonly rows = new Map<number, Uint8Array | number>();

  constructor(
    private readonly tables: Pick<OpenTables, "planBlocks" | "blockStates" | "blocksByJob" | "blocks">,
    private readonly blockOf: (index: number) => PlanBlock,
  ) {}

  /** The block begins; nothing refers to it yet. */
  begin(index: number, block: PlanBlock): void {
    this.rows.set(index, new Uint8Array(block.length).fill(GONE));
    for (const job of jobsOf(block)) this.tables.blocksByJob.putSync(job, Buffer.from(indexKey(index)));
  }

  /** The row of this position is new or changed. */
  set(index: number, position: number, state: number): void {
    const row = this.row(index);
    if (typeof row !== "number") row[position] = state;
  }

  /** No row refers to this position any more. */
  release(index: number, position: number): void {
    const row = this.row(index);
    if (typeof row === "number") this.rows.set(index, row - 1);
    else row[position] = GONE;
  }

  flush(): void {
    const { planBlocks, blockStates, blocksByJob, blocks } = this.tables;
    for (const [index, row] of this.rows) {
      const key = indexKey(index);
      const inUse = typeof row === "number" ? row > 0 : row.some((state) => state !== GONE);
      if (inUse) {
        blockStates.putSync(key, row);
        continue;
      }
      for (const job of jobsOf(this.blockOf(index))) blocksByJob.removeSync(job, Buffer.from(key));
      blockStates.removeSync(key);
      planBlocks.removeSync(key);
      blocks.delete(index);
    }
    this.rows.clear();
  }

  private row(index: number): Uint8Array | number {
    let row = this.rows.get(index);
    if (row === undefined) {
      const stored = this.tables.blockStates.get(indexKey(index));
      if (stored === undefined) throw new Error(`block ${index} of a plan has no states`);
      row = typeof stored === "number" ? stored : Uint8Array.from(stored);
      this.rows.set(index, row);
    }
    return row;
  }
}

/** Keys of the jobs that a block has allocations of: one as a rule. */
function jobsOf(block: PlanBlock): Set<string> {
  return new Set(block.templates.map(({ Namespace, JobID }) => jobKey(Namespace, JobID)));
}
