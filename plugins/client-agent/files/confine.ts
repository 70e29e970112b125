/** Paths that stay inside a folder, whatever `..` and symbolic links say. */
import { constants } from "node:fs";
import { type FileHandle, open, readlink, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";

export class PathEscapes extends Error {
  override readonly name = "PathEscapes";
  constructor() {
    super("Path escapes the alloc directory");
  }
}

function inside(root: string, path: string): boolean {
  return path === root || path.startsWith(root + sep);
}

/** The path inside `root` without looking at the disk; throws `PathEscapes`. */
export function confineName(root: string, path: string): string {
  const full = resolve(root, `./${path}`);
  if (!inside(root, full)) throw new PathEscapes();
  return full;
}

/** The real path of something that exists inside `root`. Rejects with `PathEscapes`, or ENOENT. */
export async function confine(root: string, path: string): Promise<string> {
  const real = await realpath(confineName(root, path));
  if (!inside(await realpath(root), real)) throw new PathEscapes();
  return real;
}

/**
 * Opens a plain file inside `root` for reading. What was opened is checked, not what the path said before: a task may swap
 * a link at any moment. Rejects with `PathEscapes`, ENOENT, or an error for anything but a plain file.
 */
export async function openInside(
  root: string,
  path: string,
): Promise<{ readonly file: FileHandle; readonly real: string }> {
  const real = await confine(root, path);
  const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const opened = await readlink(`/proc/self/fd/${file.fd}`);
    if (!inside(await realpath(root), opened.replace(/ \(deleted\)$/, ""))) throw new PathEscapes();
    if (!(await file.stat()).isFile()) throw new Error(`${path} is not a regular file`);
    return { file, real };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Where a new file may be written: its nearest existing folder must really be inside `root`. */
export async function confineNew(root: string, path: string): Promise<string> {
  const full = confineName(root, path);
  let folder = dirname(full);
  const rest = [basename(full)];
  const realRoot = await realpath(root);
  for (;;) {
    try {
      const real = await realpath(folder);
      if (!inside(realRoot, real)) throw new PathEscapes();
      return join(real, ...rest);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || folder === root) throw error;
      rest.unshift(basename(folder));
      folder = dirname(folder);
    }
  }
}
