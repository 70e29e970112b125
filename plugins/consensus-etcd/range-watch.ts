import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "@drover/plugin-sdk";
import type { Change, EtcdClient } from "./client.js";
import { EtcdFailure } from "./failures.js";
import type { KeyRange } from "./keys.js";

/** Milliseconds before a broken watch is made again. */
const PAUSE = 100;

export interface RangeWatchParts {
  readonly client: EtcdClient;
  readonly range: KeyRange;
  /** For the log: what is watched. */
  readonly what: string;
  readonly log: Logger;
  /** Reads everything as of one revision, and gives that revision. */
  load(signal: AbortSignal): Promise<number>;
  /** Takes in what changed since; the next changes wait until it has resolved. */
  apply(changes: readonly Change[], signal: AbortSignal): Promise<void> | void;
  /** Told once of what can't be repaired by trying again. */
  onFatal(error: Error): void;
}

/** Keeps up with a range: reads it, then watches from the next revision on; and again from the start when that breaks. */
export class RangeWatch {
  #attempt = new AbortController();
  #isWatching = false;

  constructor(private readonly parts: RangeWatchParts) {}

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, range, what, log } = this.parts;
    let isBroken = false;
    while (!signal.aborted) {
      this.#attempt = new AbortController();
      const either = AbortSignal.any([signal, this.#attempt.signal]);
      try {
        const revision = await this.parts.load(either);
        if (isBroken) log.info({ revision }, `${what} in etcd can be followed again`);
        isBroken = false;
        this.#isWatching = true;
        for await (const changes of client.watch(range, revision + 1, either)) {
          await this.parts.apply(changes, either);
        }
      } catch (error) {
        this.#isWatching = false;
        if (either.aborted) continue;
        const canRetry =
          error instanceof EtcdFailure && (error.kind === "unavailable" || error.kind === "compacted");
        if (!canRetry) {
          this.parts.onFatal(error as Error);
          return;
        }
        if (!isBroken) log.warn({ error: error.message }, `${what} in etcd can't be followed; trying again`);
        isBroken = true;
        await delay(PAUSE);
      }
    }
  }

  /** Reads everything again, because news must be missing; not while it does that anyway. */
  restart(): void {
    if (this.#isWatching) this.#attempt.abort();
  }
}
