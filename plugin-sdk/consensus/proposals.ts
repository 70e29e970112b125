import type { Proposed } from "../contracts/consensus.js";
import { CommandTooLargeError, ConsensusBusyError } from "./errors.js";

interface Pending {
  readonly bytes: number;
  readonly since: number;
  resolve(proposed: Proposed): void;
  reject(error: Error): void;
}

export interface ProposalLimits {
  readonly max_command_bytes: number;
  readonly max_inflight: number;
  readonly max_inflight_bytes: number;
}

/** Commands under way, by index; bounded, so that a slow log pushes back instead of filling the memory. */
export class Proposals {
  readonly #pending = new Map<number, Pending>();
  #bytes = 0;

  constructor(private readonly limits: ProposalLimits) {}

  get count(): number {
    return this.#pending.size;
  }

  /** Throws when a command of this size can't be taken now. */
  admit(bytes: number): void {
    const { max_command_bytes, max_inflight, max_inflight_bytes } = this.limits;
    if (bytes > max_command_bytes) {
      throw new CommandTooLargeError(
        `the command is ${bytes} bytes; the log takes up to ${max_command_bytes}`,
      );
    }
    if (this.#pending.size >= max_inflight || this.#bytes + bytes > max_inflight_bytes) {
      throw new ConsensusBusyError(
        `${this.#pending.size} commands (${this.#bytes} bytes) wait for the log; try again later`,
      );
    }
  }

  add(index: number, bytes: number): Promise<Proposed> {
    this.#bytes += bytes;
    return new Promise((resolve, reject) => {
      this.#pending.set(index, { bytes, since: performance.now(), resolve, reject });
    });
  }

  /** Answers the proposal at `index`, if there is one; gives the milliseconds that it took. */
  settle(index: number, result: unknown): number | undefined {
    const pending = this.#take(index);
    if (pending === undefined) return undefined;
    if (result instanceof Error) pending.reject(result);
    else pending.resolve({ index, result });
    return performance.now() - pending.since;
  }

  /** Refuses every proposal after `index`. */
  rejectAfter(index: number, error: Error): void {
    for (const key of [...this.#pending.keys()]) if (key > index) this.#take(key)?.reject(error);
  }

  #take(index: number): Pending | undefined {
    const pending = this.#pending.get(index);
    if (pending === undefined) return undefined;
    this.#pending.delete(index);
    this.#bytes -= pending.bytes;
    return pending;
  }
}
