import { setTimeout as delay } from "node:timers/promises";
import type { Logger, StateMachine } from "@drover/plugin-sdk";
import type { RestoreReference, SnapshotPosition } from "@drover/plugin-sdk/consensus";
import type { SnapshotExchange } from "./snapshot-exchange.js";
import type { Snapshots } from "./snapshots.js";

/** Milliseconds between two rounds of asking the other servers, and between two lines about it in the log. */
const PAUSE = 500;
const REPEAT = 10_000;

export interface RestoringParts {
  readonly machine: StateMachine;
  readonly snapshots: Snapshots;
  /** Undefined on an agent whose servers have no network among themselves. */
  readonly exchange: SnapshotExchange | undefined;
  readonly log: Logger;
  /** Addresses of the other servers, the leader's first. */
  others(): readonly string[];
  /** Called when a copy is needed that no server gave yet. */
  onWaiting(): void;
}

/** Puts copies of the state in the state's place, its own or those of other servers. */
export class Restoring {
  constructor(private readonly parts: RestoringParts) {}

  /** Brings the state to `index` or beyond; gives where it is then. */
  async recover(index: number, signal: AbortSignal): Promise<SnapshotPosition> {
    const { snapshots, log } = this.parts;
    const snapshot = await this.#obtain(
      `a snapshot of entry ${index} or later`,
      () => snapshots.usable(index),
      (exchange, address) => exchange.fetch(address, index),
      signal,
    );
    const { meta, state } = snapshot;
    log.info(
      { folder: state, index: meta.index },
      "the log in etcd begins later than this state; restoring a snapshot",
    );
    await this.#restore(state, meta.index);
    return meta;
  }

  /** Puts an operator's copy in force at `index`; a later snapshot does as well. */
  async restore(reference: RestoreReference, index: number, signal: AbortSignal): Promise<void> {
    const { snapshots, log } = this.parts;
    const copy = await this.#obtain(
      `the copy ${reference.id} that is restored at entry ${index}`,
      async () => {
        const staged = await snapshots.staged(reference);
        if (staged !== undefined) return { state: staged, at: index };
        const later = await snapshots.usable(index);
        return later && { state: later.state, at: later.meta.index };
      },
      (exchange, address) =>
        exchange.fetchRestore(address, reference).catch(() => exchange.fetch(address, index)),
      signal,
    );
    snapshots.restores.note(index, reference.id);
    log.warn({ folder: copy.state, index: copy.at }, "the state is replaced by a copy that an operator gave");
    await this.#restore(copy.state, copy.at);
  }

  async #restore(folder: string, index: number): Promise<void> {
    const { machine } = this.parts;
    await machine.restore(folder, index);
    if (machine.lastApplied() === index) return;
    throw new Error(
      `the state restored from ${folder} is at entry ${machine.lastApplied()} instead of ${index}; it can't go on with the log in etcd`,
    );
  }

  async #obtain<T>(
    what: string,
    look: () => Promise<T | undefined>,
    fetch: (exchange: SnapshotExchange, address: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<T> {
    const { exchange, log } = this.parts;
    let told = Number.NEGATIVE_INFINITY;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      signal.throwIfAborted();
      const failures: string[] = [];
      for (const address of exchange === undefined ? [] : this.parts.others()) {
        try {
          await fetch(exchange!, address);
          failures.length = 0;
          break;
        } catch (error) {
          failures.push(`${address}: ${(error as Error).message}`);
        }
        signal.throwIfAborted();
      }
      if (failures.length === 0 && (await look()) !== undefined) continue;
      const why =
        exchange === undefined
          ? "this agent has no network to other servers"
          : failures.join("; ") || "no other server is there";
      if (performance.now() - told > REPEAT) {
        told = performance.now();
        log.warn(
          { reason: why },
          `waiting for ${what}, because the log in etcd no longer has what this server lacks; start a server that has its data, or restore a saved snapshot into a cluster under another prefix`,
        );
      }
      this.parts.onWaiting();
      await delay(PAUSE, undefined, { signal });
    }
  }
}
