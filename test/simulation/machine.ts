import type { Entry } from "../../plugins/consensus-raft/core/types.js";
import { Trace } from "./trace.js";

/** `append` adds a value to a key's list, `write` makes it the only one, `read` gives the list. */
export interface Command {
  readonly kind: "append" | "write";
  readonly key: string;
  /** Unique in a history. */
  readonly value: string;
}

/** A copy of the machine. */
export interface MachineState {
  readonly index: number;
  readonly values: ReadonlyMap<string, string>;
  /** Stands for everything that was applied up to here. */
  readonly digest: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeCommand(command: Command): Uint8Array {
  return encoder.encode(JSON.stringify(command));
}

/** What a key holds after a command: its values, each with a comma behind it. */
export function after(state: string, { kind, value }: Pick<Command, "kind" | "value">): string {
  return kind === "append" ? `${state}${value},` : `${value},`;
}

/** The replicated state: keys with lists of values. */
export class Machine {
  #index = 0;
  #values = new Map<string, string>();
  #digest = "";

  get index(): number {
    return this.#index;
  }
  get digest(): string {
    return this.#digest;
  }

  read(key: string): string {
    return this.#values.get(key) ?? "";
  }

  apply(entry: Entry): void {
    if (entry.index !== this.#index + 1) throw new Error(`entry ${entry.index} came after ${this.#index}`);
    this.#index = entry.index;
    if (entry.kind === "command") {
      const command = JSON.parse(decoder.decode(entry.data)) as Command;
      this.#values.set(command.key, after(this.read(command.key), command));
    }
    const trace = new Trace();
    trace.add(this.#digest, entry.term, entry.kind, decoder.decode(entry.data));
    this.#digest = trace.hash;
  }

  /** Puts other contents in force as what entry `index` did. */
  replace(index: number, values: ReadonlyMap<string, string>, digest: string): void {
    this.#index = index;
    this.#values = new Map(values);
    this.#digest = digest;
  }

  copy(): MachineState {
    return { index: this.#index, values: new Map(this.#values), digest: this.#digest };
  }
}
