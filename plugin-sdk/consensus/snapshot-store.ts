import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../contracts/platform.js";
import { describeAnew, flush, makeCopy, readMeta, sealCopy, stateOf, verifyCopy } from "./copy-folder.js";

/** What a snapshot stands for; an engine adds what else it must know of it. */
export interface SnapshotPosition {
  readonly index: number;
  readonly term: number;
}

/** A finished snapshot. */
export interface StoredSnapshot<Meta extends SnapshotPosition> {
  readonly meta: Meta;
  readonly folder: string;
  /** Folder to restore from. */
  readonly state: string;
  /** Tells it from another server's snapshot at the same index. */
  readonly checksum: string;
}

const NAME = /^\d+-\d+$/;
const TEMPORARY = "tmp-";

/** Snapshots as folders `<term>-<index>`. */
export class SnapshotStore<Meta extends SnapshotPosition> {
  /** How many readers each folder has; one that is read is not removed. */
  readonly #held = new Map<string, number>();

  constructor(
    private readonly root: string,
    private readonly retain: number,
    private readonly log: Logger,
    /** Reads what a snapshot stands for of its metadata; throws an Error that says what is wrong with it. */
    private readonly parse: (about: Readonly<Record<string, unknown>>) => Meta,
  ) {}

  /** Where a snapshot of another server is put together; what is there when its stream breaks is gone on with later. */
  get incoming(): string {
    return join(this.root, "incoming");
  }

  /** Makes the folder and removes what an interrupted snapshot left. */
  async open(): Promise<void> {
    await mkdir(this.root, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.root)) {
      if (name.startsWith(TEMPORARY)) await rm(join(this.root, name), { recursive: true, force: true });
    }
  }

  /** Every readable snapshot, newest first; one with damaged metadata is reported and left where it is. */
  async list(): Promise<StoredSnapshot<Meta>[]> {
    const found: StoredSnapshot<Meta>[] = [];
    for (const name of await readdir(this.root)) {
      if (!NAME.test(name)) continue;
      const folder = join(this.root, name);
      try {
        const { about, checksum } = await readMeta(folder);
        found.push({ meta: this.parse(about), folder, state: stateOf(folder), checksum });
      } catch (error) {
        this.log.warn({ folder, error: (error as Error).message }, "snapshot can't be read and is not used");
      }
    }
    return found.sort((a, b) => b.meta.index - a.meta.index);
  }

  /** Compares every file with its checksum; throws an Error that names the first one that differs. */
  verify(snapshot: StoredSnapshot<Meta>): Promise<void> {
    return verifyCopy(snapshot.folder);
  }

  /** Keeps a snapshot from being removed until the function that it gives is called. */
  hold(snapshot: StoredSnapshot<Meta>): () => void {
    const { folder } = snapshot;
    this.#held.set(folder, (this.#held.get(folder) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.#held.get(folder)! - 1;
      if (left > 0) this.#held.set(folder, left);
      else this.#held.delete(folder);
    };
  }

  /**
   * Takes a snapshot: `write` fills a folder and gives the index it stands for, `describe` says what that index means.
   * Nothing remains of a snapshot that fails.
   */
  async create(write: (folder: string) => Promise<number>, describe: (index: number) => Meta): Promise<Meta> {
    const folder = join(this.root, `${TEMPORARY}${randomUUID()}`);
    try {
      await makeCopy(folder);
      await sealCopy(folder, describe(await write(stateOf(folder))));
      return await this.adopt(folder);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Puts a whole copy that is on the disk in its place. */
  async adopt(folder: string): Promise<Meta> {
    const meta = this.parse((await readMeta(folder)).about);
    const target = join(this.root, `${meta.term}-${meta.index}`);
    await rm(target, { recursive: true, force: true });
    await rename(folder, target);
    await flush(this.root);
    await this.#prune();
    return meta;
  }

  /** Changes what every snapshot says of itself, for an operator who recovers a cluster. */
  async describeAnew(change: Partial<Meta>): Promise<void> {
    for (const { folder } of await this.list()) await describeAnew(folder, change);
  }

  /** Folder to restore from. */
  stateOf({ term, index }: SnapshotPosition): string {
    return stateOf(join(this.root, `${term}-${index}`));
  }

  async #prune(): Promise<void> {
    for (const { folder } of (await this.list()).slice(this.retain)) {
      if (!this.#held.has(folder)) await rm(folder, { recursive: true, force: true });
    }
  }
}
