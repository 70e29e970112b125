/** A state machine that knows how far it is, and no more: consensus alone is measured. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LogEntry, StateMachine } from "@drover/plugin-sdk";

const FILE = "applied";

export class CountingMachine implements StateMachine {
  #applied = 0;

  lastApplied(): number {
    return this.#applied;
  }

  apply(entries: readonly LogEntry[]): readonly unknown[] {
    this.#applied = entries.at(-1)!.index;
    return entries.map(({ index }) => index);
  }

  async snapshot(folder: string): Promise<number> {
    const index = this.#applied;
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, FILE), String(index));
    return index;
  }

  async verify(folder: string): Promise<number> {
    return Number(await readFile(join(folder, FILE), "utf8"));
  }

  async restore(folder: string, index?: number): Promise<void> {
    this.#applied = index ?? (await this.verify(folder));
  }
}
