import type { Logger } from "@drover/plugin-sdk";
import { LogDamagedError } from "@drover/plugin-sdk/consensus";
import { type Applier, GapError } from "./applier.js";
import { type Change, type EtcdClient, type KeyValue, read } from "./client.js";
import { EtcdFailure } from "./failures.js";
import type { Keys } from "./keys.js";
import { RangeWatch } from "./range-watch.js";
import {
  type Batch,
  decodeBatch,
  decodePosition,
  type PartsReference,
  type Position,
  sha256,
} from "./records.js";

/** Batches read at once while catching up; each is about `max_batch_bytes` at most. */
const PAGE = 16;
/** Pieces of a command read at once. */
const PARTS_PAGE = 8;

export interface Bounds {
  /** Last entry that is no longer in the log. */
  readonly base: Position;
  readonly tail: Position;
  readonly revision: number;
}

export interface LogReaderParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly applier: Applier;
  readonly log: Logger;
  /** Brings the state to `base` or beyond, from a snapshot: the log does not reach back far enough. */
  recover(base: Position, signal: AbortSignal): Promise<void>;
  onFatal(error: Error): void;
}

/** Delivers the log to the applier: what there is, then what comes. */
export class LogReader {
  readonly #watch: RangeWatch;
  #reading: Promise<number> | undefined;
  #nextReading: Promise<number> | undefined;

  constructor(
    private readonly parts: LogReaderParts,
    /** Called whenever everything is delivered that was in the log when reading began. */
    private readonly onCaughtUp: () => void,
  ) {
    const { client, keys, log, onFatal } = parts;
    this.#watch = new RangeWatch({
      client,
      range: keys.logFrom(0),
      what: "the log",
      log,
      load: (signal) => this.#catchUp(signal),
      apply: (changes, signal) => this.#take(changes, signal),
      onFatal,
    });
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#watch.run(signal);
  }

  restart(): void {
    this.#watch.restart();
  }

  async bounds(): Promise<Bounds> {
    const { client, keys } = this.parts;
    const { reads, revision } = await client.transaction([], [read(keys.base), read(keys.tail)]);
    return {
      base: decodePosition(keys.base, reads[0]![0]?.value),
      tail: decodePosition(keys.tail, reads[1]![0]?.value),
      revision,
    };
  }

  /**
   * Where the log ends, read after the call: what was committed before is not beyond. Those who ask while a reading is under
   * way share the next one.
   */
  tailNow(attempt: () => Promise<Bounds>): Promise<number> {
    if (this.#reading === undefined) {
      this.#reading = attempt()
        .then(({ tail }) => tail.index)
        .finally(() => {
          this.#reading = undefined;
        });
      return this.#reading;
    }
    this.#nextReading ??= this.#reading
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        this.#nextReading = undefined;
        return this.tailNow(attempt);
      });
    return this.#nextReading;
  }

  async #catchUp(signal: AbortSignal): Promise<number> {
    const { applier, client, keys } = this.parts;
    const bounds = await this.bounds();
    if (bounds.tail.index < applier.enqueued) {
      throw new LogDamagedError(
        `this server has applied entry ${applier.enqueued}, and the log in etcd below ${keys.root.start} ends at ${bounds.tail.index}: etcd was wiped, or restored from an older backup. Restore etcd from a newer one; or, to go on from this server's state, save a snapshot and restore it into a new cluster`,
      );
    }
    if (applier.enqueued < bounds.base.index) {
      await applier.untilApplied(applier.enqueued, signal);
      await this.parts.recover(bounds.base, signal);
    } else if (applier.termOf(applier.enqueued) === 0) await this.#findTerm(bounds);
    for (;;) {
      await applier.untilRoom(signal);
      const page = await client.range(keys.logFrom(applier.enqueued + 1), PAGE, bounds.revision);
      await this.#deliver(page.kvs);
      if (!page.more) break;
    }
    if (applier.enqueued < bounds.tail.index) {
      throw new LogDamagedError(
        `the log in etcd below ${keys.root.start} should end at ${bounds.tail.index} and ends at ${applier.enqueued}; restore etcd from a backup`,
      );
    }
    this.onCaughtUp();
    return bounds.revision;
  }

  /** After a restart the machine knows the index of its last entry only. */
  async #findTerm({ base, revision }: Bounds): Promise<void> {
    const { applier, client, keys } = this.parts;
    const index = applier.enqueued;
    if (index === base.index) return applier.jumpTo(base);
    const { kvs } = await client.range(keys.logFrom(index), 1, revision);
    const [kv] = kvs;
    if (kv !== undefined)
      applier.jumpTo({ index, term: decodeBatch(kv.key, keys.lastOf(kv.key), kv.value).term });
  }

  async #take(changes: readonly Change[], signal: AbortSignal): Promise<void> {
    await this.#deliver(changes.flatMap(({ type, kv }) => (type === "put" ? [kv] : [])));
    await this.parts.applier.untilRoom(signal);
  }

  async #deliver(kvs: readonly KeyValue[]): Promise<void> {
    const { applier, keys } = this.parts;
    for (const { key, value } of kvs) {
      const last = keys.lastOf(key);
      if (last <= applier.enqueued) continue;
      const batch = decodeBatch(key, last, value);
      try {
        applier.deliver(await this.#whole(batch));
      } catch (error) {
        // The watch begins right after what was read, so a gap means news that were missed: read again.
        if (error instanceof GapError) throw new EtcdFailure("unavailable", error.message, { cause: error });
        throw error;
      }
    }
  }

  async #whole(batch: Batch): Promise<Parameters<Applier["deliver"]>[0]> {
    const { first, last: index, term } = batch;
    const of = { first, index, term };
    switch (batch.type) {
      case "entries":
        return { ...of, entries: batch.entries };
      case "restore":
        return { ...of, restore: batch.restore };
      case "parts":
        return { ...of, entries: [await this.#readParts(index, batch.parts)] };
    }
  }

  async #readParts(index: number, { count, bytes, sha256: expected }: PartsReference): Promise<Uint8Array> {
    const { client, keys } = this.parts;
    const pieces: Buffer[] = [];
    const { end } = keys.parts(index);
    while (pieces.length < count) {
      const { kvs } = await client.range({ start: keys.part(index, pieces.length), end }, PARTS_PAGE);
      if (kvs.length === 0) {
        // Compacted together with its entry since that was seen: the next reading finds out.
        throw new EtcdFailure("unavailable", `the pieces of entry ${index} are no longer in etcd`);
      }
      pieces.push(...kvs.map(({ value }) => value));
    }
    const whole = Buffer.concat(pieces);
    if (whole.length !== bytes || sha256(whole) !== expected) {
      throw new LogDamagedError(
        `entry ${index} of the log in etcd does not have the checksum that it was written with; restore etcd from a backup`,
      );
    }
    return whole;
  }
}
