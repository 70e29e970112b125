/** Where the executors' sockets live. */
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Room in `sun_path` (unix(7)), less the closing zero. */
const MAX_SOCKET_PATH = 107;
/** Longest file name we use in it. */
const NAME_LENGTH = "executor-12345678.sock.new".length;

/**
 * A private folder (0700) of `stateDir` or, where that path is too long for a socket, one in the system's temporary folder
 * that is named after it. Throws when the folder belongs to somebody else.
 */
export function socketFolder(stateDir: string): string {
  const inState = join(stateDir, "raw_exec");
  const owner = process.getuid?.() ?? 0;
  const hash = createHash("sha256").update(stateDir).digest("hex").slice(0, 16);
  const fits = Buffer.byteLength(inState) + 1 + NAME_LENGTH <= MAX_SOCKET_PATH;
  const folder = fits ? inState : join(tmpdir(), `drover-${owner}-${hash}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const stat = lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== owner) {
    throw new Error(
      `${folder} must be a folder of the agent's own (uid ${owner}): remove it and start again`,
    );
  }
  chmodSync(folder, 0o700);
  return folder;
}
