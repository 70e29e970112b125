/** The state as worker threads read it: the same environment, opened read-only. */

import { openEnvironment } from "./environment.js";
import { openTables, SCHEMA_VERSION } from "./schema.js";
import { LmdbSnapshot } from "./snapshot.js";
import type { ThreadFence } from "./thread-fence.js";

export interface ReaderHandle {
  /** The newest state that is committed now. */
  snapshot(): LmdbSnapshot;
  close(): Promise<void>;
}

/**
 * Opens the store at `path`, which the main thread must have opened before. What snapshots do with LMDB they do within `fence`; to
 * open and to close is not.
 */
export function openReader(path: string, fence: ThreadFence | null = null): ReaderHandle {
  const env = openEnvironment({ path, readOnly: true, durable: false });
  const tables = { ...openTables(env), fence };
  const schema = tables.meta.get("schema");
  if (schema !== SCHEMA_VERSION) {
    throw new Error(`state at ${path} has schema version ${String(schema)}, expected ${SCHEMA_VERSION}`);
  }
  return {
    snapshot: () => LmdbSnapshot.take(env, tables),
    close: () => env.close(),
  };
}
