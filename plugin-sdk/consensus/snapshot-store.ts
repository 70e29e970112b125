import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Logger } from "../contracts/platform.js";
import { decodeMeta, encodeMeta } from "./checked-json.js";

/** What a snapshot stands for; an engine adds what else it must know of it. */
export interface SnapshotPosition {
  readonly index: number;
  readonly term: number;
}

/** A finished snapshot: `state/` as the machine wrote it and `meta` beside it. */
export interface StoredSnapshot<Meta extends SnapshotPosition> {
  readonly meta: Meta;
  /** Folder to restore from. */
  readonly state: string;
}

export interface SnapshotFile {
  /** Relative to the snapshot's folder, so that it begins with `state/`. */
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

const NAME = /^\d+-\d+$/;
const TEMPORARY = "tmp-";

/** Snapshots as folders `<term>-<index>`, written under a temporary name, flushed, then renamed. */
export class SnapshotStore<Meta extends SnapshotPosition> {
  constructor(
    private readonly root: string,
    private readonly retain: number,
    private readonly log: Logger,
    /** Checks the metadata of a snapshot, which has index and term; throws an Error that says what is wrong with it. */
    private readonly parse: (value: SnapshotPosition & Readonly<Record<string, unknown>>) => Meta,
  ) {}

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
        const { meta } = await this.#read(folder);
        found.push({ meta, state: join(folder, "state") });
      } catch (error) {
        this.log.warn({ folder, error: (error as Error).message }, "snapshot can't be read and is not used");
      }
    }
    return found.sort((a, b) => b.meta.index - a.meta.index);
  }

  /** Compares every file with its checksum; throws an Error that names the first one that differs. */
  async verify(snapshot: StoredSnapshot<Meta>): Promise<void> {
    const folder = join(snapshot.state, "..");
    for (const expected of await this.files(snapshot)) {
      const actual = await describeFile(join(folder, expected.path), folder);
      if (actual.size !== expected.size || actual.sha256 !== expected.sha256) {
        throw new Error(`${join(folder, expected.path)} differs from what was written (size or checksum)`);
      }
    }
  }

  /** Every file of a snapshot, as it was written. */
  async files(snapshot: StoredSnapshot<Meta>): Promise<readonly SnapshotFile[]> {
    return (await this.#read(join(snapshot.state, ".."))).files;
  }

  /**
   * Takes a snapshot: `write` fills a folder and gives the index it stands for, `describe` says what that index means.
   * Nothing remains of a snapshot that fails.
   */
  async create(write: (folder: string) => Promise<number>, describe: (index: number) => Meta): Promise<Meta> {
    const folder = join(this.root, `${TEMPORARY}${randomUUID()}`);
    const state = join(folder, "state");
    try {
      await mkdir(state, { recursive: true, mode: 0o700 });
      const meta = describe(await write(state));
      const files = await flushTree(state, folder);
      await writeDurably(join(folder, "meta"), encodeMeta({ ...meta, files }));
      await flush(folder);
      const target = join(this.root, `${meta.term}-${meta.index}`);
      await rm(target, { recursive: true, force: true });
      await rename(folder, target);
      await flush(this.root);
      await this.#prune();
      return meta;
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async #prune(): Promise<void> {
    for (const old of (await this.list()).slice(this.retain)) {
      await rm(join(old.state, ".."), { recursive: true, force: true });
    }
  }

  async #read(folder: string): Promise<{ meta: Meta; files: SnapshotFile[] }> {
    const value = decodeMeta(await readFile(join(folder, "meta"))) as Readonly<Record<string, unknown>>;
    const { index, term, files } = value;
    if (typeof index !== "number" || typeof term !== "number" || !Array.isArray(files)) {
      throw new TypeError("its metadata lacks index, term or files");
    }
    return { meta: this.parse({ ...value, index, term }), files };
  }
}

/** Flushes every file and folder below `folder`; gives the files with their checksums, paths relative to `root`. */
async function flushTree(folder: string, root: string): Promise<SnapshotFile[]> {
  const files: SnapshotFile[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      files.push(...(await flushTree(path, root)));
    } else if (entry.isFile()) {
      await flush(path);
      files.push(await describeFile(path, root));
    } else {
      throw new Error(`snapshot file ${path} is neither a file nor a folder`);
    }
  }
  await flush(folder);
  return files;
}

async function describeFile(path: string, root: string): Promise<SnapshotFile> {
  const hash = createHash("sha256");
  let size = 0;
  await pipeline(
    createReadStream(path, { highWaterMark: 256 * 1024 }),
    async (source: AsyncIterable<Buffer>) => {
      for await (const chunk of source) {
        size += chunk.length;
        hash.update(chunk);
      }
    },
  );
  return { path: relative(root, path), size, sha256: hash.digest("hex") };
}

async function writeDurably(path: string, data: Buffer): Promise<void> {
  const handle = await open(path, "wx", 0o600);
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
