/** Follows the drain of a node until nothing runs there, as `node drain` shows it. */
import type { Allocation, Node } from "@drover/plugin-sdk";
import { clientTerminal, serverTerminal } from "@drover/plugin-sdk";
import type { ApiClient } from "./client.js";
import { formatTime } from "./format.js";
import type { CommandIo } from "./io.js";

/** How long one blocking query waits. */
const WAIT = "5s";

interface Seen {
  readonly status: string;
  readonly migrating: boolean;
  readonly stopping: boolean;
}

export interface DrainMonitorOptions {
  /** Index at which the drain began; 0: it is under way. */
  readonly since: number;
  /** Leaves system jobs out of account; they are also where the drain leaves them alone. */
  readonly ignoreSystem: boolean;
}

export class DrainMonitor {
  readonly #seen = new Map<string, Seen>();
  #sawDrain: boolean;
  #ignoreSystem: boolean;

  constructor(
    private readonly client: ApiClient,
    private readonly io: CommandIo,
    private readonly nodeId: string,
    private readonly options: DrainMonitorOptions,
  ) {
    this.#sawDrain = options.since > 0;
    this.#ignoreSystem = options.ignoreSystem;
  }

  /** Resolves when the drain has ended and what left has stopped; at once when the user interrupts. */
  async follow(): Promise<void> {
    this.#say("Ctrl-C to stop monitoring: will not cancel the node drain");
    if (this.options.since > 0) this.#say(`Node "${this.nodeId}" drain strategy set`);
    const { signal } = this.io;
    try {
      for (let index = 0; ; ) {
        const end = await this.#end(signal);
        const rows = await this.client.get<Allocation[]>(
          `/v1/node/${this.nodeId}/allocations`,
          index === 0 || end !== null ? {} : { index, wait: WAIT },
          signal,
        );
        index = rows.index;
        const left = this.#news(rows.value);
        if (end === null) continue;
        this.#say(end);
        // A drain that was cancelled leaves what it did not move.
        if (this.#sawDrain && left === 0) this.#say(`All allocations on node "${this.nodeId}" have stopped`);
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
  }

  /** How the drain ended, in words; null while it goes on. */
  async #end(signal: AbortSignal): Promise<string | null> {
    const { value } = await this.client.get<Node>(`/v1/node/${this.nodeId}`, {}, signal);
    if (value.DrainStrategy !== null) {
      this.#sawDrain = true;
      this.#ignoreSystem ||= value.DrainStrategy.IgnoreSystemJobs;
      return null;
    }
    // How an earlier drain ended is not what was asked.
    if (!this.#sawDrain) return `No drain strategy set for node ${this.nodeId}`;
    if (value.LastDrain?.Status === "complete") return `Drain complete for node ${this.nodeId}`;
    return `Drain of node ${this.nodeId} was cancelled`;
  }

  /** Says what is new about the node's allocations; gives how many still run. */
  #news(rows: readonly Allocation[]): number {
    let left = 0;
    for (const row of rows) {
      const isSystem = row.Job?.Type === "system" || row.Job?.Type === "sysbatch";
      if (this.#ignoreSystem && isSystem) continue;
      if (!clientTerminal(row)) left++;
      const before = this.#seen.get(row.ID);
      const now = {
        status: row.ClientStatus,
        migrating: row.DesiredTransition?.Migrate === true,
        stopping: serverTerminal(row),
      };
      this.#seen.set(row.ID, now);
      // What had ended before is not the drain's doing.
      if (before === undefined && clientTerminal(row)) continue;
      if (now.migrating && before?.migrating !== true) this.#say(`Alloc "${row.ID}" marked for migration`);
      if (now.migrating && now.stopping && before?.stopping !== true) this.#say(`Alloc "${row.ID}" draining`);
      if (before !== undefined && before.status !== now.status)
        this.#say(`Alloc "${row.ID}" status ${before.status} -> ${now.status}`);
    }
    return left;
  }

  #say(text: string): void {
    this.io.out(`${formatTime(this.io.now())}: ${text}`);
  }
}
