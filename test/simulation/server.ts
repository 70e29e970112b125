import { voters } from "../../plugins/consensus-raft/core/configuration.js";
import type { RaftCore, RaftOptions } from "../../plugins/consensus-raft/core/raft-core.js";
import { decodeRestore } from "../../plugins/consensus-raft/core/restore.js";
import type {
  Effects,
  Entry,
  Fetch,
  Message,
  SnapshotMeta,
} from "../../plugins/consensus-raft/core/types.js";
import type { Coverage } from "./coverage.js";
import { Disk, type SnapshotFile } from "./disk.js";
import type { EventQueue } from "./events.js";
import type { Invariants } from "./invariants.js";
import { Machine, type MachineState } from "./machine.js";
import type { Network } from "./network.js";
import type { Construction } from "./plants.js";
import type { Random } from "./random.js";
import type { Trace } from "./trace.js";

/** How a server's core is set up, apart from its name. */
export type CoreLimits = Omit<RaftOptions, "id" | "random">;

/** What the parts of a simulated cluster share. */
export interface World {
  readonly random: Random;
  readonly events: EventQueue;
  readonly network: Network;
  readonly trace: Trace;
  readonly invariants: Invariants;
  readonly coverage: Coverage;
  readonly construction: Construction;
  /** All servers, members or not. */
  readonly servers: readonly SimulatedServer[];
  server(id: string): SimulatedServer;
  /** Checks what must hold after anything happened on a server. */
  observe(server: SimulatedServer): void;
  /** The leader of the newest term; undefined while there is none. */
  leader(): SimulatedServer | undefined;
}

/** A fetch under way. What has arrived of a file is kept, and a later fetch of the same file goes on from there. */
interface Download {
  readonly fetch: Fetch;
  readonly file: SnapshotFile | MachineState;
  readonly name: string;
  chunks: number;
}

interface AppliedWaiter {
  readonly index: number;
  resolve(): void;
}

const CHUNKS = 4;
const NOMINAL_TICK = 10;

/** One server: the real core, and what the shell does around it, on a simulated disk and clock. */
export class SimulatedServer {
  readonly disk: Disk;
  readonly machine = new Machine();
  core: RaftCore | null = null;
  /** Counts restarts; what belongs to an earlier life does not happen. */
  life = 0;
  /** Milliseconds a tick takes here. */
  tickLength = NOMINAL_TICK;
  /** The process does not run until then (SIGSTOP). */
  stoppedUntil = 0;
  /** Factor by which the disk is slow, and whether it has no room. */
  slowness = 1;
  diskFull = false;
  /** Its term after the last message it took; null when that is not known yet. */
  termSinceMessage: number | null = null;

  #writing = false;
  #pendingBase: SnapshotMeta | null = null;
  #snapshotting = false;
  #download: Download | null = null;
  /** Chunks that arrived of a file whose fetch failed. */
  #partial: { readonly name: string; readonly chunks: number } | null = null;
  #reads = new Map<number, (index: number | null) => void>();
  #readContext = 0;
  #waiters: AppliedWaiter[] = [];
  /** Proposals of this life by index: the term, and whom to tell whether it was this entry that was applied. */
  #proposals = new Map<number, { readonly term: number; settle(committed: boolean): void }>();

  constructor(
    readonly id: string,
    base: SnapshotMeta,
    private readonly limits: CoreLimits,
    private readonly world: World,
  ) {
    this.disk = new Disk(base, world.construction.disk, (prevTerm, entry) =>
      world.invariants.checkEntries(prevTerm, [entry]),
    );
  }

  get running(): boolean {
    return this.core !== null;
  }

  // --- life ---------------------------------------------------------------------------------------------------------

  start(): void {
    this.#installLeftover();
    const { log, newestSnapshot } = this.disk;
    if (this.machine.index < log.base.index) {
      if (newestSnapshot === undefined || newestSnapshot.meta.index < log.base.index)
        throw new Error(`${this.id} has a compacted log and no snapshot`);
      this.#restore(newestSnapshot.state);
    }
    this.life++;
    this.termSinceMessage = null;
    this.core = this.world.construction.core(
      { ...this.limits, id: this.id, random: this.world.random.next },
      { ...log, snapshot: newestSnapshot?.meta ?? null, applied: this.machine.index },
    );
    this.#scheduleTick();
    this.turn();
  }

