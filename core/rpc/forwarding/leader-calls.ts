import {
  type Consensus,
  EndpointError,
  type Logger,
  type Metrics,
  NotLeaderError,
  type Peer,
  RemoteError,
  RpcError,
  type ServerNetwork,
} from "@drover/plugin-sdk";
import type { z } from "zod";
import { decode, pack, unpack } from "./codec.js";
import { type HeldRequest, Hold, within } from "./hold.js";
import type { TermBarrier } from "./term-barrier.js";

/** Milliseconds that the leader has for one call: admission hooks, the log, and the answer. */
const CALL_DEADLINE = 30_000;

export interface LeaderCallsParts {
  readonly consensus: Consensus;
  readonly barrier: TermBarrier;
  readonly network: ServerNetwork;
  readonly hold: Hold;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/**
 * Work that only the leader may do, callable on every server: a follower sends the arguments to the leader and gives its
 * answer or error as if it had done the work itself. Calls are tried again, for the hold's time, only where certainly nothing
 * was done; the work itself must therefore make at most one proposal, or be harmless to repeat.
 */
export class LeaderCalls {
  readonly #remove: (() => void)[] = [];

  constructor(private readonly parts: LeaderCallsParts) {}

  /**
   * Gives the function that does `run` on the leader. `method` is its name between servers (`Job.Register`), `schema` the form of
   * its arguments there. The function rejects with
   * - what `run` rejected with, on whichever server;
   * - EndpointError 500 `No cluster leader` when none was found in the hold's time;
   * - EndpointError 500 that says so when the leader may have acted and did not answer.
   */
  define<Args extends readonly unknown[], Answer>(
    method: string,
    schema: z.ZodType<Args>,
    run: (...args: Args) => Promise<Answer>,
  ): (...args: Args) => Promise<Answer> {
    const { consensus, barrier, network } = this.parts;
    const remove = network.handle(method, async (body) => {
      const args = argumentsOf(method, schema, body);
      // One hop: a server that doesn't lead says who does.
      if (!consensus.isLeader()) throw new NotLeaderError(consensus.leader());
      await this.#pass(barrier);
      try {
        return pack(await run(...args));
      } catch (error) {
        throw this.#sent(method, error);
      }
    });
    this.#remove.push(remove);
    return (...args) => this.#call(method, args, run);
  }

  /** Answers no more calls of other servers. */
  stop(): void {
    for (const remove of this.#remove.splice(0)) remove();
  }

  async #call<Args extends readonly unknown[], Answer>(
    method: string,
    args: Args,
    run: (...args: Args) => Promise<Answer>,
  ): Promise<Answer> {
    const held = this.parts.hold.begin();
    let hint: Peer | undefined;
    for (;;) {
      let refusal: Error;
      try {
        return await this.#try(method, args, run, hint, held);
      } catch (error) {
        if (!certainlyNotDone(error)) throw told(method, error);
        refusal = error;
      }
      hint = refusal instanceof NotLeaderError ? refusal.leader : undefined;
      this.parts.metrics.increment("drover.forward.retries");
      try {
        await held.pause();
      } catch (error) {
        this.parts.log.warn({ method, error: refusal.message }, "a request found no cluster leader in time");
        throw error;
      }
    }
  }

  async #try<Args extends readonly unknown[], Answer>(
    method: string,
    args: Args,
    run: (...args: Args) => Promise<Answer>,
    hint: Peer | undefined,
    held: HeldRequest,
  ): Promise<Answer> {
    const { consensus, barrier, network, metrics } = this.parts;
    if (consensus.isLeader()) {
      if (!barrier.passed) await within(held.left(), this.#pass(barrier));
      return run(...args);
    }
    const leader = hint ?? consensus.leader();
    if (leader === undefined || leader.id === consensus.id) throw new NotLeaderError(undefined);
    metrics.increment("drover.forward.calls");
    const body = await network.call(leader.address, method, pack(args), { deadline: CALL_DEADLINE });
    return decode(`the answer of ${leader.address} to ${method}`, body) as Answer;
  }

  /** What another server is told of an error: one that has no form there is said in words, and belongs in the log here. */
  #sent(method: string, error: unknown): unknown {
    const known = told(method, error);
    const crosses =
      known instanceof EndpointError || known instanceof RemoteError || known instanceof NotLeaderError;
    if (crosses) return known;
    const message = known instanceof Error ? known.message : String(known);
    this.parts.log.warn({ method, error: message }, "a call that another server forwarded failed");
    return new EndpointError(500, message);
  }

  /** Nothing was done where the barrier fails, whatever it fails with. */
  async #pass(barrier: TermBarrier): Promise<void> {
    try {
      await barrier.pass();
    } catch (error) {
      if (error instanceof NotLeaderError) throw error;
      throw Object.assign(new NotLeaderError(undefined), { cause: error });
    }
  }
}

function argumentsOf<Args extends readonly unknown[]>(
  method: string,
  schema: z.ZodType<Args>,
  body: Uint8Array,
): Args {
  try {
    return unpack(`the request of ${method}`, schema, body);
  } catch (error) {
    throw new EndpointError(400, (error as Error).message);
  }
}

function certainlyNotDone(error: unknown): error is Error {
  if (error instanceof NotLeaderError) return true;
  return error instanceof RpcError && (error.code === "ERR_RPC_UNREACHABLE" || error.code === "ERR_RPC_BUSY");
}

/** The error as callers are told it. */
function told(method: string, error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message?: string };
  const isUnknown = error instanceof RpcError ? error.outcomeUnknown : code === "ERR_OUTCOME_UNKNOWN";
  if (isUnknown) {
    return new EndpointError(
      500,
      `${method}: the leader was lost before it answered (${message}): it may have been carried out. Look at the state before you repeat it`,
    );
  }
  if (error instanceof RpcError) return new EndpointError(500, `rpc error: ${method}: ${message}`);
  return error;
}
