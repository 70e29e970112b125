import type { Consensus, Proposed } from "@drover/plugin-sdk";
import type { Command, CommandPayloads, CommandType } from "../state/index.js";
import { encodeCommand } from "../state/index.js";

/** Nanoseconds since the Unix epoch, as commands carry them (exact to 256 ns: a JS number). */
export function unixNanos(): number {
  return Date.now() * 1e6;
}

/** Called on the leader after its own command was applied, in log order. */
export type CommittedListener = (command: Command, index: number) => void;

/**
 * The way of every write: encodes a command, proposes it, and tells the leader's trackers once it is applied. A refused
 * command rejects with the state machine's Error.
 */
export class CommandLog {
  readonly #listeners: CommittedListener[] = [];
  constructor(private readonly consensus: Consensus) {}

  onCommitted(listener: CommittedListener): void {
    this.#listeners.push(listener);
  }

  async propose<T extends CommandType>(type: T, payload: CommandPayloads[T]): Promise<Proposed> {
    const command = { type, payload } as unknown as Command;
    const proposed = await this.consensus.propose(encodeCommand(command));
    for (const listener of this.#listeners) listener(command, proposed.index);
    return proposed;
  }
}
