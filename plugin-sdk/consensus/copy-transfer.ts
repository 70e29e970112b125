/** Copies of the state between servers: a stream of checked chunks that goes on where it broke off. */
import { once } from "node:events";
import { type FileHandle, mkdir, open, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Duplex } from "node:stream";
import { crc32 } from "node:zlib";
import { Packr } from "msgpackr";
import {
  type CopyFile,
  type CopyMeta,
  flushTree,
  makeCopy,
  parseMeta,
  readMeta,
  readMetaRecord,
  stateOf,
  verifyCopy,
  writeMeta,
} from "./copy-folder.js";
import { DiskFullError } from "./errors.js";
import { readFrames, writeFrame } from "./frames.js";

const CHUNK = 256 * 1024;
const CRC = 4;
/** The list of files is small; a state store writes two. */
const MAX_FRAME = 1024 * 1024;
const packr = new Packr({ useRecords: false });

/** How much of a copy the receiver has already. */
export interface Resume {
  /** Checksum of the copy's metadata; null when nothing is there. */
  readonly checksum: string | null;
  /** Bytes of its files, taken in the order of the metadata. */
  readonly offset: number;
}

/**
 * Sends the copy in `folder`: a frame with its metadata and the offset at which the bytes begin, then frames of a CRC-32 and
 * up to 256 KiB each. As fast as the other end takes it; one chunk is in memory.
 */
export async function sendCopy(stream: Duplex, folder: string, resume: Resume): Promise<void> {
  const record = await readMetaRecord(folder);
  const meta = parseMeta(record);
  const offset = resume.checksum === meta.checksum ? Math.min(resume.offset, size(meta.files)) : 0;
  await send(stream, packr.pack({ meta: record, offset }));
  let skip = offset;
  for (const file of meta.files) {
    if (skip >= file.size) {
      skip -= file.size;
      continue;
    }
    const handle = await open(join(folder, file.path), "r");
    try {
      for (let position = skip; position < file.size; ) {
        const frame = Buffer.allocUnsafe(CRC + Math.min(CHUNK, file.size - position));
        const { bytesRead } = await handle.read(frame, CRC, frame.length - CRC, position);
        if (bytesRead === 0) throw new Error(`${file.path} of the copy in ${folder} is shorter than it was`);
        const body = frame.subarray(0, CRC + bytesRead);
        body.writeUInt32LE(crc32(body.subarray(CRC)), 0);
        await send(stream, body);
        position += bytesRead;
      }
    } finally {
      await handle.close();
    }
    skip = 0;
  }
  stream.end();
}

async function send(stream: Duplex, body: Uint8Array): Promise<void> {
  if (stream.destroyed) throw new Error("the receiver closed the stream");
  if (writeFrame(stream, body)) return;
  const ended = new AbortController();
  const closed = () => ended.abort();
  stream.once("close", closed);
  try {
    await once(stream, "drain", { signal: ended.signal });
  } catch (error) {
    if (ended.signal.aborted) throw new Error("the receiver closed the stream", { cause: error });
    throw error;
  } finally {
    stream.off("close", closed);
  }
}

/** What is in `folder` of a copy that was begun; what can't be gone on with is removed. */
export async function resumeOf(folder: string): Promise<Resume> {
  try {
    const { files, checksum } = await readMeta(folder);
    return { checksum, offset: await present(folder, files) };
  } catch {
    // Nothing was begun, or its metadata did not reach the disk.
    await rm(folder, { recursive: true, force: true });
    return { checksum: null, offset: 0 };
  }
}

