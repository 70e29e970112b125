/** A deterministic cluster of Raft cores: one seed gives one history of faults, and every history is checked as it goes. */
import assert from "node:assert/strict";
import { voters } from "../../../../plugins/consensus-raft/core/configuration.js";
import { RaftCore } from "../../../../plugins/consensus-raft/core/raft-core.js";
import type {
  Configuration,
  Effects,
  Entry,
  HardState,
  Message,
  SnapshotMeta,
} from "../../../../plugins/consensus-raft/core/types.js";

/** A small seeded generator (mulberry32), so that a history depends on the seed alone. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

interface Disk {
  hardState: HardState;
  base: SnapshotMeta;
  entries: Entry[];
  snapshot: SnapshotMeta | null;
}

interface Node {
  readonly id: string;
  readonly disk: Disk;
  /** Last index applied; it survives a crash of the process, and falls back to the snapshot after a reboot. */
  applied: number;
  core: RaftCore | null;
  /** Effects that the disk has not finished. */
  inflight: Effects | null;
}

export interface Faults {
  readonly drop: number;
  readonly duplicate: number;
  readonly crash: number;
  readonly partition: number;
  readonly membership: number;
}

/** What happened in a history, to see that it was worth running. */
export interface Coverage {
  elections: number;
  commits: number;
  crashes: number;
  installs: number;
  reads: number;
  changes: number;
}

const text = new TextDecoder();
const describeEntry = (entry: Entry): string => `${entry.term}:${entry.kind}:${text.decode(entry.data)}`;

export class Simulation {
  readonly coverage: Coverage = { elections: 0, commits: 0, crashes: 0, installs: 0, reads: 0, changes: 0 };
  readonly #random: () => number;
  readonly #nodes = new Map<string, Node>();
  #network: Message[] = [];
  /** Group of each server; messages pass within a group only. */
  #groups = new Map<string, number>();
  #commands = 0;
  #readContext = 0;

  // What the checks know of the whole history.
  readonly #leaders = new Map<number, string>();
  readonly #entries = new Map<string, string>();
  readonly #applied = new Map<number, string>();
  /** Index to the term of the leader that committed it first. */
  readonly #committedIn = new Map<number, number>();
  #maxCommit = 0;
  readonly #reads = new Map<number, number>();

