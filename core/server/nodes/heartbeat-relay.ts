import type { ServerMethods } from "@drover/plugin-sdk";
import { RemoteError } from "@drover/plugin-sdk";

export type HeartbeatAnswer = ServerMethods["node.heartbeat"]["answer"];
/** How one heartbeat of a batch ended: TTL and index, or an error's code and text. */
export type HeartbeatOutcome =
  | readonly [ttl: number, index: number]
  | readonly [code: string, message: string];

/** Milliseconds that heartbeats wait for others to go with them. */
const GATHER = 100;
/** Heartbeats of one call. */
export const MAX_BATCH = 1_000;

interface Waiting {
  readonly resolve: (answer: HeartbeatAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Timers of nodes run on the leader. A server that doesn't lead gathers the heartbeats of its agents for a moment and sends
 * them as one call, so that ten thousand nodes cost the leader ten calls a second and not a thousand.
 */
export class HeartbeatRelay {
  #waiting = new Map<string, Waiting[]>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly leads: () => boolean,
    private readonly direct: (nodeId: string) => Promise<HeartbeatAnswer>,
    private readonly send: (nodeIds: string[]) => Promise<HeartbeatOutcome[]>,
  ) {}

  beat(nodeId: string): Promise<HeartbeatAnswer> {
    if (this.leads()) return this.direct(nodeId);
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(nodeId);
      if (waiting === undefined) this.#waiting.set(nodeId, [{ resolve, reject }]);
      else waiting.push({ resolve, reject });
      this.#timer ??= setTimeout(() => this.#flush(), GATHER);
    });
  }

  /** Sends what was gathered. */
  #flush(): void {
    this.#timer = undefined;
    const waiting = [...this.#waiting];
    this.#waiting = new Map();
    for (let at = 0; at < waiting.length; at += MAX_BATCH)
      void this.#sendBatch(waiting.slice(at, at + MAX_BATCH));
  }

  async #sendBatch(batch: readonly (readonly [string, Waiting[]])[]): Promise<void> {
    let outcomes: HeartbeatOutcome[];
    try {
      outcomes = await this.send(batch.map(([nodeId]) => nodeId));
    } catch (error) {
      for (const { reject } of batch.flatMap(([, each]) => each)) reject(error);
      return;
    }
    for (const [at, [nodeId, waiting]] of batch.entries()) {
      const outcome = outcomes[at];
      for (const { resolve, reject } of waiting) {
        if (outcome === undefined)
          reject(new Error(`the leader's answer leaves out the heartbeat of node ${nodeId}`));
        else if (typeof outcome[0] === "number")
          resolve({ heartbeatTTL: outcome[0], index: outcome[1] as number });
        else reject(new RemoteError(outcome[0], outcome[1] as string));
      }
    }
  }
}
