import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "./errors.js";

/**
 * Makes sure that a data folder is there (0700 where it is made) and takes writes, so that a wrong one is found at the
 * start and not by the first job. Throws `ConfigError`.
 */
export async function prepareDataDir(path: string, key = "data_dir"): Promise<void> {
  const probe = join(path, `.drover-probe-${randomBytes(6).toString("hex")}`);
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    if (!(await stat(path)).isDirectory()) throw Object.assign(new Error(), { code: "ENOTDIR" });
    const file = await open(probe, "wx", 0o600);
    try {
      await file.writeFile(Buffer.alloc(4096));
      await file.datasync();
    } finally {
      await file.close();
      await rm(probe, { force: true });
    }
  } catch (error) {
    throw new ConfigError([{ place: "", message: `${key} ${path} can't be used: ${explain(error)}` }]);
  }
}

/** The folder of a `-dev` agent; whoever asks removes it at the end. */
export function temporaryDataDir(): Promise<string> {
  return mkdtemp(join(tmpdir(), "drover-dev-"));
}

function explain(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case "EEXIST":
    case "ENOTDIR":
      return "it, or a part of its path, is a file and not a folder";
    case "EACCES":
    case "EPERM":
      return "permission denied; give it to the user that runs the agent, or choose another";
    case "EROFS":
      return "it is on a read-only file system";
    case "ENOSPC":
      return "the disk is full; free some room or choose another disk";
    case "EDQUOT":
      return "the disk quota of this user is used up";
    default:
      return message;
  }
}
