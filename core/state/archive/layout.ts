/**
 * Snapshot archives: the state of a cluster in one file, for operators. A gzip file with a tar archive in it:
 *
 * - `meta.json`: what it is a copy of (`ArchiveMeta`),
 * - `state/…`: the files of the copy, as `meta.json` lists them and in that order,
 * - `SHA256SUMS`: the checksums of all these, as `sha256sum -c` reads them,
 *
 * and behind it the seal (see seal.ts), which covers every byte of the file.
 */
import { z } from "zod";

/** Version of this form. A reader refuses any other. */
export const ARCHIVE_VERSION = 1;

export const META_FILE = "meta.json";
export const SUMS_FILE = "SHA256SUMS";
/** Folder of the copy's files inside of the archive. */
export const STATE_FOLDER = "state/";

/** Largest `meta.json`, bytes. */
export const META_LIMIT = 1024 * 1024;
/** Files of a copy at most. */
const FILES_LIMIT = 16;
const TABLES_LIMIT = 256;
const SERVERS_LIMIT = 256;
/** Largest state that an archive may hold, bytes: far above what LMDB is opened for on a server of today. */
const STATE_LIMIT = 1024 ** 4;

/** A plain name: nothing in an archive can point out of the folder it is unpacked to. */
const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "is not a plain file name");
const count = z.int().min(0);

const Meta = z.strictObject({
  Version: z.literal(ARCHIVE_VERSION),
  /** `<term>-<index>-<Unix milliseconds>`. */
  ID: z.string().max(200),
  /** Last log entry whose effect the copy holds, and its term. */
  Index: count,
  Term: count,
  /** RFC 3339. */
  Created: z.iso.datetime(),
  /** Version of Drover that wrote it. */
  Drover: z.string().max(100),
  Region: z.string().max(200),
  /** Version of the layout of the state's tables. */
  Schema: count,
  /** The servers of the cluster at that index. */
  Servers: z
    .array(z.strictObject({ ID: z.string().max(200), Address: z.string().max(300), Voter: z.boolean() }))
    .max(SERVERS_LIMIT),
  Files: z
    .array(z.strictObject({ Name: fileName, Size: z.int().min(0).max(STATE_LIMIT) }))
    .min(1)
    .max(FILES_LIMIT)
    .refine((files) => new Set(files.map(({ Name }) => Name)).size === files.length, "names a file twice")
    .refine((files) => sizeOf(files) <= STATE_LIMIT, `is more than ${STATE_LIMIT} bytes together`),
  /** Rows of each table and the bytes that they take in the copy, whole pages. */
  Tables: z.array(z.strictObject({ Name: z.string().max(100), Rows: count, Bytes: count })).max(TABLES_LIMIT),
});
export type ArchiveMeta = z.output<typeof Meta>;

/** Bytes of the state in an archive, unpacked. */
export function sizeOf(files: readonly { readonly Size: number }[]): number {
  return files.reduce((sum, { Size }) => sum + Size, 0);
}

/** Why an archive is refused; the text is for the operator. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
}

/** Throws an ArchiveError for another version, and for what this version would not have written. */
export function parseMeta(bytes: Uint8Array): ArchiveMeta {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (error) {
    throw new ArchiveError(`${META_FILE} is not JSON`, { cause: error });
  }
  const { Version, Drover } = (value ?? {}) as Record<string, unknown>;
  if (typeof Version === "number" && Version > ARCHIVE_VERSION) {
    throw new ArchiveError(
      `it is a version ${Version} archive of Drover ${String(Drover)}, and this Drover reads version ${ARCHIVE_VERSION}: use a Drover that is at least as new`,
    );
  }
  if (Version !== ARCHIVE_VERSION) {
    throw new ArchiveError(
      `${META_FILE} says version ${JSON.stringify(Version)}, expected ${ARCHIVE_VERSION}: it is no snapshot archive of Drover`,
    );
  }
  const parsed = Meta.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new ArchiveError(`${META_FILE}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
  }
  return parsed.data;
}

/** A line of `SHA256SUMS`. */
export function sumLine(sha256: string, name: string): string {
  return `${sha256}  ${name}\n`;
}
