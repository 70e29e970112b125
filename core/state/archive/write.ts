/** Writing of snapshot archives: see layout.ts. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { Transform, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { type Pack, pack } from "tar-stream";
import { type ArchiveMeta, META_FILE, STATE_FOLDER, SUMS_FILE, sumLine } from "./layout.js";
import { seal } from "./seal.js";

/** Of zlib: most of what there is to win, at a fraction of the default's time. */
const LEVEL = 3;

/**
 * Writes the files of `meta` in `folder` as an archive to `sink`, and ends it. Memory does not grow with the state. Rejects
 * when a file is not as large as `meta` says.
 */
export async function writeArchive(folder: string, meta: ArchiveMeta, sink: Writable): Promise<void> {
  const archive = pack();
  const written = pipeline(archive, createGzip({ level: LEVEL }), seal(), sink);
  try {
    await Promise.all([fill(archive, folder, meta), written]);
  } catch (error) {
    archive.destroy(error as Error);
    await written.catch(() => undefined);
    throw error;
  }
}

async function fill(archive: Pack, folder: string, meta: ArchiveMeta): Promise<void> {
  const modified = new Date(meta.Created);
  let sums = "";
  const small = async (name: string, text: string): Promise<void> => {
    sums += sumLine(createHash("sha256").update(text).digest("hex"), name);
    await new Promise<void>((resolve, reject) => {
      archive.entry({ name, mode: 0o600, mtime: modified }, text, (error) =>
        error ? reject(error) : resolve(),
      );
    });
  };
  await small(META_FILE, `${JSON.stringify(meta, undefined, 2)}\n`);
  for (const { Name, Size } of meta.Files) {
    const name = `${STATE_FOLDER}${Name}`;
    const hash = createHash("sha256");
    const entry = archive.entry({ name, size: Size, mode: 0o600, mtime: modified });
    await pipeline(
      createReadStream(join(folder, Name), { highWaterMark: 256 * 1024 }),
      new Transform({
        transform(chunk: Buffer, _encoding, done) {
          hash.update(chunk);
          done(null, chunk);
        },
      }),
      entry,
    );
    sums += sumLine(hash.digest("hex"), name);
  }
  await small(SUMS_FILE, sums);
  archive.finalize();
}
