import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type LogEntry,
  type Logger,
  type Metrics,
  NotLeaderError,
  type Peer,
  type Proposed,
  type StateMachine,
} from "@drover/plugin-sdk";
import {
  ConsensusBusyError,
  DiskFullError,
  OutcomeUnknownError,
  type ProposalLimits,
  Proposals,
} from "@drover/plugin-sdk/consensus";
import { Barriers } from "./barriers.js";
import type { RaftCore } from "./core/raft-core.js";
import { decodeRestore } from "./core/restore.js";
import type {
  Configuration,
  ConfigurationChange,
  Effects,
  Entry,
  Fetch,
  Leadership,
  Message,
  Refusal,
  RestoreReference,
  SnapshotMeta,
} from "./core/types.js";
import type { LogStore } from "./log-store.js";

/** Entries and bytes given to the state machine at once; between two batches the event loop has its turn. */
const APPLY_ENTRIES = 256;
const APPLY_BATCH_BYTES = 12 * 1024;
/** Empty entries proposed at once. */
const FILL_ENTRIES = 4096;
const NO_DATA = new Uint8Array(0);

export interface LoopParts {
  readonly machine: StateMachine;
  readonly core: RaftCore;
  readonly store: LogStore;
  readonly limits: ProposalLimits;
  readonly metrics: Metrics;
  readonly log: Logger;
  send(messages: readonly Message[]): void;
  /** The leader as this server knows it. */
  leader(): Peer | undefined;
  /** Begins to fetch a copy of the state from another server. */
  fetch(fetch: Fetch): void;
  /** Folder with a snapshot that is on the disk. */
  snapshotFolder(snapshot: SnapshotMeta): string;
  /** Folder with the copy that a `restore` entry names; rejects when it is damaged. */
  restoreFolder(restore: RestoreReference): Promise<string>;
  /** A snapshot took the place of the log and of the machine's state. */
  installed(snapshot: SnapshotMeta): void;
  /** Called for every change of role, term or leader. */
  led(leadership: Leadership): void;
  /** Leadership was to go to server `to`, which did not take it. */
  handoverAborted(to: string): void;
  applied(entry: Entry): void;
  /** Called after each round. */
  turned(): void;
  /** The log or the state can't be trusted any more. */
  failed(error: Error): void;
}

/**
 * What turns the core's effects into deeds, one round at a time: messages leave, the disk writes the new entries while the
 * state machine applies what an earlier round made durable, then the answers that promise durability leave.
 */
export class RaftLoop {
  readonly proposals: Proposals;
  readonly #barriers = new Barriers();
  #pump: Promise<void> | undefined;
  #failure: Error | undefined;
  #stopping = false;
  #diskFull = false;
  /** New start of the log, to be written with the next change. */
  #base: SnapshotMeta | null = null;
  /** Told how the next round ends. */
  #roundWaiters: { resolve(): void; reject(error: Error): void }[] = [];

  constructor(private readonly parts: LoopParts) {
    this.proposals = new Proposals(parts.limits);
  }

  get core(): RaftCore {
    return this.parts.core;
  }

  /** The error that ended it. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  // --- inputs -------------------------------------------------------------------------------------------------------

  tick(): void {
    this.core.tick();
    if (this.#hasWork()) this.wake();
  }

  step(message: Message): void {
    if (this.#stopping || this.#failure !== undefined) return;
    this.core.step(message);
    this.wake();
  }

  propose(command: Uint8Array): Promise<Proposed> {
    this.proposals.admit(command.length);
    const outcome = this.core.propose([command]);
    if ("refused" in outcome) throw this.#refused(outcome.refused);
    this.parts.metrics.increment("nomad.raft.apply");
    const proposed = this.proposals.add(outcome.index, outcome.term, command.length);
    this.wake();
    return proposed;
  }

  /** Resolves with the change's index once it is committed; rejects with what `refuse` makes of a refusal. */
  async proposeConfiguration(
    change: ConfigurationChange,
    refuse: (refused: Refusal) => Error,
  ): Promise<number> {
    const outcome = this.core.proposeConfiguration(change);
    if ("refused" in outcome) throw refuse(outcome.refused);
    const proposed = this.proposals.add(outcome.index, outcome.term, 0);
    this.wake();
    return (await proposed).index;
  }

  /** Puts a copy that is on this server's disk in force; resolves with the index at which it is. */
  async proposeRestore(restore: RestoreReference): Promise<number> {
    const outcome = this.core.proposeRestore(restore);
    if ("refused" in outcome) throw this.#refused(outcome.refused);
    const proposed = this.proposals.add(outcome.index, outcome.term, 0);
    this.wake();
    return (await proposed).index;
  }

