import { setTimeout as delay } from "node:timers/promises";
import { type Logger, type Metrics, NotLeaderError, type Proposed } from "@drover/plugin-sdk";
import {
  CommandTooLargeError,
  DiskFullError,
  LogDamagedError,
  OutcomeUnknownError,
  Proposals,
  type RestoreReference,
} from "@drover/plugin-sdk/consensus";
import type { IRequestOp } from "etcd3";
import type { Delivery } from "./applier.js";
import { changedAt, type EtcdClient, holds, put, read, removeRange } from "./client.js";
import type { EtcdConfig } from "./config.js";
import { EtcdFailure } from "./failures.js";
import type { Keys } from "./keys.js";
import { type Batch, encodeBatch, encodePosition, type Position, sha256 } from "./records.js";

/** Milliseconds before a transaction without an answer is sent again. */
const PAUSE = 50;
const NO_DATA = new Uint8Array(0);

export interface LogWriterParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly config: EtcdConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Revision of the leader key: the fence of every write. */
  readonly term: number;
  /** Where the log ends. */
  readonly tail: Position;
  /** Whether the lease still counts. */
  isValid(): boolean;
  deliver(delivery: Delivery): void;
  /** Told once, when another server leads, or may. */
  onLost(reason: string): void;
  onFatal(error: Error): void;
}

type Content = { readonly data: Uint8Array } | { readonly restore: RestoreReference };
type Queued = { readonly index: number } & Content;

/** The fence did not hold: another server leads, and nothing of the attempt was written. */
class FencedError extends Error {}

/**
 * Appends to the log for one term. Every transaction asks for two things: that the leader key is as this server wrote it,
 * and that the log ends where this server left it. So an entry is written by the leader only and right after its
 * predecessor, and a transaction whose answer was lost can be sent again: it is carried out once.
 *
 * One transaction is under way at a time, because etcd may carry out two in any order; what is proposed meanwhile goes
 * into the next one.
 */
export class LogWriter {
  readonly #proposals: Proposals;
  #tail: Position;
  #queue: Queued[] = [];
  #next: number;
  #work: Promise<void> | undefined;
  #closed: Error | undefined;
  #diskFull = false;

  constructor(private readonly parts: LogWriterParts) {
    this.#proposals = new Proposals(parts.config);
    this.#tail = parts.tail;
    this.#next = parts.tail.index + 1;
  }

  get pending(): number {
    return this.#proposals.count;
  }

  /** Last entry that is known to be committed. */
  get tail(): Position {
    return this.#tail;
  }

