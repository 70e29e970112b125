import { type Logger, type Metrics, NotLeaderError, type Peer } from "@drover/plugin-sdk";
import { OutcomeUnknownError } from "@drover/plugin-sdk/consensus";
import type { ICompare } from "etcd3";
import type { Applier } from "./applier.js";
import { changedAt, type EtcdClient, holds, put, read, remove } from "./client.js";
import { Compaction } from "./compaction.js";
import type { EtcdConfig } from "./config.js";
import type { ControlView } from "./control-view.js";
import { EtcdFailure } from "./failures.js";
import type { Keys } from "./keys.js";
import type { LogReader } from "./log-reader.js";
import { LogWriter } from "./log-writer.js";
import { encodeRecord, type LeaderRecord } from "./records.js";
import type { Registration } from "./registration.js";

export interface LeadershipParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly config: EtcdConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly self: LeaderRecord;
  /** What the key `cluster` holds. */
  readonly cluster: Buffer;
  readonly view: ControlView;
  readonly registration: Registration;
  readonly reader: LogReader;
  readonly applier: Applier;
  leader(): Peer | undefined;
  notify(leader: boolean, term: number): void;
  onFatal(error: Error): void;
}

/** A term of this server: from the moment that the leader key is its own. */
interface Held {
  readonly term: number;
  readonly ended: AbortController;
  writer?: LogWriter;
  compaction?: Compaction;
  /** Everything of earlier terms is applied, and listeners are told. */
  established: boolean;
}

/**
 * The leader key: taken where it is not there, kept by this server's lease, given to another one on request. Its revision
 * is the term.
 */
export class Leadership {
  #held: Held | undefined;
  /** Writers whose committed entries may not be applied yet. */
  #writers: LogWriter[] = [];
  #taking: Promise<void> | undefined;
  #notBefore = Number.NEGATIVE_INFINITY;
  #isReady = false;
  #stopped = false;
  readonly #onChange = new Set<() => void>();

  constructor(private readonly parts: LeadershipParts) {}

  get leads(): boolean {
    return this.#held?.established === true && this.parts.registration.isValid;
  }

  /** What this server's term offers; throws `NotLeaderError` where there is none. */
  get current(): { readonly term: number; readonly writer: LogWriter; readonly compaction: Compaction } {
    const held = this.#held;
    if (!this.leads || held?.writer === undefined || held.compaction === undefined) {
      throw new NotLeaderError(this.parts.leader());
    }
    return { term: held.term, writer: held.writer, compaction: held.compaction };
  }

  get pending(): number {
    return this.#held?.writer?.pending ?? 0;
  }