  /** Fills the log with empty entries until its next index is after `index`. */
  async fill(index: number): Promise<void> {
    while (this.core.lastIndex < index) {
      const count = Math.min(FILL_ENTRIES, index - this.core.lastIndex);
      const outcome = this.core.propose(Array.from({ length: count }, () => NO_DATA));
      if ("refused" in outcome) throw this.#refused(outcome.refused);
      const filled = this.proposals.add(outcome.index + count - 1, outcome.term, 0);
      this.wake();
      await filled;
    }
  }

  /** The offered snapshot, or another of this cluster, is on the disk. */
  snapshotFetched(snapshot: SnapshotMeta): void {
    if (this.#failure !== undefined) return;
    this.core.installSnapshot(snapshot);
    this.wake();
  }

  restoreFetched(id: string): void {
    this.core.restoreStored(id);
    this.wake();
  }

  fetchFailed(): void {
    this.core.fetchFailed();
  }

  barrier(): Promise<number> {
    const passed = this.#barriers.wait();
    this.wake();
    return passed;
  }

  /** The log starts here from now on. */
  compact(base: SnapshotMeta): void {
    this.#base = base;
    this.wake();
  }

  /** Resolves once the first entry of a new cluster is durable here. */
  async bootstrap(configuration: Configuration, refuse: (refused: Refusal) => Error): Promise<void> {
    const outcome = this.core.bootstrap(configuration);
    if ("refused" in outcome) throw refuse(outcome.refused);
    await new Promise<void>((resolve, reject) => {
      this.#roundWaiters.push({ resolve, reject });
      this.wake();
    });
  }

  /** Lets what is under way end, and nothing new in; writes what need not have been durable until now. */
  async stop(): Promise<void> {
    this.#stopping = true;
    while (this.#pump !== undefined) await this.#pump;
    this.#rejectAll(new OutcomeUnknownError("the server stopped before the command was committed"));
    if (this.#failure !== undefined) return;
    try {
      await this.parts.store.write({ hardState: this.core.hardState, entries: [], base: this.#base });
    } catch (error) {
      this.parts.log.warn(
        { error: (error as Error).message },
        "commit index was not saved; it is found again at start",
      );
    }
  }

  /** Nothing was written, and the same may be asked again: of another leader, or in a moment. */
  #refused(refused: Refusal): Error {
    if (refused !== "transferring" && refused !== "restoring") return new NotLeaderError(this.parts.leader());
    return new ConsensusBusyError(
      refused === "restoring"
        ? "a copy of the state is being put in force; try again later"
        : "leadership is being handed over; try again later",
    );
  }

  // --- the rounds ---------------------------------------------------------------------------------------------------

  #hasWork(): boolean {
    return this.core.hasEffects || this.#base !== null || this.#barriers.pending;
  }

  /** Runs rounds unless they run already; what is proposed in one turn of the event loop goes into one write. */
  wake(): void {
    if (this.#pump !== undefined || this.#failure !== undefined) return;
    this.#pump = this.#rounds();
  }

  async #rounds(): Promise<void> {
    try {
      await Promise.resolve();
      while (this.#hasWork()) {
        const waiters = this.#roundWaiters.splice(0);
        try {
          await this.#round();
        } catch (error) {
          for (const { reject } of waiters) reject(error as Error);
          throw error;
        }
        for (const { resolve } of waiters) resolve();
      }
    } catch (error) {
      // What could not be written comes again with the next tick, or with what asks for it before.
      if (error instanceof DiskFullError) this.#undo(error);
      else this.#fail(error as Error);
    } finally {
      // In the same step as the last look for work, so that nothing can be proposed in between and wait for a tick.
      this.#pump = undefined;
    }
  }

  async #round(): Promise<void> {
    const { core, machine, send, fetch, led, leader, handoverAborted, turned } = this.parts;
    this.#barriers.ask(core);
    const effects = core.takeEffects();
    send(effects.messages);
    if (effects.fetch !== null) fetch(effects.fetch);
    const written = this.#write(effects).then(
      () => undefined,
      (error: Error) => error,
    );
    try {
      await this.#apply(effects.committed);
      if (effects.leadership !== null) this.#led(effects.leadership, led);
      if (effects.transferAborted !== null) handoverAborted(effects.transferAborted);
      for (const { context, index } of effects.reads) {
        this.#barriers.answer(context, index, machine.lastApplied(), leader());
      }
    } finally {
      // Never leave a write behind: the log is used by one at a time.
      await written;
    }
    const error = await written;
    if (error !== undefined) throw error;
    core.persisted();
    if (effects.snapshot !== null) await this.#install(effects.snapshot);
    send(effects.messagesAfterPersist);
    turned();
  }

  async #write(effects: Effects): Promise<void> {
    // A snapshot that takes the place of the log makes an older start of it void.
    const base = effects.snapshot ?? this.#base;
    if (effects.entries.length === 0 && !effects.hardStateMustSync && base === null) return;
    const { store, metrics, log } = this.parts;
    const started = performance.now();
    const pending = this.#base;
    await store.write({
      hardState: effects.hardState,
      entries: effects.entries,
      base,
      reset: effects.snapshot !== null,
    });
    if (this.#base === pending) this.#base = null;
    if (this.#diskFull) {
      this.#diskFull = false;
      log.info({ folder: store.location }, "raft log is written again");
    }
    metrics.sample("nomad.raft.leader.dispatchLog", performance.now() - started);
    metrics.sample("nomad.raft.leader.dispatchNumLogs", effects.entries.length);
  }

  async #apply(entries: readonly Entry[]): Promise<void> {
    const { machine, metrics, applied } = this.parts;
    for (let from = 0, to = 0; from < entries.length; from = to) {
      if (from > 0) await nextTurn();
      to = batchEnd(entries, from);
      const batch = entries.slice(from, to);
      if (batch[0]!.kind === "restore") {
        await this.#restore(batch[0]!);
        continue;
      }
      const started = performance.now();
      const results = machine.apply(batch.map(toLogEntry));
      if (results.length !== batch.length) {
        throw new Error(`the state machine gave ${results.length} results for ${batch.length} entries`);
      }
      metrics.sample("nomad.raft.fsm.apply", performance.now() - started);
      batch.forEach((entry, position) => {
        applied(entry);
        const took = this.proposals.settle(entry.index, entry.term, results[position]);
        if (took !== undefined) metrics.sample("nomad.raft.commitTime", took);
      });
      this.#barriers.release(batch.at(-1)!.index);
    }
  }

