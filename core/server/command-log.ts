import type { Consensus, Proposed } from "@drover/plugin-sdk";
import type { Command, CommandPayloads, PlanCommand } from "../state/index.js";
import { CommandType, encodeCommand } from "../state/index.js";

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

  /** Proposes a plan that a scheduling thread has encoded. */
  async proposePlan(encoded: Uint8Array): Promise<Proposed> {
    const proposed = await this.consensus.propose(encoded);
    // The state machine has read it by now; it need not be read again for those who listen.
    const command: Command = { type: CommandType.PlanApply, payload: proposed.result as PlanCommand };
    for (const listener of this.#listeners) listener(command, proposed.index);
    return proposed;
  }
}
