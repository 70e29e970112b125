import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "@drover/plugin-sdk";
import { LogDamagedError } from "@drover/plugin-sdk/consensus";
import type { IRequestOp } from "etcd3";
import { changedAt, type EtcdClient, holds, type KeyValue, put, read } from "./client.js";
import { EtcdFailure } from "./failures.js";
import { checkRevision } from "./identity.js";
import type { Keys } from "./keys.js";
import { decodePosition, decodeRecord, encodeRecord, type Position, ServerRecord } from "./records.js";
import { Session } from "./session.js";

/** Renewals in the time of a lease: etcd may take two seconds to elect a leader of its own, and none must be lost by that. */
const RENEWALS = 6;
/** Milliseconds after the end of its lease in which a server of the same id must be gone: etcd looks twice a second. */
const GRACE = 2000;
const PAUSE = 100;

/** What etcd says of itself with each beat, all as of one moment. */
export interface Beat {
  readonly leader: KeyValue | undefined;
  readonly tail: Position;
  readonly revision: number;
}

export interface RegistrationParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly log: Logger;
  readonly leaseTtl: number;
  /** What the key `cluster` holds. */
  readonly cluster: Buffer;
  /** What this server says of itself. */
  describe(): ServerRecord;
  /** This server's key was written. */
  onWritten(key: string, value: Buffer, revision: number): void;
  onBeat(beat: Beat): void;
  /** The lease may have expired. */
  onExpired(): void;
  onFatal(error: Error): void;
}

/** This server's lease and its entry in the list of servers; both are renewed with every beat. */
export class Registration {
  #session: Session | undefined;
  /** What was last written of this server. */
  #written: Buffer | undefined;
  #revision = 0;
  #isBroken = false;
  #pause = new AbortController();
  /** When the other process that has this server's id should be gone; also over repeated tries. */
  #occupiedUntil: number | undefined;
  /** The lease has ended, and this server is no longer in the list. */
  #isLost = false;

  constructor(private readonly parts: RegistrationParts) {}

  get isValid(): boolean {
    return this.#session?.isValid === true;
  }

  get lease(): string | undefined {
    return this.#session?.lease;
  }

  /** Highest revision that etcd was seen at. */
  get revision(): number {
    return this.#revision;
  }

  /**
   * Takes this server's place in the list. An entry that another process left there goes with its lease; rejects when it is
   * kept alive.
   */
  async open(signal?: AbortSignal): Promise<void> {
    const { client, keys, leaseTtl, onExpired } = this.parts;
    this.#session = await Session.open(client, leaseTtl, onExpired);
    const own = this.parts.describe();
    const key = keys.server(own.id);
    for (;;) {
      const value = encodeRecord(this.parts.describe());
      const [present] = (await client.transaction([], [read(key)])).reads[0]!;
      const other = present && decodeRecord(ServerRecord, key, present.value);
      if (other === undefined || other.instance === own.instance) {
        const { succeeded, reads, revision } = await client.transaction(
          [changedAt(key, present?.revision ?? 0), holds(keys.cluster, this.parts.cluster)],
          [put(key, value, this.#session.lease)],
          [read(keys.cluster)],
        );
        if (!succeeded && reads[0]![0]?.value.equals(this.parts.cluster) !== true) throw this.#gone();
        if (succeeded) {
          this.#written = value;
          this.#occupiedUntil = undefined;
          this.parts.onWritten(key, value, revision);
          return;
        }
      } else {
        this.#occupiedUntil ??= performance.now() + leaseTtl + GRACE;
      }
      if (other !== undefined && performance.now() > (this.#occupiedUntil ?? Number.POSITIVE_INFINITY)) {
        throw new LogDamagedError(
          `a server with the id ${own.id} runs already and is reached at ${other.address}: its data folder was copied, or it is started twice. Stop one of them, or give this one an empty data folder`,
        );
      }
      signal?.throwIfAborted();
      await this.#session.renew();
      await delay(PAUSE);
    }
  }

  /** Beats at once: there is news of this server. */
  hurry(): void {
    this.#pause.abort();
  }

  /** Beats until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const interval = this.parts.leaseTtl / RENEWALS;
    while (!signal.aborted) {
      const started = performance.now();
      try {
        if (this.#isLost) await this.open(signal);
        this.#isLost = false;
        await this.#beat();
        if (this.#isBroken) this.parts.log.info({}, "etcd answers again");
        this.#isBroken = false;
      } catch (error) {
        if (!this.#onFailure(error as Error)) return;
      }
      const pause = Math.max(PAUSE, interval - (performance.now() - started));
      this.#pause = new AbortController();
      const either = AbortSignal.any([signal, this.#pause.signal]);
      await delay(pause, undefined, { signal: either }).catch(() => undefined);
    }
  }

  /** Gives the lease back, so that others need not wait for its end. */
  async close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    if (session === undefined) return;
    session.abandon();
    try {
      await this.parts.client.revoke(session.lease);
    } catch (error) {
      this.parts.log.warn(
        { error: (error as Error).message },
        "this server's lease could not be given back; it ends by itself",
      );
    }
  }

  async #beat(): Promise<void> {
    let unavailable: EtcdFailure | undefined;
    try {
      await this.#session!.renew();
    } catch (error) {
      if (!(error instanceof EtcdFailure) || error.kind !== "unavailable") throw error;
      unavailable = error;
    }
    await this.#exchange();
    if (unavailable !== undefined) throw unavailable;
  }

  /** Says what is new here, and learns what is new there. */
  async #exchange(): Promise<void> {
    const { keys } = this.parts;
    const record = this.parts.describe();
    const key = keys.server(record.id);
    const value = encodeRecord(record);
    const isNews = this.#written?.equals(value) !== true;
    const reads = [read(keys.leader), read(keys.tail)];
    try {
      await this.#ask(isNews ? [...reads, put(key, value, this.#session!.lease)] : reads);
      if (isNews) {
        this.#written = value;
        this.parts.onWritten(key, value, this.#revision);
      }
    } catch (error) {
      // An etcd without room still says what it has.
      if (!(error instanceof EtcdFailure) || error.kind !== "no-space") throw error;
      await this.#ask(reads);
    }
  }

  async #ask(operations: readonly IRequestOp[]): Promise<void> {
    const { client, keys, cluster, onBeat } = this.parts;
    const { succeeded, reads, revision } = await client.transaction(
      [holds(keys.cluster, cluster)],
      operations,
    );
    checkRevision(keys, this.#revision, revision);
    this.#revision = revision;
    if (!succeeded) throw this.#gone();
    onBeat({ leader: reads[0]![0], tail: decodePosition(keys.tail, reads[1]![0]?.value), revision });
  }

  #gone(): LogDamagedError {
    return new LogDamagedError(
      `the Drover cluster below ${this.parts.keys.root.start} is gone from etcd: it was wiped. Restore etcd from a backup`,
    );
  }

  /** Whether to go on. */
  #onFailure(error: Error): boolean {
    if (error instanceof EtcdFailure && error.kind === "lease-lost") {
      this.parts.log.warn({ error: error.message }, "this server's lease has ended; taking another one");
      this.#session?.abandon();
      this.#isLost = true;
      this.parts.onExpired();
      return true;
    }
    const canRetry =
      error instanceof EtcdFailure && (error.kind === "unavailable" || error.kind === "no-space");
    if (!canRetry) {
      this.parts.onFatal(error);
      return false;
    }
    if (!this.#isBroken)
      this.parts.log.warn({ error: error.message }, "etcd does not answer as it should; trying again");
    this.#isBroken = true;
    return true;
  }
}
