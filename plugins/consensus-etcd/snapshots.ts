import { randomUUID } from "node:crypto";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import type { Logger, StateMachine } from "@drover/plugin-sdk";
import { type SnapshotPosition, SnapshotStore, type StoredSnapshot } from "@drover/plugin-sdk/consensus";
import { type Position, type RestoreReference, sha256 } from "./records.js";

/** Snapshots kept, and copies kept for a restore. */
const RETAIN = 2;

/** A copy that an operator gave to be put in force; index and term are those of the log when it was taken in. */
export interface StagedMeta extends SnapshotPosition {
  readonly id: string;
}

/** Copies of the state in this server's folder: its own snapshots, and what is to be restored. */
export class Snapshots {
  readonly #own: SnapshotStore<SnapshotPosition>;
  readonly #staged: SnapshotStore<StagedMeta>;

  constructor(
    folder: string,
    private readonly log: Logger,
  ) {
    this.#own = new SnapshotStore(join(folder, "snapshots"), RETAIN, log, ({ index, term }) => ({
      index,
      term,
    }));
    this.#staged = new SnapshotStore(join(folder, "restores"), RETAIN, log, ({ index, term, id }) => {
      if (typeof id !== "string") throw new TypeError("its metadata lacks the id");
      return { index, term, id };
    });
  }

  async open(): Promise<void> {
    await this.#own.open();
    await this.#staged.open();
  }

  /** The newest snapshot, undamaged as far as its metadata go. */
  async newest(): Promise<StoredSnapshot<SnapshotPosition> | undefined> {
    return (await this.#own.list())[0];
  }

  take(machine: StateMachine, termOf: (index: number) => number): Promise<SnapshotPosition> {
    return this.#own.create(
      (folder) => machine.snapshot(folder),
      (index) => ({ index, term: termOf(index) }),
    );
  }

  /** Keeps a snapshot that `write` brings from elsewhere; it must throw where a file is not what it should be. */
  keep(position: Position, write: (folder: string) => Promise<void>): Promise<SnapshotPosition> {
    return this.#own.create(
      async (folder) => {
        await write(folder);
        return position.index;
      },
      () => position,
    );
  }

  /** The newest snapshot at or after `index` whose files are as they were written. */
  async usable(index: number): Promise<StoredSnapshot<SnapshotPosition> | undefined> {
    for (const snapshot of await this.#own.list()) {
      if (snapshot.meta.index < index) break;
      if (await this.#isWhole(this.#own, snapshot)) return snapshot;
    }
    return undefined;
  }

  /** Copies an operator's folder for a restore. */
  async stage(folder: string, at: Position): Promise<RestoreReference> {
    const id = randomUUID();
    await this.#staged.create(
      async (state) => {
        await cp(folder, state, { recursive: true });
        return at.index;
      },
      () => ({ ...at, id }),
    );
    const staged = await this.#byId(id);
    if (staged === undefined) throw new Error(`the copy of ${folder} is gone again`);
    return { id, digest: await this.#digest(staged) };
  }

  /** Keeps another server's staged copy. */
  async keepStaged(meta: StagedMeta, write: (folder: string) => Promise<void>): Promise<void> {
    await this.#staged.create(
      async (state) => {
        await write(state);
        return meta.index;
      },
      () => meta,
    );
  }

  /** A staged copy that is what the log says of it. */
  async staged({ id, digest }: RestoreReference): Promise<StoredSnapshot<StagedMeta> | undefined> {
    const found = await this.#byId(id);
    if (found === undefined || !(await this.#isWhole(this.#staged, found))) return undefined;
    return (await this.#digest(found)) === digest ? found : undefined;
  }

  /** Files of a snapshot of either kind, for sending. */
  async describe(
    which: StoredSnapshot<SnapshotPosition> | StoredSnapshot<StagedMeta>,
  ): Promise<Awaited<ReturnType<SnapshotStore<SnapshotPosition>["files"]>>> {
    return this.#own.files(which);
  }

  async #byId(id: string): Promise<StoredSnapshot<StagedMeta> | undefined> {
    return (await this.#staged.list()).find(({ meta }) => meta.id === id);
  }

  async #digest(staged: StoredSnapshot<StagedMeta>): Promise<string> {
    const files = await this.#staged.files(staged);
    const lines = files.map(({ path, size, sha256: sum }) => `${sum} ${size} ${path}`).sort();
    return sha256(lines.join("\n"));
  }

  async #isWhole<Meta extends SnapshotPosition>(
    store: SnapshotStore<Meta>,
    snapshot: StoredSnapshot<Meta>,
  ): Promise<boolean> {
    try {
      await store.verify(snapshot);
      return true;
    } catch (error) {
      this.log.error(
        { folder: snapshot.state, error: (error as Error).message },
        "a copy of the state is damaged and is not used",
      );
      return false;
    }
  }
}