  /** A snapshot was fetched, and the crash came before the log began with it: it does now. */
  #installLeftover(): void {
    const { log, newestSnapshot: file } = this.disk;
    if (file === undefined || file.meta.index <= log.base.index) return;
    if (log.entries[file.meta.index - log.base.index - 1]?.term === file.meta.term) return;
    this.world.coverage.leftoverInstalls++;
    this.disk.install(file.meta);
    if (this.machine.index < file.meta.index) this.#restore(file.state);
  }

  /** `reboot`: the machine's own store was not flushed either, and starts from a snapshot again. */
  crash(reboot: boolean): void {
    if (this.disk.crash(this.world.random)) this.world.coverage.tornWrites++;
    this.core = null;
    this.#writing = this.#snapshotting = false;
    if (this.#download !== null) {
      const { name, chunks } = this.#download;
      this.#partial = { name, chunks };
    }
    this.#pendingBase = this.#download = null;
    this.#reads = new Map();
    this.#waiters = [];
    this.#proposals = new Map();
    if (!reboot) return;
    const { newestSnapshot } = this.disk;
    if (newestSnapshot === undefined) this.machine.replace(0, new Map(), "");
    else this.#restore(newestSnapshot.state);
  }

  /** Happens unless the server dies before; later when it is stopped then. */
  schedule(delay: number, run: () => void): void {
    const { life } = this;
    const { events } = this.world;
    const attempt = (): void => {
      if (this.life !== life || this.core === null) return;
      if (this.stoppedUntil > events.now) {
        events.after(this.stoppedUntil - events.now, attempt);
        return;
      }
      run();
    };
    events.after(delay, attempt);
  }

  #scheduleTick(): void {
    this.schedule(this.tickLength * this.world.random.between(0.9, 1.1), () => {
      this.tick();
      this.#scheduleTick();
    });
  }

  tick(): void {
    this.core!.tick();
    this.turn();
  }

  receive(message: Message): void {
    this.schedule(0, () => {
      this.world.trace.add(message.type, message.from, message.to, message.term);
      this.core!.step(message);
      this.termSinceMessage = null;
      this.turn();
    });
  }

  // --- requests -----------------------------------------------------------------------------------------------------

  /** Proposes; `settle` is told once whether it was committed, unless nobody can tell any more. Null when refused. */
  propose(
    propose: (core: RaftCore) => ReturnType<RaftCore["propose"]>,
    settle: (committed: boolean) => void,
  ): boolean {
    const outcome = propose(this.core!);
    if ("refused" in outcome) return false;
    this.#proposals.set(outcome.index, { term: outcome.term, settle });
    this.turn();
    return true;
  }

  /** A linearizable read: the value once everything committed before is applied, or null when it can't be had here. */
  read(key: string, answer: (value: string | null) => void): void {
    const core = this.core!;
    const then = (index: number | null): void => {
      if (index === null) answer(null);
      else if (this.machine.index >= index) answer(this.machine.read(key));
      else this.#waiters.push({ index, resolve: () => answer(this.machine.read(key)) });
    };
    if (this.world.construction.plant === "stale-read" && core.role === "leader") {
      then(core.commit);
      return;
    }
    this.#reads.set(++this.#readContext, then);
    core.readIndex(this.#readContext);
    this.turn();
  }

  // --- the shell's loop ---------------------------------------------------------------------------------------------

  /** Takes effects when the disk is free: sends, applies, and leaves the write under way. */
  turn(): void {
    const core = this.core;
    if (core === null) return;
    this.world.observe(this);
    while (!this.#writing && (core.hasEffects || this.#pendingBase !== null)) {
      const effects = core.takeEffects();
      this.#send(effects.messages);
      for (const entry of effects.committed) this.#apply(entry);
      for (const { context, index } of effects.reads) {
        const answer = this.#reads.get(context);
        this.#reads.delete(context);
        answer?.(index);
      }
      if (effects.transferAborted !== null) this.world.coverage.transfersAborted++;
      if (effects.fetch !== null) this.#startFetch(effects.fetch);
      if (this.world.construction.plant === "promise-before-fsync") this.#send(effects.messagesAfterPersist);
      this.#write(effects);
      this.world.observe(this);
    }
  }

  #write(effects: Effects): void {
    const { hardState, hardStateMustSync, entries, snapshot } = effects;
    const base = this.#pendingBase;
    if (entries.length === 0 && !hardStateMustSync && snapshot === null && base === null) {
      this.#written(effects);
      return;
    }
    this.#writing = true;
    this.disk.write({ hardState, snapshot, base, entries });
    this.schedule(this.world.random.between(0.3, 3) * this.slowness, () => {
      this.#writing = false;
      if (this.diskFull) {
        this.world.coverage.fullDisks++;
        this.disk.abandon();
        this.core!.rollback();
        this.#takeBackProposals();
        return;
      }
      this.disk.sync(this.world.random);
      this.#pendingBase = null;
      if (snapshot !== null) this.#restore(this.#stored(snapshot).state);
      this.#written(effects);
      this.turn();
    });
  }

  /** What was rolled back did not happen, if this server still leads; otherwise others may have it. */
  #takeBackProposals(): void {
    const { lastIndex, role } = this.core!;
    for (const [index, { settle }] of this.#proposals) {
      if (index <= lastIndex) continue;
      this.#proposals.delete(index);
      if (role === "leader") settle(false);
    }
  }

  #written(effects: Effects): void {
    this.core!.persisted();
    if (this.world.construction.plant !== "promise-before-fsync") this.#send(effects.messagesAfterPersist);
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      this.world.invariants.checkSent(message);
      this.world.network.send(message);
    }
  }

  #apply(entry: Entry): void {
    if (entry.kind === "restore") {
      const { id } = decodeRestore(entry.data);
      const copy = this.disk.copies.get(id);
      if (copy === undefined)
        throw new Error(`${this.id} has to put copy ${id} in force and does not have it`);
      this.world.coverage.restores++;
      this.machine.replace(entry.index, copy.values, copy.digest);
    } else {
      this.machine.apply(entry);
    }
    this.world.coverage.applied++;
    this.world.invariants.checkMachine(this.id, entry.index, this.machine.digest);
    const proposal = this.#proposals.get(entry.index);
    this.#proposals.delete(entry.index);
    proposal?.settle(proposal.term === entry.term);
    this.#releaseWaiters();
  }

  #releaseWaiters(): void {
    const ready = this.#waiters.filter(({ index }) => index <= this.machine.index);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter(({ index }) => index > this.machine.index);
    for (const { resolve } of ready) resolve();
  }

  // --- snapshots ----------------------------------------------------------------------------------------------------

  /** Copies the machine, and when the copy is durable, drops what it covers of the log, all but `trailing` entries. */
  takeSnapshot(trailing: number): void {
    const core = this.core!;
    if (this.#snapshotting || this.machine.index <= core.baseIndex) return;
    this.#snapshotting = true;
    const file: SnapshotFile = { meta: core.describe(this.machine.index), state: this.machine.copy() };
    this.schedule(this.world.random.between(2, 20) * this.slowness, () => {
      this.#snapshotting = false;
      if (this.diskFull || file.meta.index <= core.baseIndex) return;
      this.disk.storeSnapshot(file);
      const point = core.compactionPoint(file.meta.index, trailing, Number.POSITIVE_INFINITY);
      const base = point > core.baseIndex ? core.describe(point) : null;
      core.compact(file.meta, point);
      this.world.coverage.snapshots++;
      if (base === null) return;
      this.#pendingBase = base;
      this.turn();
    });
  }

  #restore(state: MachineState): void {
    this.machine.replace(state.index, state.values, state.digest);
    this.world.invariants.checkMachine(this.id, state.index, state.digest);
    this.#releaseWaiters();
  }

  #stored(meta: SnapshotMeta): SnapshotFile {
    const file = this.disk.snapshotAt(meta);
    if (file === undefined)
      throw new Error(`${this.id} installs snapshot ${meta.index}, which it does not have`);
    return file;
  }

  #startFetch(fetch: Fetch): void {
    if (this.world.construction.plant === "restore-without-copy" && fetch.type === "restore") {
      this.core!.restoreStored(fetch.restore.id);
      return;
    }
    const source = this.world.server(fetch.from);
    // Whatever snapshot is the source's newest by now.
    const file =
      fetch.type === "snapshot" ? source.disk.newestSnapshot : source.disk.copies.get(fetch.restore.id);
    this.#download = null;
    if (file === undefined || !source.running) {
      this.schedule(1, () => this.#fetchFailed());
      return;
    }
    const name = "meta" in file ? `snapshot ${file.meta.term}-${file.meta.index}` : `copy ${file.digest}`;
    const resumed = this.#partial?.name === name ? this.#partial.chunks : 0;
    if (resumed > 0) this.world.coverage.resumedFetches++;
    this.#download = { fetch, file, name, chunks: resumed };
    this.#nextChunk(this.#download);
  }

  #nextChunk(download: Download): void {
    this.schedule(this.world.random.between(1, 15), () => {
      if (this.#download !== download) return;
      const { from } = download.fetch;
      const { network } = this.world;
      const reachable = network.open(from, this.id) && network.open(this.id, from);
      if (!reachable || !this.world.server(from).running || this.diskFull) {
        this.#partial = { name: download.name, chunks: download.chunks };
        this.#fetchFailed();
      } else if (++download.chunks < CHUNKS) this.#nextChunk(download);
      else this.#fetched(download);
    });
  }

  #fetchFailed(): void {
    this.world.coverage.failedFetches++;
    this.#download = null;
    this.core!.fetchFailed();
    this.turn();
  }

  #fetched({ fetch, file }: Download): void {
    this.#download = this.#partial = null;
    if ("meta" in file) {
      this.disk.storeSnapshot(file);
      if (this.core!.installSnapshot(file.meta)) this.world.coverage.installs++;
    } else if (fetch.type === "restore") {
      this.disk.copies.set(fetch.restore.id, file);
      this.core!.restoreStored(fetch.restore.id);
    }
    this.turn();
  }

  /** Whether it needs other servers' votes to lead. */
  get needsVotes(): boolean {
    const all = this.core === null ? [] : voters(this.core.configuration);
    return all.some((id) => id !== this.id);
  }
}