  constructor(
    seed: number,
    size: number,
    private readonly faults: Faults,
  ) {
    this.#random = generator(seed);
    const ids = Array.from(
      { length: size + (faults.membership > 0 ? 2 : 0) },
      (_, position) => `s${position}`,
    );
    const first: Configuration = {
      servers: ids.slice(0, size).map((id) => ({ id, address: `${id}:4647`, voter: true })),
    };
    for (const [position, id] of ids.entries()) {
      const base = { index: 0, term: 0, configuration: position < size ? first : { servers: [] } };
      const disk = { hardState: { term: 0, vote: null, commit: 0 }, base, entries: [], snapshot: null };
      this.#nodes.set(id, { id, disk, applied: 0, core: null, inflight: null });
      this.#start(this.#nodes.get(id)!);
    }
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.#act();
      this.#check();
    }
  }

  /** Ends the faults and waits until a new command is applied by every server of the configuration. */
  settle(): void {
    this.#groups.clear();
    let marker: string | undefined;
    for (let round = 0; round < 4000; round++) {
      for (const node of this.#nodes.values()) {
        if (node.core === null) this.#start(node);
        node.core!.tick();
        this.#turn(node);
        this.#persist(node);
        this.#turn(node);
      }
      const batch = this.#network;
      this.#network = [];
      for (const message of batch) this.#deliver(message);
      this.#check();
      const leader = this.#leader();
      if (leader === undefined) continue;
      if (marker === undefined || ![...this.#applied.values()].some((applied) => applied.endsWith(marker!))) {
        if (round % 50 === 0) marker = this.#propose(leader) ?? marker;
        continue;
      }
      const members = leader.core!.configuration.servers.map((server) => this.#nodes.get(server.id)!);
      const target = leader.core!.commit;
      if (members.every((member) => member.applied >= target)) return;
    }
    assert.fail(`no progress after the faults ended: ${JSON.stringify(this.#summary())}`);
  }

  #summary(): unknown {
    return [...this.#nodes.values()].map(({ id, core, applied }) => ({
      id,
      applied,
      ...core?.leadership,
      commit: core?.commit,
      last: core?.lastIndex,
      servers: core?.configuration.servers.map((server) => `${server.id}${server.voter ? "" : "?"}`).join(),
    }));
  }

  #leader(): Node | undefined {
    let found: Node | undefined;
    for (const node of this.#nodes.values()) {
      if (node.core?.role === "leader" && (found === undefined || node.core.term > found.core!.term))
        found = node;
    }
    return found;
  }

  // --- actions ------------------------------------------------------------------------------------------------------

  #act(): void {
    const node = this.#pick([...this.#nodes.values()]);
    const dice = this.#random();
    if (node.core === null) {
      if (dice < 0.05) this.#start(node);
      return;
    }
    if (dice < this.faults.crash) this.#crash(node);
    else if (this.#random() < this.faults.partition) this.#partition();
    else if (this.#random() < this.faults.membership) this.#changeMembership();
    else if (dice < 0.12) node.core.tick();
    else if (dice < 0.35) this.#persist(node);
    else if (dice < 0.42) this.#propose(this.#leader() ?? node);
    else if (dice < 0.43) this.#read(node);
    else if (dice < 0.44) this.#compact(node);
    else this.#carry();
    this.#turn(node);
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#random() * from.length)]!;
  }

  #start(node: Node): void {
    const { disk } = node;
    if (node.applied < disk.base.index) {
      assert.ok(
        disk.snapshot !== null && disk.snapshot.index >= disk.base.index,
        "a compacted log has its snapshot",
      );
      node.applied = disk.snapshot.index;
    }
    node.inflight = null;
    node.core = new RaftCore(
      {
        id: node.id,
        electionTicks: 10,
        heartbeatTicks: 2,
        maxAppendBytes: 64,
        maxInflightAppends: 4,
        maxInflightBytes: 256,
        maxApplyBytes: 256,
        random: this.#random,
      },
      { ...disk, entries: [...disk.entries], applied: node.applied },
    );
  }

  #crash(node: Node): void {
    node.core = null;
    node.inflight = null;
    this.coverage.crashes++;
    // A reboot of the machine loses what the state store had not flushed; the snapshot and the log bring it back.
    if (this.#random() < 0.5) node.applied = node.disk.snapshot?.index ?? 0;
  }

  #partition(): void {
    this.#groups.clear();
    if (this.#random() < 0.5) return;
    for (const id of this.#nodes.keys()) this.#groups.set(id, Math.floor(this.#random() * 2));
  }

  #propose(node: Node): string | undefined {
    const command = `c${++this.#commands}.`;
    const outcome = node.core!.propose([new TextEncoder().encode(command)]);
    return "refused" in outcome ? undefined : command;
  }

  #read(node: Node): void {
    const context = ++this.#readContext;
    this.#reads.set(context, this.#maxCommit);
    node.core!.readIndex(context);
  }

  #changeMembership(): void {
    const core = this.#leader()?.core;
    if (core === null || core === undefined) return;
    const id = this.#pick([...this.#nodes.keys()]);
    const voter = this.#random() < 0.7;
    const remove = voters(core.configuration).length > 2 && this.#random() < 0.5;
    const outcome = core.proposeConfiguration(
      remove ? { type: "remove", id } : { type: "add", server: { id, address: `${id}:4647`, voter } },
    );
    if (!("refused" in outcome)) this.coverage.changes++;
  }

  #compact(node: Node): void {
    const core = node.core!;
    // The shell takes effects, applies and compacts in one thread, never while a snapshot is being installed.
    if (node.inflight !== null || core.hasEffects || node.applied <= core.baseIndex) return;
    const snapshot = core.describe(node.applied);
    const to = core.baseIndex + Math.floor(this.#random() * (node.applied - core.baseIndex + 1));
    const base = core.describe(to);
    core.compact(snapshot, to);
    node.disk.snapshot = snapshot;
    node.disk.entries = node.disk.entries.filter((entry) => entry.index > to);
    node.disk.base = base;
  }

  #carry(): void {
    if (this.#network.length === 0) return;
    const position = Math.floor(this.#random() * Math.min(this.#network.length, 12));
    const message = this.#network[position]!;
    if (this.#random() >= this.faults.duplicate) this.#network.splice(position, 1);
    if (this.#random() >= this.faults.drop) this.#deliver(message);
  }

  #deliver(message: Message): void {
    const target = this.#nodes.get(message.to);
    if (target?.core == null || this.#groups.get(message.from) !== this.#groups.get(message.to)) return;
    target.core.step(message);
    this.#turn(target);
  }

  /** Takes effects when the disk is free: sends, applies, and leaves the write under way. */
  #turn(node: Node): void {
    const core = node.core;
    if (core === null || node.inflight !== null || !core.hasEffects) return;
    const effects = core.takeEffects();
    if (effects.fetch?.type === "snapshot") core.installSnapshot(effects.fetch.snapshot);
    node.inflight = effects;
    this.#sendAll(effects.messages);
    for (const entry of effects.committed) this.#apply(node, entry);
    for (const { context, index } of effects.reads) {
      if (index === null) continue;
      this.coverage.reads++;
      assert.ok(index >= this.#reads.get(context)!, `a read at ${index} missed what was committed before it`);
    }
  }

  #persist(node: Node): void {
    const effects = node.inflight;
    if (node.core === null || effects === null) return;
    const { disk } = node;
    if (effects.snapshot !== null) {
      this.coverage.installs++;
      disk.base = disk.snapshot = effects.snapshot;
      disk.entries = [];
      node.applied = Math.max(node.applied, effects.snapshot.index);
    }
    const first = effects.entries[0];
    if (first !== undefined) {
      let before = first.index - 1 === disk.base.index ? disk.base.term : undefined;
      before ??= disk.entries.find((entry) => entry.index === first.index - 1)?.term;
      this.#checkEntries(before, effects.entries);
      disk.entries = [...disk.entries.filter((entry) => entry.index < first.index), ...effects.entries];
    }
    if (effects.hardState !== null) disk.hardState = effects.hardState;
    node.inflight = null;
    node.core.persisted();
    this.#sendAll(effects.messagesAfterPersist);
    this.#turn(node);
  }

  #sendAll(messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.type === "append") this.#checkEntries(message.prevTerm, message.entries);
      this.#network.push(message);
    }
    if (this.#network.length > 400) this.#network = this.#network.slice(-300);
  }

  // --- checks -------------------------------------------------------------------------------------------------------

  /** State machine safety: every server applies the same entry at an index, in order and once. */
  #apply(node: Node, entry: Entry): void {
    assert.equal(entry.index, node.applied + 1, `${node.id} applies in order`);
    const known = this.#applied.get(entry.index);
    const description = describeEntry(entry);
    if (known === undefined) this.#applied.set(entry.index, description);
    else assert.equal(description, known, `entry ${entry.index} is the same on every server`);
    node.applied = entry.index;
    this.coverage.commits++;
  }

  /**
   * Log matching, by induction: the same index and term mean the same entry after the same predecessor. Only what reached
   * a disk or the network counts; what a crash took before that never was.
   */
  #checkEntries(prevTerm: number | undefined, entries: readonly Entry[]): void {
    let before = prevTerm;
    for (const entry of entries) {
      const description = `${before} < ${describeEntry(entry)}`;
      const key = `${entry.index}:${entry.term}`;
      const known = this.#entries.get(key);
      if (known === undefined) this.#entries.set(key, description);
      else assert.equal(description, known, `logs match at index:term ${key}`);
      before = entry.term;
    }
  }

  #check(): void {
    for (const node of this.#nodes.values()) {
      const { core } = node;
      if (core === null) continue;
      if (core.role === "leader") this.#checkLeader(core);
      assert.ok(core.commit <= core.lastIndex, `${node.id} commits only what it has`);
    }
  }

  #checkLeader(core: RaftCore): void {
    const known = this.#leaders.get(core.term);
    if (known === undefined) {
      this.#leaders.set(core.term, core.id);
      this.coverage.elections++;
      // Leader completeness: it has all that leaders of earlier terms committed.
      for (const [index, term] of this.#committedIn) {
        if (term >= core.term || index <= core.baseIndex) continue;
        const entry = this.#applied.get(index);
        assert.ok(
          core.entryTerm(index) !== undefined,
          `leader ${core.id} of term ${core.term} lacks entry ${index}`,
        );
        if (entry !== undefined) assert.equal(String(core.entryTerm(index)), entry.split(":")[0]);
      }
    } else {
      assert.equal(core.id, known, `term ${core.term} has one leader`);
    }
    // What it committed itself; an older leader's commit index may only lag behind.
    for (let index = this.#maxCommit + 1; index <= core.commit; index++)
      this.#committedIn.set(index, core.term);
    this.#maxCommit = Math.max(this.#maxCommit, core.commit);
  }
}
