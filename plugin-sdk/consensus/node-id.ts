import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** This server's identity: made once, kept in `file`. Throws for a file that holds anything else than a UUID. */
export async function loadNodeId(file: string): Promise<string> {
  try {
    const id = (await readFile(file, "utf8")).trim();
    if (UUID.test(id)) return id;
    throw new Error(
      `${file} must hold the server's id, a UUID; restore it, or remove ${dirname(file)} to start anew`,
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const id = randomUUID();
  const temporary = `${file}.tmp`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(`${id}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  return id;
}
