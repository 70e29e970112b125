/** A state machine for tests of consensus. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LogEntry, StateMachine } from "../contracts/consensus.js";

const decoder = new TextDecoder();

interface Recorded {
  readonly index: number;
  readonly term: number;
  readonly command: string;
}

/** A machine that remembers what it applied; the command `refuse` gives an Error, any other its text in upper case. */
export class RecordingMachine implements StateMachine {
  entries: Recorded[] = [];
  readonly batches: number[] = [];
  /** How often its state was replaced by a copy. */
  restores = 0;
  #applied = 0;

  /** What was applied besides the entries of consensus itself. */
  get commands(): string[] {
    return this.entries.map(({ command }) => command).filter((command) => command !== "");
  }

  lastApplied(): number {
    return this.#applied;
  }

  apply(entries: readonly LogEntry[]): readonly unknown[] {
    this.batches.push(entries.length);
    return entries.map(({ index, term, data }) => {
      assert.equal(index, this.#applied + 1, "entries come in order, each once");
      this.#applied = index;
      const command = decoder.decode(data);
      this.entries.push({ index, term, command });
      return command === "refuse" ? new Error("refused by the machine") : command.toUpperCase();
    });
  }

  async snapshot(folder: string): Promise<number> {
    const applied = this.#applied;
    const text = JSON.stringify({ applied, entries: this.entries });
    // A folder inside of the folder, as a machine may want.
    await mkdir(join(folder, "inner"), { recursive: true });
    await writeFile(join(folder, "inner", "state.json"), text);
    return applied;
  }

  async restore(folder: string, index?: number): Promise<void> {
    const { applied, entries } = await read(folder);
    this.restores++;
    this.entries = entries;
    this.#applied = index ?? applied;
  }

  async verify(folder: string): Promise<number> {
    return (await read(folder)).applied;
  }
}

async function read(folder: string): Promise<{ applied: number; entries: Recorded[] }> {
  const text = await readFile(join(folder, "inner", "state.json"), "utf8");
  return JSON.parse(text) as { applied: number; entries: Recorded[] };
}