  settle(index: number, term: number, result: unknown): void {
    for (const writer of this.#writers) writer.settle(index, term, result);
  }

  /** From now on this server may lead: it has caught up with the log once. */
  ready(): void {
    this.#isReady = true;
    this.consider();
  }

  /** Looks at what has changed: leadership lost, or to be had. */
  consider(): void {
    for (const listener of [...this.#onChange]) listener();
    const { view, registration, self } = this.parts;
    const leader = view.leader;
    const held = this.#held;
    if (held !== undefined) {
      if (leader?.revision !== held.term) this.stepDown("the leader key in etcd has changed");
      else return;
    }
    if (!this.#isReady || this.#stopped || this.#taking !== undefined || !registration.isValid) return;
    const handover = view.handover;
    const isAsked =
      handover !== undefined &&
      leader !== undefined &&
      handover.record.to === self.id &&
      handover.record.term === leader.revision;
    const isFree = leader === undefined || leader.record.instance === self.instance;
    if (!isAsked && (!isFree || performance.now() < this.#notBefore)) return;
    this.#taking = this.#take(
      leader?.revision ?? 0,
      isAsked ? [changedAt(this.parts.keys.handover, handover.revision)] : [],
    )
      .catch((error: Error) => this.#onTakeFailed(error))
      .finally(() => {
        this.#taking = undefined;
      });
  }

  /** Leads no more, as far as this server is concerned; the key may still name it. */
  stepDown(reason: string): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    const unknown = new OutcomeUnknownError(
      `leadership was lost while the command was under way (${reason})`,
    );
    held.ended.abort(unknown);
    held.writer?.close(new NotLeaderError(this.parts.leader()), unknown);
    if (!held.established) return;
    this.parts.log.warn({ term: held.term, reason }, "this server leads no more");
    this.parts.notify(false, held.term);
  }

  /** See `Consensus.transferLeadership`. */
  async transfer(id: string | undefined): Promise<void> {
    const { term } = this.current;
    const { client, keys, view, self, config } = this.parts;
    const others = view.servers.filter((server) => server.id !== self.id);
    const target =
      id === undefined
        ? others.sort((a, b) => b.index - a.index)[0]
        : others.find((server) => server.id === id);
    if (target === undefined) {
      throw new Error(
        id === undefined
          ? "there is no other server to hand leadership to"
          : id === self.id
            ? "this server leads already"
            : `there is no server ${id} to hand leadership to`,
      );
    }
    const record = encodeRecord({ to: target.id, term });
    const asked = await client.persistently(config.lease_ttl, () =>
      client.transaction([changedAt(keys.leader, term)], [put(keys.handover, record)]),
    );
    if (!asked.succeeded) throw new NotLeaderError(this.parts.leader());
    const isDone = () => view.leader?.record.id === target.id;
    if (await this.#until(isDone, config.lease_ttl)) return;
    const withdrawn = await client.persistently(config.lease_ttl, () =>
      client.transaction([changedAt(keys.leader, term)], [remove(keys.handover)]),
    );
    if (withdrawn.succeeded) {
      throw new Error(
        `server ${target.id} at ${target.address} did not take leadership over within ${config.lease_ttl} ms; this server still leads`,
      );
    }
    if (await this.#until(isDone, config.lease_ttl)) return;
    throw new NotLeaderError(this.parts.leader());
  }

  /** Leads no more, refuses what is under way, and takes nothing on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.stepDown("the server stops");
    await this.#taking;
    const stopped = new OutcomeUnknownError("the server stopped before the command was applied");
    await Promise.all(this.#writers.map((writer) => writer.finish(stopped)));
    this.#writers = [];
  }

  async #take(expected: number, conditions: readonly ICompare[]): Promise<void> {
    const { client, keys, view, registration, self, cluster } = this.parts;
    const value = encodeRecord(self);
    const { succeeded, reads, revision } = await client.transaction(
      [changedAt(keys.leader, expected), holds(keys.cluster, cluster), ...conditions],
      [put(keys.leader, value, registration.lease), remove(keys.handover)],
      [read(keys.leader)],
    );
    if (!succeeded) {
      const leader = reads[0]![0];
      view.learn(keys.leader, leader?.value, leader?.revision ?? revision);
      return;
    }
    // Stopped meanwhile: the key goes with the lease.
    if (this.#stopped) return;
    const held: Held = { term: revision, ended: new AbortController(), established: false };
    this.#held = held;
    view.learn(keys.leader, value, revision);
    await this.#establish(held);
  }

  /** Applies what earlier leaders wrote, and begins the term with an entry of its own. */
  async #establish(held: Held): Promise<void> {
    const { client, keys, config, log, metrics, reader, applier, registration } = this.parts;
    const { term } = held;
    const { signal } = held.ended;
    // The key is this server's, so nobody can make the log longer than it is now.
    const { tail } = await client.persistently(config.lease_ttl, () => reader.bounds(), signal);
    await applier.untilApplied(tail.index, signal);
    const isHeld = () => this.#held === held && registration.isValid;
    if (!isHeld()) return;
    const writer = new LogWriter({
      client,
      keys,
      config,
      log,
      metrics,
      term,
      tail,
      isValid: isHeld,
      deliver: (delivery) => applier.deliver(delivery),
      onLost: (reason) => {
        if (this.#held === held) this.stepDown(reason);
      },
      onFatal: this.parts.onFatal,
    });
    held.writer = writer;
    held.compaction = new Compaction({
      client,
      keys,
      config,
      log,
      term,
      termOf: (index) => applier.termOf(index),
    });
    // All entries of earlier terms are applied, so nobody waits for them any more.
    this.#writers = [writer];
    await writer.removeOrphans();
    await writer.begin();
    if (!isHeld()) return;
    held.established = true;
    log.info({ term, index: tail.index + 1 }, "this server leads");
    this.parts.notify(true, term);
  }

  #onTakeFailed(error: Error): void {
    const { log, config, client, keys } = this.parts;
    const held = this.#held;
    if (error instanceof EtcdFailure && error.kind === "denied") {
      this.parts.onFatal(error);
      return;
    }
    if (held === undefined || held.established) {
      log.debug({ error: error.message }, "leadership was not taken");
      return;
    }
    log.error({ term: held.term, error: error.message }, "this server can't lead; leaving it to another one");
    this.#notBefore = performance.now() + config.lease_ttl;
    this.stepDown(error.message);
    client
      .transaction([changedAt(keys.leader, held.term)], [remove(keys.leader)])
      .catch((failure: Error) =>
        log.warn({ error: failure.message }, "the leader key could not be given back"),
      );
  }

  /** Whether `condition` came true within `timeout` milliseconds. */
  #until(condition: () => boolean, timeout: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const settle = (result: boolean) => {
        clearTimeout(timer);
        this.#onChange.delete(look);
        resolve(result);
      };
      const look = () => {
        if (condition()) settle(true);
      };
      const timer = setTimeout(() => settle(condition()), timeout);
      this.#onChange.add(look);
    });
  }
}
