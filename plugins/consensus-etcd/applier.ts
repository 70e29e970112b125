import { setImmediate as nextTurn } from "node:timers/promises";
import type { LogEntry, Metrics, StateMachine } from "@drover/plugin-sdk";
import type { RestoreReference } from "@drover/plugin-sdk/consensus";
import type { Position } from "./records.js";

/** Entries and bytes given to the state machine at once; between two batches the event loop has its turn. */
const SLICE_ENTRIES = 256;
const SLICE_BYTES = 12 * 1024;
/** Bytes that wait to be applied before whoever reads the log has to wait as well. */
const MAX_WAITING = 32 * 1024 * 1024;
/** Changes of term that are remembered; a snapshot is of one of the last of them. */
const TERMS = 1024;

/** Entries as they are applied: those of a batch, with the pieces of a large command put together. */
export type Delivery = Position & { readonly first: number } & (
    | { readonly entries: readonly Uint8Array[] }
    | { readonly restore: RestoreReference }
  );

export interface ApplierParts {
  readonly machine: StateMachine;
  readonly metrics: Metrics;
  /** Puts the copy of a restore in the place of the state. */
  restore(reference: RestoreReference, index: number): Promise<void>;
  onApplied(entry: LogEntry, result: unknown): void;
  /** Told once, when the machine can't go on. */
  onFatal(error: Error): void;
}

/** The entry after the last one is not the one that was delivered: something between is missing. */
export class GapError extends Error {
  override readonly name = "GapError";
}

/** Gives the state machine every entry once, in order, whoever delivers it. */
export class Applier {
  readonly #queue: Delivery[] = [];
  #waiting = 0;
  #enqueued: number;
  #work: Promise<void> | undefined;
  #failed = false;
  #stopped = false;
  #waiters: { readonly done: () => boolean; resolve(): void; reject(error: Error): void }[] = [];
  /** First index and term, wherever the term changed. */
  #terms: Position[] = [];

  constructor(private readonly parts: ApplierParts) {
    this.#enqueued = parts.machine.lastApplied();
  }

  /** Last entry that was delivered, applied or not. */
  get enqueued(): number {
    return this.#enqueued;
  }

  get applied(): number {
    return this.parts.machine.lastApplied();
  }

  /** Term of an entry that was applied here lately; 0 where that is not known. */
  termOf(index: number): number {
    return this.#terms.findLast((one) => one.index <= index)?.term ?? 0;
  }

  /** The machine stands at `position` without having been given the entries before. */
  jumpTo(position: Position): void {
    this.#enqueued = position.index;
    this.#terms = [position];
    this.#release();
  }

  /** What was delivered before is skipped. Throws `GapError`. */
  deliver(delivery: Delivery): void {
    if (delivery.index <= this.#enqueued || this.#stopped || this.#failed) return;
    if (delivery.first > this.#enqueued + 1) {
      throw new GapError(`entry ${delivery.first} of the log came after entry ${this.#enqueued}`);
    }
    this.#enqueued = delivery.index;
    this.#queue.push(delivery);
    this.#waiting += sizeOf(delivery);
    this.#work ??= this.#run();
  }

  /** Resolves once entry `index` is applied; rejects when `signal` aborts. */
  async untilApplied(index: number, signal: AbortSignal): Promise<void> {
    await this.#until(() => this.applied >= index, signal);
  }

  /** Resolves once there is room for more deliveries. */
  async untilRoom(signal: AbortSignal): Promise<void> {
    await this.#until(() => this.#waiting < MAX_WAITING, signal);
  }

  /** Ends after the entries that are being applied; others stay in the log for the next start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
    this.#queue.length = 0;
  }

  #until(done: () => boolean, signal: AbortSignal): Promise<void> {
    if (done()) return Promise.resolve();
    if (this.#failed) return Promise.reject(new Error("the state machine can't go on"));
    return new Promise((resolve, reject) => {
      const forget = () => {
        signal.removeEventListener("abort", abort);
        this.#waiters = this.#waiters.filter((one) => one !== waiter);
      };
      const waiter = {
        done,
        resolve: () => {
          forget();
          resolve();
        },
        reject: (error: Error) => {
          forget();
          reject(error);
        },
      };
      const abort = () => waiter.reject(signal.reason as Error);
      this.#waiters.push(waiter);
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    });
  }

  #release(): void {
    for (const waiter of [...this.#waiters]) if (waiter.done()) waiter.resolve();
  }

  async #run(): Promise<void> {
    try {
      // Never to its end within the call: `#work` is set when it returns.
      await Promise.resolve();
      for (let next = this.#queue[0]; next !== undefined && !this.#stopped; next = this.#queue[0]) {
        this.#noteTerm(next.first, next.term);
        if ("restore" in next) await this.#restore(next, next.restore);
        else await this.#apply(next, next.entries);
        this.#queue.shift();
        this.#waiting -= sizeOf(next);
        this.#release();
      }
    } catch (error) {
      this.#failed = true;
      for (const waiter of [...this.#waiters]) waiter.reject(error as Error);
      this.parts.onFatal(error as Error);
    } finally {
      this.#work = undefined;
    }
  }

  async #restore(delivery: Delivery, reference: RestoreReference): Promise<void> {
    const { index, term } = delivery;
    if (index <= this.applied) return;
    await this.parts.restore(reference, index);
    if (this.#stopped && this.applied < index) return;
    this.parts.onApplied({ index, term, data: new Uint8Array(0) }, undefined);
  }

  async #apply({ first, term }: Delivery, datas: readonly Uint8Array[]): Promise<void> {
    const { machine, metrics } = this.parts;
    // A restart may fall into the middle of a batch.
    let from = Math.max(0, this.applied + 1 - first);
    while (from < datas.length && !this.#stopped) {
      const to = sliceEnd(datas, from);
      const slice = datas
        .slice(from, to)
        .map((data, position): LogEntry => ({ index: first + from + position, term, data }));
      const started = performance.now();
      const results = machine.apply(slice);
      if (results.length !== slice.length) {
        throw new Error(`the state machine gave ${results.length} results for ${slice.length} entries`);
      }
      metrics.sample("nomad.raft.fsm.apply", performance.now() - started);
      slice.forEach((entry, position) => {
        this.parts.onApplied(entry, results[position]);
      });
      this.#release();
      from = to;
      if (from < datas.length || this.#queue.length > 1) await nextTurn();
    }
  }

  #noteTerm(index: number, term: number): void {
    if (this.#terms.at(-1)?.term === term) return;
    this.#terms.push({ index, term });
    if (this.#terms.length > TERMS) this.#terms.shift();
  }
}

function sizeOf(delivery: Delivery): number {
  return "restore" in delivery ? 0 : delivery.entries.reduce((sum, data) => sum + data.length, 0);
}

/** Where a slice that begins at `from` ends: it has one entry at least. */
function sliceEnd(datas: readonly Uint8Array[], from: number): number {
  let to = from;
  for (let bytes = 0; to < datas.length && to - from < SLICE_ENTRIES; to++) {
    bytes += datas[to]!.length;
    if (bytes > SLICE_BYTES && to > from) break;
  }
  return to;
}
