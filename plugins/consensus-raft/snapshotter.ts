import type { Logger, Metrics, StateMachine } from "@drover/plugin-sdk";
import type { SnapshotStore } from "@drover/plugin-sdk/consensus";
import type { RaftConfig } from "./config.js";
import type { Entry, SnapshotMeta } from "./core/types.js";
import type { RaftLoop } from "./raft-loop.js";

export interface SnapshotterParts {
  readonly machine: StateMachine;
  readonly loop: RaftLoop;
  readonly store: SnapshotStore<SnapshotMeta>;
  readonly config: RaftConfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Entries up to `base` are in the log no more. */
  compacted(base: number): Promise<void>;
}

/** Takes a snapshot when enough was applied since the last one, and lets the log start there. */
export class Snapshotter {
  #entries: number;
  #bytes: number;
  #at = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;

  constructor(
    private readonly parts: SnapshotterParts,
    /** Newest snapshot. */
    private newest: SnapshotMeta | null,
    /** Applied since then. */
    since: { readonly entries: number; readonly bytes: number },
  ) {
    this.#entries = since.entries;
    this.#bytes = since.bytes;
  }

  get meta(): SnapshotMeta | null {
    return this.newest;
  }

  applied(entry: Entry): void {
    this.#entries++;
    this.#bytes += entry.data.length;
  }

  /** A snapshot of another server is the newest one now. */
  installed(snapshot: SnapshotMeta): void {
    this.newest = snapshot;
    this.#entries = 0;
    this.#bytes = 0;
  }

  /** Begins a snapshot when one is due. */
  consider(): void {
    const { snapshot_threshold, snapshot_bytes, snapshot_interval } = this.parts.config;
    if (this.#running !== undefined) return;
    const many = this.#entries >= snapshot_threshold;
    const due = many && performance.now() - this.#at >= snapshot_interval;
    if (!due && this.#bytes < snapshot_bytes) return;
    this.#entries = 0;
    this.#bytes = 0;
    this.#at = performance.now();
    this.#running = this.#take().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves once no snapshot is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #take(): Promise<void> {
    const { machine, loop, store, log, metrics, config } = this.parts;
    const started = performance.now();
    try {
      const snapshot = await store.create(
        (folder) => machine.snapshot(folder),
        (index) => loop.core.describe(index),
      );
      const { core } = loop;
      const point = core.compactionPoint(snapshot.index, config.trailing_logs, config.trailing_bytes);
      const base = point > core.baseIndex ? core.describe(point) : null;
      core.compact(snapshot, point);
      if (base !== null) loop.compact(base);
      await this.parts.compacted(core.baseIndex);
      if (snapshot.index > (this.newest?.index ?? 0)) this.newest = snapshot;
      const took = performance.now() - started;
      metrics.sample("nomad.raft.snapshot.persist", took);
      log.info(
        { index: snapshot.index, log_start: core.baseIndex + 1, milliseconds: Math.round(took) },
        "took a snapshot",
      );
    } catch (error) {
      // The log still has everything; the next threshold tries again.
      log.error({ error: (error as Error).message }, "snapshot failed; the log is kept until one succeeds");
      metrics.increment("nomad.raft.snapshot.failed");
    }
  }
}
