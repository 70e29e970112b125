import type { Fetch, RestoreReference, SnapshotMeta } from "./types.js";

/** What this server gets from another one beside the log, one thing at a time, and the copies of the state that it has. */
export class Fetches {
  #current: Fetch | null = null;
  /** The same while the shell was not told yet. */
  #toStart: Fetch | null = null;
  /** Copies that are stored here, of `restore` entries that are not applied yet. */
  readonly #stored = new Set<string>();

  /** Whether the shell has something to start. */
  get due(): boolean {
    return this.#toStart !== null;
  }

  take(): Fetch | null {
    const fetch = this.#toStart;
    this.#toStart = null;
    return fetch;
  }

  /** A snapshot that is under way from the same server is not asked for again, even when a newer one is offered. */
  snapshotOffered(from: string, snapshot: SnapshotMeta): void {
    if (this.#current?.type === "snapshot" && this.#current.from === from) return;
    this.#current = this.#toStart = { type: "snapshot", from, snapshot };
  }

  /** Whether the copy is here; it is fetched from `from` otherwise. */
  has(restore: RestoreReference, from: string): boolean {
    if (this.#stored.has(restore.id)) return true;
    const current = this.#current;
    if (current?.type !== "restore" || current.restore.id !== restore.id || current.from !== from)
      this.#current = this.#toStart = { type: "restore", from, restore };
    return false;
  }

  stored(id: string): void {
    this.#stored.add(id);
    if (this.#current?.type === "restore" && this.#current.restore.id === id) this.ended();
  }

  applied(id: string): void {
    this.#stored.delete(id);
  }

  ended(): void {
    this.#current = this.#toStart = null;
  }
}
