/** Files that the agent itself writes into a task's folder. */
import { constants } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { confineNew } from "../files/confine.js";

/** Writes `path` inside `root`, making folders on the way; an old file is replaced and a link never followed. */
export async function writeInside(
  root: string,
  path: string,
  content: string | Buffer,
  mode: number,
): Promise<void> {
  const target = await confineNew(root, path);
  await mkdir(dirname(target), { recursive: true });
  await rm(target, { force: true });
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(target, flags, mode);
  try {
    await file.chmod(mode);
    await file.writeFile(content);
  } finally {
    await file.close();
  }
}
