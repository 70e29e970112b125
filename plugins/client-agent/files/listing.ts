/** Files of an allocation as the API prints them. */
import { type BigIntStats, constants } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import type { AllocFileInfo } from "@drover/plugin-sdk";
import { openInside } from "./confine.js";

/** Folders with more entries are cut here, so that no answer is without bounds. */
const MAX_ENTRIES = 10_000;

export async function listFolder(real: string): Promise<AllocFileInfo[]> {
  const names = (await readdir(real)).sort().slice(0, MAX_ENTRIES);
  const found: AllocFileInfo[] = [];
  for (const name of names) {
    try {
      found.push(describe(name, await lstat(join(real, name), { bigint: true })));
    } catch (error) {
      // Gone between the two looks.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return found;
}

export function describe(name: string, stat: BigIntStats): AllocFileInfo {
  return {
    FileMode: fileMode(Number(stat.mode)),
    IsDir: stat.isDirectory(),
    ModTime: rfc3339(stat.mtimeNs),
    Name: name,
    Size: Number(stat.size),
  };
}

/** Kinds of files and Go's letters for them. */
const KINDS: ReadonlyMap<number, string> = new Map([
  [constants.S_IFDIR, "d"],
  [constants.S_IFLNK, "L"],
  [constants.S_IFBLK, "D"],
  [constants.S_IFIFO, "p"],
  [constants.S_IFSOCK, "S"],
  [constants.S_IFCHR, "Dc"],
]);

/** Mode as Go prints it: kind letters, then permissions (`-rw-r--r--`, `drwxrwxrwx`, `dtrwxrwxrwx`). */
export function fileMode(mode: number): string {
  const special = [
    [0o4000, "u"],
    [0o2000, "g"],
    [0o1000, "t"],
  ] as const;
  const letters =
    (KINDS.get(mode & constants.S_IFMT) ?? "") +
    special
      .filter(([bit]) => (mode & bit) !== 0)
      .map(([, letter]) => letter)
      .join("");
  const permissions = [..."rwxrwxrwx"]
    .map((letter, index) => ((mode >> (8 - index)) & 1 ? letter : "-"))
    .join("");
  return (letters === "" ? "-" : letters) + permissions;
}

/** RFC 3339 with nanoseconds, without trailing zeros. */
export function rfc3339(nanoseconds: bigint): string {
  const seconds = nanoseconds / 1_000_000_000n;
  const fraction = String(nanoseconds % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  const base = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return `${base}${fraction === "" ? "" : `.${fraction}`}Z`;
}

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".gif": "image/gif",
  ".htm": "text/html; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webp": "image/webp",
  ".xml": "text/xml; charset=utf-8",
};

/** MIME type by name, else text or bytes by a look at the beginning. */
export async function contentType(root: string, path: string): Promise<string> {
  const known = TYPES[extname(path).toLowerCase()];
  if (known !== undefined) return known;
  const { file } = await openInside(root, path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(512), 0, 512, 0);
    const binary = buffer
      .subarray(0, bytesRead)
      .some((byte) => byte < 9 || (byte > 13 && byte < 32 && byte !== 27));
    return binary ? "application/octet-stream" : "text/plain; charset=utf-8";
  } finally {
    await file.close();
  }
}
