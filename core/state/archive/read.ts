/** Reading of snapshot archives: see layout.ts. */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Transform, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { type Entry, type Extract, extract } from "tar-stream";
import {
  ArchiveError,
  type ArchiveMeta,
  META_FILE,
  META_LIMIT,
  parseMeta,
  STATE_FOLDER,
  SUMS_FILE,
  sumLine,
} from "./layout.js";
import { unseal } from "./seal.js";

/**
 * Bytes of tar that may be unpacked and not belong to a file: headers, padding, and what is in the streams' buffers. More
 * is an archive that would be gathered in memory.
 */
const OVERHEAD_LIMIT = 4 * 1024 * 1024;

/**
 * Reads an archive to its end and checks all of it. `accept` is told what the archive says of itself before anything is
 * unpacked: it throws to refuse it, or gives the empty folder to unpack the state's files to; undefined only checks. Memory
 * does not grow with the state. Rejects with an ArchiveError for anything but a whole archive of this version; what is in
 * the folder then is worthless. An error of the source and of `accept` comes as it is.
 */
export async function readArchive(
  source: AsyncIterable<Uint8Array>,
  accept: (meta: ArchiveMeta) => Promise<string | undefined> | string | undefined,
): Promise<ArchiveMeta> {
  const tar = extract();
  // Not the archive's fault: told as they are.
  let elsewhere: Error | undefined;
  const note = (error: unknown): never => {
    elsewhere ??= error as Error;
    throw error;
  };
  const contents = new Contents(async (meta) => Promise.resolve(meta).then(accept).catch(note));
  const abandon = (error: Error): never => {
    tar.destroy(error);
    throw error;
  };
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* source;
    } catch (error) {
      note(error);
    }
  }
  const results = await Promise.allSettled([
    contents.read(tar).catch(abandon),
    pipeline(watched(), unseal(), createGunzip(), contents.guard(), tar as unknown as Writable).catch(
      abandon,
    ),
  ]);
  if (elsewhere !== undefined) throw elsewhere;
  const [reading, feeding] = results;
  if (reading.status === "rejected" || feeding.status === "rejected") throw causeOf(results);
  return reading.value;
}

/** What the entries of the tar file must be, one after the other. */
class Contents {
  /** Bytes given to the tar reader and not yet seen as part of a file. */
  #overhead = 0;

  constructor(private readonly accept: (meta: ArchiveMeta) => Promise<string | undefined>) {}

  /** Passes unpacked bytes on as long as they are the contents of files. */
  guard(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#overhead += chunk.length;
        if (this.#overhead > OVERHEAD_LIMIT) done(new ArchiveError("its headers are too large"));
        else done(null, chunk);
      },
    });
  }

  async read(tar: Extract): Promise<ArchiveMeta> {
    const entries = tar[Symbol.asyncIterator]() as AsyncIterator<Entry>;
    const next = async (name: string): Promise<Entry> => {
      const { value, done } = await entries.next();
      if (done === true) throw new ArchiveError(`${name} is missing`);
      const { header } = value as Entry;
      if (header.name !== name || header.type !== "file") {
        throw new ArchiveError(
          `it has ${header.type} ${JSON.stringify(header.name)} where the file ${name} belongs`,
        );
      }
      return value as Entry;
    };
    const first = await next(META_FILE);
    const metaBytes = await this.#small(first, META_FILE, META_LIMIT);
    const meta = parseMeta(metaBytes);
    let sums = sumLine(createHash("sha256").update(metaBytes).digest("hex"), META_FILE);
    const folder = await this.accept(meta);
    for (const { Name, Size } of meta.Files) {
      const name = `${STATE_FOLDER}${Name}`;
      const entry = await next(name);
      if (entry.header.size !== Size) {
        throw new ArchiveError(`${name} has ${entry.header.size} bytes, and ${META_FILE} says ${Size}`);
      }
      sums += sumLine(await this.#unpack(entry, folder === undefined ? undefined : join(folder, Name)), name);
    }
    const said = await this.#small(await next(SUMS_FILE), SUMS_FILE, Buffer.byteLength(sums));
    if (said.toString("utf8") !== sums) throw new ArchiveError(`${SUMS_FILE} does not match the files`);
    const after = await entries.next();
    if (after.done !== true) {
      throw new ArchiveError(`${JSON.stringify((after.value as Entry).header.name)} does not belong in it`);
    }
    return meta;
  }

  async #small(entry: Entry, name: string, limit: number): Promise<Buffer> {
    const { size = 0 } = entry.header;
    if (size > limit) throw new ArchiveError(`${name} has ${size} bytes, more than ${limit}`);
    const chunks: Buffer[] = [];
    for await (const chunk of this.#bytes(entry)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** Gives the SHA-256. */
  async #unpack(entry: Entry, path: string | undefined): Promise<string> {
    const hash = createHash("sha256");
    const file = path === undefined ? undefined : await open(path, "wx", 0o600);
    try {
      for await (const chunk of this.#bytes(entry)) {
        hash.update(chunk);
        await file?.writeFile(chunk);
      }
    } finally {
      await file?.close();
    }
    return hash.digest("hex");
  }

  async *#bytes(entry: Entry): AsyncGenerator<Buffer> {
    for await (const chunk of entry) {
      this.#overhead -= (chunk as Buffer).length;
      yield chunk as Buffer;
    }
  }
}

/**
 * The error that tells the operator most: a refusal of ours before what gzip or tar say of the same damage, and an error of
 * the disk as it is.
 */
function causeOf(results: readonly PromiseSettledResult<unknown>[]): Error {
  const errors = results.flatMap((result) => (result.status === "rejected" ? [result.reason as Error] : []));
  const ofDisk = ({ code, errno, syscall }: NodeJS.ErrnoException): boolean =>
    code !== undefined && errno !== undefined && syscall !== undefined;
  const telling = errors.find((error) => error instanceof ArchiveError) ?? errors.find(ofDisk);
  if (telling !== undefined) return telling;
  const [error] = errors;
  return new ArchiveError(`it is damaged or cut short (${error?.message})`, { cause: error });
}