  propose(data: Uint8Array): Promise<Proposed> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    this.#proposals.admit(data.length);
    return this.#append({ data }, data.length);
  }

  /** The entry of a new term; with it everything before counts as committed. */
  begin(): Promise<Proposed> {
    return this.#append({ data: NO_DATA }, 0);
  }

  /** Makes the log end at `index` or later, by entries without a command. */
  async fill(index: number): Promise<void> {
    while (this.#next <= index) {
      if (this.#closed !== undefined) throw this.#closed;
      const last = Math.min(index, this.#next + this.parts.config.max_batch_entries - 1);
      while (this.#next < last) this.#queue.push({ index: this.#next++, data: NO_DATA });
      await this.#append({ data: NO_DATA }, 0);
    }
  }

  restore(restore: RestoreReference): Promise<Proposed> {
    return this.#append({ restore }, 0);
  }

  /** Answers the proposal of an entry that was applied. */
  settle(index: number, term: number, result: unknown): void {
    const took = this.#proposals.settle(index, term, result);
    if (took !== undefined) this.parts.metrics.sample("nomad.raft.commitTime", took);
  }

  /**
   * Takes no more, and refuses what was not sent. What was sent and not answered is of unknown outcome; what is committed
   * is still answered once it is applied.
   */
  close(notSent: Error, unknown: OutcomeUnknownError): void {
    if (this.#closed !== undefined) return;
    this.#closed = notSent;
    const firstQueued = this.#queue[0]?.index ?? this.#next;
    this.#queue = [];
    this.#proposals.rejectAfter(firstQueued - 1, notSent);
    this.#proposals.rejectAfter(this.#tail.index, unknown);
  }

  /** Ends what is under way, and refuses everything that is not applied. */
  async finish(unknown: OutcomeUnknownError): Promise<void> {
    await this.#work;
    this.#proposals.rejectAfter(0, unknown);
  }

  #append(content: Content, bytes: number): Promise<Proposed> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const index = this.#next++;
    this.#queue.push({ index, ...content });
    const proposed = this.#proposals.add(index, this.parts.term, bytes);
    this.#work ??= this.#run();
    return proposed;
  }

  async #run(): Promise<void> {
    try {
      // What is proposed in one turn of the event loop goes into one transaction.
      await Promise.resolve();
      while (this.#queue.length > 0) await this.#writeNext();
    } catch (error) {
      this.#onError(error as Error);
    } finally {
      this.#work = undefined;
    }
  }

  async #writeNext(): Promise<void> {
    const taken = this.#take();
    const first = taken[0]!;
    try {
      if ("data" in first && first.data.length > this.parts.config.max_batch_bytes) {
        await this.#writeLarge(first.index, first.data);
      } else await this.#write(toBatch(taken, this.parts.term), toDelivery(taken, this.parts.term));
    } catch (error) {
      // Certainly not written, as everything after it.
      if (this.#closed === undefined && !(error instanceof OutcomeUnknownError))
        this.#queue.unshift(...taken);
      throw error;
    }
  }

  /** As many commands as fit; a large one and a restore go alone. */
  #take(): Queued[] {
    const { max_batch_bytes, max_batch_entries } = this.parts.config;
    let count = 0;
    for (let bytes = 0; count < Math.min(this.#queue.length, max_batch_entries); count++) {
      const one = this.#queue[count]!;
      if ("restore" in one) break;
      bytes += one.data.length;
      if (bytes > max_batch_bytes) break;
    }
    return this.#queue.splice(0, Math.max(1, count));
  }

  /** The pieces first, each by itself; they count only once the log has an entry that names them. */
  async #writeLarge(index: number, data: Uint8Array): Promise<void> {
    const { keys, config, term } = this.parts;
    const size = config.max_batch_bytes;
    const count = Math.ceil(data.length / size);
    for (let number = 0; number < count; number++) {
      const piece = Buffer.from(data.subarray(number * size, (number + 1) * size));
      await this.#transact([put(keys.part(index, number), piece)]);
    }
    const parts = { count, bytes: data.length, sha256: sha256(data) };
    await this.#write(
      { type: "parts", first: index, last: index, term, parts },
      { first: index, index, term, entries: [data] },
    );
  }

  async #write(batch: Batch, delivery: Delivery): Promise<void> {
    const { keys, metrics, term } = this.parts;
    const started = performance.now();
    const tail = { index: batch.last, term };
    await this.#transact(
      [put(keys.tail, encodePosition(tail)), put(keys.batch(batch.last), encodeBatch(batch))],
      tail,
    );
    this.#tail = tail;
    if (this.#diskFull) {
      this.#diskFull = false;
      this.parts.log.info({}, "etcd takes entries again");
    }
    metrics.sample("nomad.raft.leader.dispatchLog", performance.now() - started);
    metrics.sample("nomad.raft.leader.dispatchNumLogs", batch.last - batch.first + 1);
    this.parts.deliver(delivery);
  }

  /**
   * Carries out `operations` behind the fence, again and again until there is an answer. `after` is where the log ends
   * afterwards, for those that make it longer. Throws `FencedError` or an `EtcdFailure` when it certainly was not carried
   * out, and `OutcomeUnknownError` when nobody knows.
   */
  async #transact(operations: readonly IRequestOp[], after?: Position): Promise<void> {
    const { client, keys, term } = this.parts;
    const before = encodePosition(this.#tail);
    const atEnd = this.#tail.index === 0 ? changedAt(keys.tail, 0) : holds(keys.tail, before);
    /** Why the outcome of an earlier attempt is not known. */
    let lost: EtcdFailure | undefined;
    /** etcd says that there is no room; it may say so of what it has carried out. */
    let full: EtcdFailure | undefined;
    for (;;) {
      if (!this.parts.isValid() || this.#closed !== undefined) {
        if (lost === undefined) throw new FencedError("the lease ran out");
        throw unknownOutcome(lost);
      }
      try {
        const { succeeded, reads } = await client.transaction(
          [changedAt(keys.leader, term), atEnd],
          full === undefined ? operations : [],
          [read(keys.leader), read(keys.tail)],
        );
        if (succeeded && full === undefined) return;
        if (succeeded) throw full!;
        const [leader, tail] = [reads[0]![0], reads[1]![0]];
        // An earlier attempt, whose answer was lost, was carried out.
        if (lost !== undefined && after !== undefined && tail?.value.equals(encodePosition(after)) === true)
          return;
        if (leader?.revision === term) {
          throw new LogDamagedError(
            `${keys.tail} in etcd is "${tail?.value.toString("latin1") ?? ""}" and should be "${before.toString("latin1")}": something else than Drover's leader wrote there`,
          );
        }
        throw lost === undefined ? new FencedError("another server leads") : unknownOutcome(lost);
      } catch (error) {
        if (!(error instanceof EtcdFailure) || error === full) throw error;
        if (error.kind === "no-space") full = error;
        else if (error.kind !== "unavailable") throw lost === undefined ? error : unknownOutcome(lost);
        if (error.wasSent) lost = error;
      }
      await delay(PAUSE);
    }
  }

  /** Nothing more is sent before everything that was queued has its answer: successors never overtake what was lost. */
  #onError(error: Error): void {
    const { log, metrics, onLost, onFatal } = this.parts;
    if (error instanceof EtcdFailure && (error.kind === "no-space" || error.kind === "too-large")) {
      const isFull = error.kind === "no-space";
      const refused = isFull
        ? new DiskFullError(
            `etcd has used up its quota (${error.message}); compact and defragment it, or raise --quota-backend-bytes, and disarm the alarm (etcdctl alarm disarm)`,
            { cause: error },
          )
        : new CommandTooLargeError(
            `etcd refuses a request of ${this.parts.config.max_batch_bytes} bytes of commands (${error.message}); lower max_batch_bytes of consensus-etcd, or raise etcd's --max-request-bytes`,
            { cause: error },
          );
      if (!isFull || !this.#diskFull) log.error({}, refused.message);
      this.#diskFull ||= isFull;
      if (isFull) metrics.increment("nomad.raft.disk_full");
      this.#queue = [];
      this.#next = this.#tail.index + 1;
      this.#proposals.rejectAfter(this.#tail.index, refused);
      return;
    }
    if (error instanceof FencedError) {
      this.close(new NotLeaderError(undefined), unknownOutcome(error));
      onLost(error.message);
      return;
    }
    this.close(
      new NotLeaderError(undefined),
      error instanceof OutcomeUnknownError ? error : unknownOutcome(error),
    );
    if (error instanceof OutcomeUnknownError || error instanceof EtcdFailure) onLost(error.message);
    else onFatal(error);
  }

  /** Removes pieces of commands that an earlier leader did not finish. */
  async removeOrphans(): Promise<void> {
    await this.#transact([removeRange(this.parts.keys.partsFrom(this.#tail.index + 1))]);
  }
}

function unknownOutcome(cause: Error): OutcomeUnknownError {
  return new OutcomeUnknownError(
    `leadership was lost before etcd had answered; the command may be committed (${cause.message})`,
    { cause },
  );
}

function toBatch(taken: readonly Queued[], term: number): Batch {
  const first = taken[0]!;
  const of = { term, first: first.index, last: taken.at(-1)!.index };
  if ("restore" in first) return { ...of, type: "restore", restore: first.restore };
  return { ...of, type: "entries", entries: datas(taken) };
}

function toDelivery(taken: readonly Queued[], term: number): Delivery {
  const first = taken[0]!;
  const of = { first: first.index, index: taken.at(-1)!.index, term };
  return "restore" in first ? { ...of, restore: first.restore } : { ...of, entries: datas(taken) };
}

function datas(taken: readonly Queued[]): Uint8Array[] {
  return taken.flatMap((one) => ("data" in one ? [one.data] : []));
}
