import type { Logger, Metrics } from "@drover/plugin-sdk";
import type { SnapshotPosition } from "@drover/plugin-sdk/consensus";
import type { EtcdConfig } from "./config.js";

export interface SnapshotScheduleParts {
  readonly config: Pick<EtcdConfig, "snapshot_threshold" | "snapshot_bytes" | "snapshot_interval">;
  readonly log: Logger;
  readonly metrics: Metrics;
  take(): Promise<SnapshotPosition>;
  onTaken(): Promise<void>;
}

/** Takes a snapshot once enough was applied since the last one. */
export class SnapshotSchedule {
  #newest: SnapshotPosition | undefined;
  #entries = 0;
  #bytes = 0;
  #at = Number.NEGATIVE_INFINITY;
  #work: Promise<void> | undefined;
  #isForced = false;
  #stopped = false;

  constructor(private readonly parts: SnapshotScheduleParts) {}

  get newest(): SnapshotPosition | undefined {
    return this.#newest;
  }

  /** There is a snapshot of an earlier run. */
  begin(newest: SnapshotPosition | undefined): void {
    this.#newest = newest;
  }

  /** An entry was applied. */
  count(bytes: number): void {
    this.#entries++;
    this.#bytes += bytes;
    this.#consider();
  }

  /** The next one is due whatever was applied: the state was replaced. */
  force(): void {
    this.#isForced = true;
    this.#consider();
  }

  /** Waits for the one under way; there is none after it. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
  }

  #consider(): void {
    const { snapshot_threshold, snapshot_bytes, snapshot_interval } = this.parts.config;
    if (this.#work !== undefined || this.#stopped) return;
    const isMany = this.#entries >= snapshot_threshold && performance.now() - this.#at >= snapshot_interval;
    if (!isMany && this.#bytes < snapshot_bytes && !this.#isForced) return;
    this.#entries = 0;
    this.#bytes = 0;
    this.#isForced = false;
    this.#at = performance.now();
    this.#work = this.#take().finally(() => {
      this.#work = undefined;
    });
  }

  async #take(): Promise<void> {
    const { log, metrics } = this.parts;
    try {
      this.#newest = await this.parts.take();
      await this.parts.onTaken();
      const took = performance.now() - this.#at;
      metrics.sample("nomad.raft.snapshot.persist", took);
      log.info({ index: this.#newest.index, milliseconds: Math.round(took) }, "took a snapshot");
    } catch (error) {
      // The log still has everything; the next threshold tries again.
      log.error({ error: (error as Error).message }, "snapshot failed; the log is kept until one succeeds");
      metrics.increment("nomad.raft.snapshot.failed");
    }
  }
}
