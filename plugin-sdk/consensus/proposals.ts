import type { Proposed } from "../contracts/consensus.js";
import { CommandTooLargeError, ConsensusBusyError, OutcomeUnknownError } from "./errors.js";

interface Pending {
  readonly term: number;
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

  add(index: number, term: number, bytes: number): Promise<Proposed> {
    // Leadership was lost and won again in between: what was proposed at this index before is not in the log any more.
    this.#take(index)?.reject(new OutcomeUnknownError("this server stopped leading on the way"));
    this.#bytes += bytes;
    return new Promise((resolve, reject) => {
      this.#pending.set(index, { term, bytes, since: performance.now(), resolve, reject });
    });
  }

  /** Answers the proposal that became the entry of `index` and `term`, if there is one; gives the milliseconds that it took. */
  settle(index: number, term: number, result: unknown): number | undefined {
    if (this.#pending.get(index)?.term !== term) return undefined;
    const pending = this.#take(index)!;
    if (result instanceof Error) pending.reject(result);
    else pending.resolve({ index, result });
    return performance.now() - pending.since;
  }

  /** Refuses every proposal after `index`. */
  rejectAfter(index: number, error: Error): void {
    for (const key of [...this.#pending.keys()]) if (key > index) this.#take(key)?.reject(error);
  }

  /** Gives up every proposal of a term before `term`. */
  rejectBefore(term: number, error: Error): void {
    for (const [key, pending] of [...this.#pending]) if (pending.term < term) this.#take(key)?.reject(error);
  }

  #take(index: number): Pending | undefined {
    const pending = this.#pending.get(index);
    if (pending === undefined) return undefined;
    this.#pending.delete(index);
    this.#bytes -= pending.bytes;
    return pending;
  }
}
