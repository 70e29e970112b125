/**
 * The note beside the state: under which boot of the machine it was written, whether everything reached the disk, and which
 * environment is in force. A copy that takes the place of the state gets an environment of its own, and is in force once the
 * note, which is replaced as a whole, names it.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const NOTE_FILE = "state.json";
/** Names of environments that took the place of another; the first one lies in the state's folder itself. */
export const LATER_ENVIRONMENT = /^environment-(\d{1,15})$/;

export interface StateNote {
  readonly boot_id: string;
  readonly clean: boolean;
  /** Name of the environment's folder; missing for the first one. */
  readonly environment?: string;
}

/** The note of the state at `path`; undefined where there is none or it is not readable (cut off by a crash, say). */
export function readStateNote(path: string): StateNote | undefined {
  const file = join(path, NOTE_FILE);
  if (!existsSync(file)) return undefined;
  try {
    const note = JSON.parse(readFileSync(file, "utf8")) as Partial<StateNote> | null;
    if (typeof note?.boot_id !== "string" || typeof note.clean !== "boolean") return undefined;
    const { boot_id, clean, environment } = note;
    if (environment === undefined) return { boot_id, clean };
    return LATER_ENVIRONMENT.test(environment) ? { boot_id, clean, environment } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Folder of the LMDB environment that is in force in the state at `path`. */
export function environmentOf(path: string, note = readStateNote(path)): string {
  return join(path, note?.environment ?? "");
}
