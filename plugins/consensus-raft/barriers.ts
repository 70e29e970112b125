import { NotLeaderError, type Peer } from "@drover/plugin-sdk";
import type { RaftCore } from "./core/raft-core.js";

/** How often a question is asked again while there is a leader to ask: it, or its answer, may have got lost. */
const TRIES = 5;

interface Waiter {
  tries: number;
  resolve(index: number): void;
  reject(error: Error): void;
}

/**
 * Linearizable reads under way. Those that are asked between two rounds of the loop share one question to the core, so that
 * a thousand readers cost the leader one round of heartbeats.
 */
export class Barriers {
  /** Not asked yet. */
  #waiting: Waiter[] = [];
  /** Asked of the core, by context. */
  readonly #asked = new Map<number, Waiter[]>();
  /** Answered, and the index is not applied yet. */
  #applying: { readonly index: number; readonly waiters: readonly Waiter[] }[] = [];
  #context = 0;

  get pending(): boolean {
    return this.#waiting.length > 0;
  }

  wait(): Promise<number> {
    return new Promise((resolve, reject) => this.#waiting.push({ tries: 0, resolve, reject }));
  }

  /** Puts what waits to the core. */
  ask(core: RaftCore): void {
    if (this.#waiting.length === 0) return;
    this.#asked.set(++this.#context, this.#waiting);
    this.#waiting = [];
    core.readIndex(this.#context);
  }

  /** Takes the core's answer; null means that leadership changed or nobody answered. */
  answer(context: number, index: number | null, applied: number, leader: Peer | undefined): void {
    const waiters = this.#asked.get(context);
    if (waiters === undefined) return;
    this.#asked.delete(context);
    if (index === null) this.#unanswered(waiters, leader);
    else if (index <= applied) for (const { resolve } of waiters) resolve(index);
    else this.#applying.push({ index, waiters });
  }

  #unanswered(waiters: readonly Waiter[], leader: Peer | undefined): void {
    for (const waiter of waiters) {
      if (leader === undefined || ++waiter.tries >= TRIES) waiter.reject(new NotLeaderError(leader));
      else this.#waiting.push(waiter);
    }
  }

  /** Everything up to `applied` is applied. */
  release(applied: number): void {
    if (this.#applying.length === 0) return;
    const due = this.#applying.filter(({ index }) => index <= applied);
    this.#applying = this.#applying.filter(({ index }) => index > applied);
    for (const { index, waiters } of due) for (const { resolve } of waiters) resolve(index);
  }

  rejectAll(error: Error): void {
    const waiters = [
      ...this.#waiting,
      ...[...this.#asked.values()].flat(),
      ...this.#applying.flatMap((entry) => entry.waiters),
    ];
    this.#waiting = [];
    this.#asked.clear();
    this.#applying = [];
    for (const { reject } of waiters) reject(error);
  }
}
