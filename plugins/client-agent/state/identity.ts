/** The node's id and secret id, made once. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { generateUUID, isUUID } from "@drover/plugin-sdk";
import { writeWhole } from "./atomic-file.js";

export interface NodeIdentity {
  readonly id: string;
  readonly secretId: string;
}

/** Reads `client-id` and `secret-id` in the state folder (both 0600), or makes them. Rejects for broken files. */
export async function loadIdentity(stateDir: string): Promise<NodeIdentity> {
  return {
    id: await readOrMake(join(stateDir, "client-id")),
    secretId: await readOrMake(join(stateDir, "secret-id")),
  };
}

async function readOrMake(path: string): Promise<string> {
  try {
    const text = (await readFile(path, "utf8")).trim();
    if (!isUUID(text))
      throw new Error(`${path} does not hold a UUID: restore it, or remove it to become a new node`);
    return text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const id = generateUUID();
  await writeWhole(path, `${id}\n`);
  return id;
}