  /** Applies a `restore` entry: the copy that it names takes the place of the state. */
  async #restore(entry: Entry): Promise<void> {
    const folder = await this.parts.restoreFolder(decodeRestore(entry.data));
    await this.#replace(folder, entry.index);
    this.parts.applied(entry);
    this.proposals.settle(entry.index, entry.term, undefined);
    this.#barriers.release(entry.index);
  }

  /** The log begins with the snapshot, durably; the machine follows. After a crash in between, recovery does the same. */
  async #install(snapshot: SnapshotMeta): Promise<void> {
    await this.#replace(this.parts.snapshotFolder(snapshot), snapshot.index);
    this.#barriers.release(snapshot.index);
    this.parts.installed(snapshot);
  }

  async #replace(folder: string, index: number): Promise<void> {
    const { machine, metrics, log } = this.parts;
    const started = performance.now();
    await machine.restore(folder, index);
    if (machine.lastApplied() !== index) {
      throw new Error(`the state restored from ${folder} is at ${machine.lastApplied()} instead of ${index}`);
    }
    metrics.sample("nomad.raft.fsm.restore", performance.now() - started);
    log.info({ folder, index }, "replaced the state by a copy");
  }

  #led(leadership: Leadership, led: (leadership: Leadership) => void): void {
    // What an earlier leadership of this server proposed may be committed by another leader, or never.
    this.proposals.rejectBefore(
      leadership.role === "leader" ? leadership.term : Number.POSITIVE_INFINITY,
      new OutcomeUnknownError("this server stopped leading before the command was committed"),
    );
    led(leadership);
  }

  // --- failures -----------------------------------------------------------------------------------------------------

  /** Nothing of the write is on disk and nobody else has seen it, so its proposals are refused for certain. */
  #undo(error: DiskFullError): void {
    const { store, log, metrics } = this.parts;
    if (!this.#diskFull) {
      this.#diskFull = true;
      log.error({ folder: store.location }, error.message);
    }
    metrics.increment("nomad.raft.disk_full");
    this.core.rollback();
    this.proposals.rejectAfter(this.core.stableIndex, error);
    // Without leadership no read can be answered before the disk has room.
    if (this.core.role !== "leader") this.#barriers.rejectAll(error);
  }

  /** No command is answered from here on. */
  #fail(error: Error): void {
    this.#failure = error;
    this.parts.log.error({ error: error.stack }, "raft can't go on");
    this.#rejectAll(new OutcomeUnknownError(`raft can't go on: ${error.message}`, { cause: error }));
    this.parts.failed(error);
  }

  #rejectAll(error: Error): void {
    this.proposals.rejectAfter(0, error);
    this.#barriers.rejectAll(error);
  }
}

function toLogEntry({ index, term, kind, data }: Entry): LogEntry {
  return { index, term, data: kind === "command" ? data : NO_DATA };
}

/** Where a batch that begins at `from` ends: it has one entry at least. */
function batchEnd(entries: readonly Entry[], from: number): number {
  let to = from;
  for (let bytes = 0; to < entries.length && to - from < APPLY_ENTRIES; to++) {
    // A `restore` entry is a batch of its own.
    if (entries[to]!.kind === "restore") return Math.max(to, from + 1);
    bytes += entries[to]!.data.length;
    if (bytes > APPLY_BATCH_BYTES && to > from) break;
  }
  return to;
}
