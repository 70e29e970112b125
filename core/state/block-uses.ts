import { indexKey } from "./read/keys.js";
import type { OpenTables } from "./read/schema.js";

/** Counts the allocations that refer to the block of a plan; a block goes with the last of them. Gathered over one log entry. */
export class BlockUses {
  private readonly changes = new Map<number, number>();

  constructor(private readonly tables: Pick<OpenTables, "planBlocks" | "planBlockUses" | "blocks">) {}

  change(index: number, by: number): void {
    this.changes.set(index, (this.changes.get(index) ?? 0) + by);
  }

  flush(): void {
    const { planBlocks, planBlockUses, blocks } = this.tables;
    for (const [index, by] of this.changes) {
      const key = indexKey(index);
      const before = planBlockUses.get(key);
      const uses = (before ?? 0) + by;
      if (uses > 0) {
        if (by !== 0) planBlockUses.putSync(key, uses);
        continue;
      }
      if (before !== undefined) planBlockUses.removeSync(key);
      planBlocks.removeSync(key);
      blocks.delete(index);
    }
    this.changes.clear();
  }
}