/** Bytes of the files, in order, up to the first one that is not whole. */
async function present(folder: string, files: readonly CopyFile[]): Promise<number> {
  let offset = 0;
  for (const { path, size: whole } of files) {
    const found = await stat(join(folder, path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    offset += Math.min(found?.size ?? 0, whole);
    if ((found?.size ?? 0) < whole) break;
  }
  return offset;
}

export interface ReceiveOptions {
  /** Bytes that the disk of `folder` has left for it. */
  readonly free: () => number;
  /** Called for every chunk, so that a silent stream can be told from a slow one. */
  readonly progressed: () => void;
}

/**
 * Receives what `sendCopy` sends into `folder`, flushes and checks it. An error of the stream leaves what came, to go on
 * with; a copy that is wrong as a whole is removed.
 */
export async function receiveCopy(
  stream: Duplex,
  folder: string,
  options: ReceiveOptions,
): Promise<CopyMeta> {
  const frames = readFrames(stream, MAX_FRAME);
  const first = await frames.next();
  if (first.done === true) throw new Error("the stream of the copy ended before it began");
  const { record, meta, offset } = readHeader(first.value);
  if (offset === 0) {
    await rm(folder, { recursive: true, force: true });
    await makeCopy(folder);
    await writeMeta(folder, record);
  } else if (
    (await readMeta(folder)).checksum !== meta.checksum ||
    (await present(folder, meta.files)) < offset
  ) {
    throw new Error("the sender goes on with another copy than the one that was begun here");
  }
  const missing = size(meta.files) - offset;
  if (missing > options.free()) {
    throw new DiskFullError(
      `no space for a copy of the state in ${folder}: ${missing} bytes are missing, and ${options.free()} are free; make room there`,
    );
  }
  const writer = new FilesWriter(folder, meta.files, offset);
  try {
    for await (const frame of frames) {
      options.progressed();
      const data = frame.subarray(CRC);
      if (frame.length <= CRC || crc32(data) !== frame.readUInt32LE(0)) {
        throw new Error("a chunk of the copy was damaged on its way");
      }
      await writer.write(data);
    }
  } finally {
    await writer.close();
  }
  if (!writer.complete) throw new Error("the stream of the copy ended early");
  await flushTree(stateOf(folder), folder);
  try {
    await verifyCopy(folder);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return meta;
}

function readHeader(frame: Buffer): { record: Buffer; meta: CopyMeta; offset: number } {
  const { meta, offset } = packr.unpack(frame) as { meta?: unknown; offset?: unknown };
  if (!(meta instanceof Uint8Array) || !Number.isSafeInteger(offset) || (offset as number) < 0) {
    throw new Error("the stream of the copy begins with something else than its metadata");
  }
  const record = Buffer.from(meta);
  return { record, meta: parseMeta(record), offset: offset as number };
}

/** Writes bytes to files that follow each other. */
class FilesWriter {
  #file = 0;
  #position: number;
  #handle: FileHandle | undefined;

  constructor(
    private readonly folder: string,
    private readonly files: readonly CopyFile[],
    offset: number,
  ) {
    this.#position = offset;
  }

  /** Whether every file was written to its end; to be asked after `close`. */
  get complete(): boolean {
    return this.#file === this.files.length;
  }

  async write(data: Buffer): Promise<void> {
    let rest = data;
    while (rest.length > 0) {
      const file = this.files[this.#file];
      if (file === undefined) throw new Error("more bytes of the copy came than its metadata lists");
      if (this.#position >= file.size) {
        await this.#next(file);
        continue;
      }
      this.#handle ??= await this.#open(file);
      const part = rest.subarray(0, file.size - this.#position);
      await this.#handle.write(part, 0, part.length, this.#position);
      this.#position += part.length;
      rest = rest.subarray(part.length);
    }
  }

  async close(): Promise<void> {
    // Empty files at the end have no bytes that could bring them about.
    for (const file of this.files.slice(this.#file)) {
      if (this.#position < file.size) break;
      await this.#next(file);
    }
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async #next(file: CopyFile): Promise<void> {
    this.#handle ??= await this.#open(file);
    await this.#handle.close();
    this.#handle = undefined;
    this.#position -= file.size;
    this.#file++;
  }

  async #open(file: CopyFile): Promise<FileHandle> {
    const path = join(this.folder, file.path);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    // What is beyond the position is of an earlier try and is written again.
    const handle = await open(path, this.#position > 0 ? "r+" : "w", 0o600);
    await handle.truncate(Math.min(this.#position, file.size));
    return handle;
  }
}

const size = (files: readonly CopyFile[]): number => files.reduce((sum, file) => sum + file.size, 0);
