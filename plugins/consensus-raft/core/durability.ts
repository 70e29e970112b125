import type { Entry, HardState, SnapshotMeta } from "./types.js";

/** What the disk was given with the last effects, and what it has. */
export class Durability {
  #saved: HardState;
  #handed: HardState;
  #last: Pick<Entry, "index" | "term"> | null = null;
  #snapshot: SnapshotMeta | null = null;

  constructor(stored: HardState) {
    this.#saved = this.#handed = stored;
  }

  /** Term of which the disk knows. */
  get savedTerm(): number {
    return this.#saved.term;
  }

  mustSync({ term, vote }: HardState): boolean {
    return this.#handed.term !== term || this.#handed.vote !== vote;
  }

  changed(state: HardState): boolean {
    return this.mustSync(state) || this.#handed.commit !== state.commit;
  }

  /** The next write: hard state, last of the entries if there are any, and a snapshot as the log's new start. */
  hand(state: HardState, last: Entry | undefined, snapshot: SnapshotMeta | null): void {
    this.#handed = state;
    if (last !== undefined) this.#last = { index: last.index, term: last.term };
    this.#snapshot = snapshot;
  }

  /** It was written; gives the last entry of it. */
  confirm(): Pick<Entry, "index" | "term"> | null {
    const last = this.#last;
    this.#saved = this.#handed;
    this.#last = this.#snapshot = null;
    return last;
  }

  /** Nothing of it was written; gives the snapshot of it. */
  refuse(): SnapshotMeta | null {
    const snapshot = this.#snapshot;
    this.#handed = this.#saved;
    this.#last = this.#snapshot = null;
    return snapshot;
  }

  /** Entries under way belong to a log that is replaced. */
  forgetEntries(): void {
    this.#last = null;
  }
}
