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
  readonly ignoreSystem: boolean;
}

export class DrainMonitor {
  readonly #seen = new Map<string, Seen>();

  constructor(
    private readonly client: ApiClient,
    private readonly io: CommandIo,
    private readonly node: Pick<Node, "ID">,
    private readonly options: DrainMonitorOptions,
  ) {}

  /** Resolves when the drain has ended and what left has stopped; at once when the user interrupts. */
  async follow(): Promise<void> {
    const { ID } = this.node;
    this.#say("Ctrl-C to stop monitoring: will not cancel the node drain");
    if (this.options.since > 0) this.#say(`Node "${ID}" drain strategy set`);
    const { signal } = this.io;
    let draining = true;
    try {
      for (let index = 0; ; ) {
        const rows = await this.client.get<Allocation[]>(
          `/v1/node/${ID}/allocations`,
          index === 0 || !draining ? {} : { index, wait: WAIT },
          signal,
        );
        index = rows.index;
        const left = this.#news(rows.value);
        if (draining) {
          draining = await this.#isDraining(signal);
          continue;
        }
        if (left === 0) {
          this.#say(`All allocations on node "${ID}" have stopped`);
          return;
        }
        // A drain that was cancelled leaves what it did not move.
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
  }

  async #isDraining(signal: AbortSignal): Promise<boolean> {
    const { ID } = this.node;
    const { value } = await this.client.get<Node>(`/v1/node/${ID}`, {}, signal);
    if (value.DrainStrategy !== null) return true;
    if (value.LastDrain?.Status === "complete") this.#say(`Drain complete for node ${ID}`);
    else if (value.LastDrain === null) this.#say(`No drain strategy set for node ${ID}`);
    else this.#say(`Drain of node ${ID} was cancelled`);
    return false;
  }

  /** Says what is new about the node's allocations; gives how many still run. */
  #news(rows: readonly Allocation[]): number {
    let left = 0;
    for (const row of rows) {
      const isSystem = row.Job?.Type === "system" || row.Job?.Type === "sysbatch";
      if (this.options.ignoreSystem && isSystem) continue;
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
