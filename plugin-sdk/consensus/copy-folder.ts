/**
 * A copy of the state as a folder: `state/` as the machine wrote it, and `meta` beside it, which lists every file with its
 * SHA-256. Written under a temporary name, flushed, then renamed, so that a folder under its own name is whole.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { decodeMeta, encodeMeta } from "./checked-json.js";

export interface CopyFile {
  /** Relative to the folder, with `/`; below `state/`. */
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

export interface CopyMeta {
  /** What the copy stands for, as its maker gave it. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly files: readonly CopyFile[];
  /** SHA-256 of `meta` itself: two copies with the same are the same. */
  readonly checksum: string;
}

const META = "meta";
const STATE = "state";

export const stateOf = (folder: string): string => join(folder, STATE);

/** Makes the folders of an empty copy. */
export async function makeCopy(folder: string): Promise<void> {
  await mkdir(stateOf(folder), { recursive: true, mode: 0o700 });
}

/** Lists and flushes what `state/` holds, and writes `meta`. */
export async function sealCopy(folder: string, about: object): Promise<void> {
  const files = await flushTree(stateOf(folder), folder);
  await writeMeta(folder, encodeMeta({ ...about, files }));
}

/** Changes what a finished copy stands for. */
export async function describeAnew(folder: string, about: Readonly<Record<string, unknown>>): Promise<void> {
  const meta = await readMeta(folder);
  await writeMeta(folder, encodeMeta({ ...meta.about, ...about, files: meta.files }));
}

export async function writeMeta(folder: string, record: Uint8Array): Promise<void> {
  const temporary = join(folder, `${META}.tmp`);
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(record);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, join(folder, META));
  await flush(folder);
}

export function readMetaRecord(folder: string): Promise<Buffer> {
  return readFile(join(folder, META));
}

export async function readMeta(folder: string): Promise<CopyMeta> {
  return parseMeta(await readMetaRecord(folder));
}

/** Reads `meta`, of this disk or of another server; throws an Error that says what is wrong with it. */
export function parseMeta(record: Buffer): CopyMeta {
  const { files, ...about } = decodeMeta(record) as { files?: unknown } & Record<string, unknown>;
  if (!Array.isArray(files)) throw new TypeError("its metadata lists no files");
  for (const file of files as Partial<CopyFile>[]) {
    const { path, size, sha256 } = file;
    const steps = typeof path === "string" ? path.split("/") : [];
    // Another server names these paths: none may lead out of the folder.
    const inside =
      steps.length > 1 && steps[0] === STATE && !steps.some((step) => ["", ".", ".."].includes(step));
    if (
      !inside ||
      path!.includes("\\") ||
      path!.includes("\0") ||
      !Number.isSafeInteger(size) ||
      size! < 0 ||
      typeof sha256 !== "string"
    )
      throw new TypeError(`its metadata lists a file that can't be: ${JSON.stringify(file)}`);
  }
  const checksum = createHash("sha256").update(record).digest("hex");
  return { about, files: files as CopyFile[], checksum };
}

/** Compares every file with its checksum; throws an Error that names the first one that differs. */
export async function verifyCopy(folder: string): Promise<void> {
  const { files } = await readMeta(folder);
  for (const { path, size, sha256 } of files) {
    const file = join(folder, path);
    const actual = await measure(file);
    if (actual.size !== size || actual.sha256 !== sha256) {
      throw new Error(`${file} differs from what was written (size or checksum)`);
    }
  }
}

/** Flushes every file and folder below `folder`; gives the files with their checksums, paths relative to `root`. */
export async function flushTree(folder: string, root: string): Promise<CopyFile[]> {
  const files: CopyFile[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      files.push(...(await flushTree(path, root)));
    } else if (entry.isFile()) {
      await flush(path);
      files.push({ path: relative(root, path).split(sep).join("/"), ...(await measure(path)) });
    } else {
      throw new Error(`${path} is neither a file nor a folder`);
    }
  }
  await flush(folder);
  return files;
}

/** In chunks, between which the event loop has its turn. */
async function measure(path: string): Promise<{ size: number; sha256: string }> {
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
  return { size, sha256: hash.digest("hex") };
}

/** Waits until a file or folder is on the disk. */
export async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
