import { randomUUID } from "node:crypto";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Logger, StateMachine } from "@drover/plugin-sdk";
import {
  type RestoreReference,
  RestoreStore,
  type SnapshotPosition,
  SnapshotStore,
  type StoredSnapshot,
} from "@drover/plugin-sdk/consensus";
import { z } from "zod";

/** Snapshots kept. */
const RETAIN = 2;

const position = z.int().min(0);
const About = z.object({ index: position, term: position });

/** Copies of the state in this server's folder: its own snapshots, and what the log says is to be restored. */
export class Snapshots {
  readonly own: SnapshotStore<SnapshotPosition>;
  readonly restores: RestoreStore;

  constructor(
    readonly folder: string,
    private readonly log: Logger,
  ) {
    this.own = new SnapshotStore(join(folder, "snapshots"), RETAIN, log, (about) => About.parse(about));
    this.restores = new RestoreStore(join(folder, "restores"));
  }

  /** Removes what was interrupted; copies for restores stay until a snapshot holds what was applied up to now. */
  async open(applied: number): Promise<void> {
    await this.own.open();
    await this.restores.noteStored(applied);
  }

  /** The newest snapshot. */
  async newest(): Promise<StoredSnapshot<SnapshotPosition> | undefined> {
    return (await this.own.list())[0];
  }

  /** Takes a snapshot, and removes copies for restores that it makes superfluous. */
  async take(machine: StateMachine, termOf: (index: number) => number): Promise<SnapshotPosition> {
    const taken = await this.own.create(
      (folder) => machine.snapshot(folder),
      (index) => ({ index, term: termOf(index) }),
    );
    await this.restores.compacted(taken.index);
    return taken;
  }

  /** The newest snapshot at or after `index` whose files are as they were written. */
  async usable(index: number): Promise<StoredSnapshot<SnapshotPosition> | undefined> {
    for (const snapshot of await this.own.list()) {
      if (snapshot.meta.index < index) break;
      try {
        await this.own.verify(snapshot);
        return snapshot;
      } catch (error) {
        this.log.error(
          { folder: snapshot.folder, error: (error as Error).message },
          "snapshot is damaged; looking for another one",
        );
      }
    }
    return undefined;
  }

  /** Copies an operator's folder for a restore; `index` is where the log is now. */
  async stage(source: string, index: number): Promise<RestoreReference> {
    const reference = await this.restores.create(randomUUID(), source);
    this.restores.note(index, reference.id);
    return reference;
  }

  /** Folder of a copy for a restore, if it is here and whole. */
  async staged(reference: RestoreReference): Promise<string | undefined> {
    try {
      return await this.restores.verified(reference);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        this.log.error(
          { id: reference.id, error: (error as Error).message },
          "a copy for a restore can't be used",
        );
      }
      return undefined;
    }
  }

  /** Bytes that the disk has left. */
  async free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.folder);
    return bavail * bsize;
  }
}
