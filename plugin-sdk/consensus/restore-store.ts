import { existsSync } from "node:fs";
import { cp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { flush, makeCopy, readMeta, sealCopy, stateOf, verifyCopy } from "./copy-folder.js";

/** A stored copy, as an entry of the log names it. */
export interface RestoreReference {
  readonly id: string;
  /** SHA-256 of the copy's metadata, which has those of its files. */
  readonly checksum: string;
}

const ID = /^[0-9a-f-]{36}$/;
const INCOMING = "incoming-";

/** Copies of the state that `restore` entries of the log name, each in a folder under its id, for as long as the log has the entry. */
export class RestoreStore {
  /** Index of the entry that names a copy, by the copy's id. */
  readonly #named = new Map<string, number>();

  constructor(private readonly root: string) {}

  /** Removes copies that no entry noted so far names. */
  async open(): Promise<void> {
    if (!existsSync(this.root)) return;
    for (const name of await readdir(this.root)) {
      if (!this.#named.has(name)) await rm(join(this.root, name), { recursive: true, force: true });
    }
  }

  /** The entry at `index` of the log names the copy `id`. */
  note(index: number, id: string): void {
    this.#named.set(id, index);
  }

  /**
   * For an engine that reads its log from the last applied entry on: what is there counts as named by that entry, as long as
   * no later one names it.
   */
  async noteStored(index: number): Promise<void> {
    if (!existsSync(this.root)) return;
    for (const name of await readdir(this.root)) if (ID.test(name)) this.note(index, name);
  }

  /** Removes copies of entries up to `base`, which are in the log no more. */
  async compacted(base: number): Promise<void> {
    for (const [id, index] of [...this.#named]) {
      if (index > base) continue;
      this.#named.delete(id);
      await this.remove(id);
    }
  }

  folder(id: string): string {
    // The id may come from another server.
    if (!ID.test(id)) throw new Error(`"${id}" can't be the id of a copy of the state`);
    return join(this.root, id);
  }

  /** Where a copy of another server is put together. */
  incoming(id: string): string {
    return join(this.root, `${INCOMING}${this.folder(id).slice(this.root.length + 1)}`);
  }

  /** Takes a copy of what is in `source`, durably. */
  async create(id: string, source: string): Promise<RestoreReference> {
    const folder = this.incoming(id);
    try {
      await makeCopy(folder);
      await cp(source, stateOf(folder), { recursive: true });
      await sealCopy(folder, { id });
      return await this.adopt(id);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Puts a whole copy that is on the disk in its place. */
  async adopt(id: string): Promise<RestoreReference> {
    const target = this.folder(id);
    await rename(this.incoming(id), target);
    await flush(this.root);
    return { id, checksum: (await readMeta(target)).checksum };
  }

  /** Folder to restore from; throws when the copy is not the one that was meant, or is damaged. */
  async verified({ id, checksum }: RestoreReference): Promise<string> {
    const folder = this.folder(id);
    const meta = await readMeta(folder);
    if (meta.checksum !== checksum) throw new Error(`${folder} is not the copy that the log names`);
    await verifyCopy(folder);
    return stateOf(folder);
  }

  /** Removes a copy that no entry names after all. */
  async remove(id: string): Promise<void> {
    await rm(this.folder(id), { recursive: true, force: true });
  }
}
