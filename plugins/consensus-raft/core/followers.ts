import { majority } from "./ballot.js";
import { type FlowLimits, Progress } from "./progress.js";

/** The leader's view of the other servers: one progress for each of the configuration, and for those just removed. */
export class Followers {
  readonly #progress = new Map<string, Progress>();

  constructor(
    private readonly self: string,
    private readonly limits: FlowLimits,
  ) {}

  [Symbol.iterator](): IterableIterator<[string, Progress]> {
    return this.#progress.entries();
  }

  get(id: string): Progress | undefined {
    return this.#progress.get(id);
  }

  clear(): void {
    this.#progress.clear();
  }

  /**
   * Follows the configuration. A removed server keeps its progress for `ticks` after the change is committed, so that it
   * learns of its removal and stops asking for votes.
   */
  sync(servers: readonly string[], lastIndex: number, ticks: number): void {
    for (const [id, progress] of this.#progress) {
      if (!servers.includes(id)) progress.leavesIn ??= ticks;
      else progress.leavesIn = null;
    }
    for (const id of servers) {
      if (id === this.self || this.#progress.has(id)) continue;
      const progress = new Progress(lastIndex, this.limits);
      // A server that was just added counts as heard from, until the next check.
      progress.active = true;
      this.#progress.set(id, progress);
    }
  }

  /** The leader's log ends earlier than it did; a server that was added since would be sent what comes after its end. */
  truncated(lastIndex: number): void {
    for (const progress of this.#progress.values())
      if (progress.next > lastIndex + 1) progress.probe(lastIndex + 1);
  }

  /** Time passes; gives the servers that an offered snapshot is to be offered to again. */
  tick(changeCommitted: boolean): string[] {
    const due: string[] = [];
    for (const [id, progress] of this.#progress) {
      if (progress.contact !== null) progress.contact++;
      if (progress.leavesIn !== null && changeCommitted && --progress.leavesIn <= 0)
        this.#progress.delete(id);
      else if (progress.state === "snapshot" && --progress.snapshotTicks <= 0) due.push(id);
    }
    return due;
  }

  /** Whether a majority of `voters` answered since the last time this was asked. */
  takeActiveQuorum(voters: readonly string[]): boolean {
    const active = voters.filter((id) => id === this.self || this.#progress.get(id)?.active === true).length;
    for (const progress of this.#progress.values()) progress.active = false;
    return active >= majority(voters);
  }

  /** Highest index that a majority of `voters` has durable, of which this server has `own`. */
  matchedByMajority(voters: readonly string[], own: number): number {
    const matches = voters
      .map((id) => (id === this.self ? own : (this.#progress.get(id)?.match ?? 0)))
      .sort((a, b) => b - a);
    return matches[majority(voters) - 1] ?? 0;
  }

  /** The voter whose log is longest, those that answer first; null when there is no other voter. */
  bestSuccessor(voters: readonly string[]): string | null {
    let best: { readonly id: string; readonly progress: Progress } | null = null;
    for (const id of voters) {
      const progress = this.#progress.get(id);
      if (progress === undefined) continue;
      const better =
        best === null ||
        (progress.active !== best.progress.active ? progress.active : progress.match > best.progress.match);
      if (better) best = { id, progress };
    }
    return best?.id ?? null;
  }

  /** Lowest index from which an answering server, which fetches a snapshot now, will need the log. */
  neededAfterSnapshot(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const progress of this.#progress.values()) {
      if (progress.state === "snapshot" && progress.active) lowest = Math.min(lowest, progress.snapshotIndex);
    }
    return lowest;
  }
}
