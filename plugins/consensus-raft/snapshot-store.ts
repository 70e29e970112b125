import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Logger } from "@drover/plugin-sdk";
import { parseConfiguration } from "./core/configuration.js";
import type { SnapshotMeta } from "./core/types.js";
import { decodeMeta, encodeMeta } from "./entry-record.js";

/** A finished snapshot: `state/` as the machine wrote it and `meta` beside it. */
export interface StoredSnapshot {
  readonly meta: SnapshotMeta;
  /** Folder to restore from. */
  readonly state: string;
}

interface SnapshotFile {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

const NAME = /^\d+-\d+$/;
const TEMPORARY = "tmp-";

/** Snapshots as folders `<term>-<index>`, written under a temporary name, flushed, then renamed. */
export class SnapshotStore {
  constructor(
    private readonly root: string,
    private readonly retain: number,
    private readonly log: Logger,
  ) {}

  /** Makes the folder and removes what an interrupted snapshot left. */
  async open(): Promise<void> {
    await mkdir(this.root, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.root)) {
      if (name.startsWith(TEMPORARY)) await rm(join(this.root, name), { recursive: true, force: true });
    }
  }

  /** Every readable snapshot, newest first; one with damaged metadata is reported and left where it is. */
  async list(): Promise<StoredSnapshot[]> {
    const found: StoredSnapshot[] = [];
    for (const name of await readdir(this.root)) {
      if (!NAME.test(name)) continue;
      const folder = join(this.root, name);
      try {
        const { meta } = await readMeta(folder);
        found.push({ meta, state: join(folder, "state") });
      } catch (error) {
        this.log.warn({ folder, error: (error as Error).message }, "snapshot can't be read and is not used");
      }
    }
    return found.sort((a, b) => b.meta.index - a.meta.index);
  }

  /** Compares every file with its checksum; throws an Error that names the first one that differs. */
  async verify(snapshot: StoredSnapshot): Promise<void> {
    const folder = join(snapshot.state, "..");
    const { files } = await readMeta(folder);
    for (const expected of files) {
      const actual = await describeFile(join(folder, expected.path), folder);
      if (actual.size !== expected.size || actual.sha256 !== expected.sha256) {
        throw new Error(`${join(folder, expected.path)} differs from what was written (size or checksum)`);
      }
    }
  }

  /**
   * Takes a snapshot: `write` fills a folder and gives the index it stands for, `describe` says what that index means.
   * Nothing remains of a snapshot that fails.
   */
  async create(
    write: (folder: string) => Promise<number>,
    describe: (index: number) => SnapshotMeta,
  ): Promise<SnapshotMeta> {
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
}

async function readMeta(folder: string): Promise<{ meta: SnapshotMeta; files: SnapshotFile[] }> {
  const value = decodeMeta(await readFile(join(folder, "meta"))) as Partial<
    SnapshotMeta & { files: SnapshotFile[] }
  >;
  const { index, term, files } = value;
  if (typeof index !== "number" || typeof term !== "number" || !Array.isArray(files)) {
    throw new TypeError("its metadata lacks index, term or files");
  }
  return { meta: { index, term, configuration: parseConfiguration(value.configuration) }, files };
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
