/** The state as worker threads read it: the environment in force, opened read-only. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { RootDatabase } from "lmdb";
import { DATA_FILE, openEnvironment } from "./environment.js";
import { type OpenTables, openTables, SCHEMA_VERSION } from "./schema.js";
import { LmdbSnapshot } from "./snapshot.js";
import { environmentOf } from "./state-note.js";
import type { ThreadFence } from "./thread-fence.js";

export interface ReaderHandle {
  /** The newest state that is committed now. */
  snapshot(): LmdbSnapshot;
  /** Snapshots must be closed. */
  close(): Promise<void>;
}

/** The environment may be left by the main thread while it is looked for; not that often in a row. */
const ATTEMPTS = 100;

/**
 * Opens the store at `path`, which the main thread must have opened before. When another environment takes the place of the
 * state, the next snapshot is one of that. What is done with LMDB is done within `fence`, but for the first opening and the closing.
 */
export function openReader(path: string, fence: ThreadFence | null = null): ReaderHandle {
  let current = openInForce(path, fence);
  const follow = (): void => {
    const before = current;
    current = fence === null ? openInForce(path, fence) : fence.within(() => openInForce(path, fence));
    before.leave();
  };
  return {
    snapshot: () => {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const snapshot = current.snapshot();
        if (!snapshot.left()) return snapshot;
        snapshot.close();
        follow();
      }
      throw new Error(`state at ${path} was replaced ${ATTEMPTS} times while it was opened`);
    },
    close: () => current.env.close(),
  };
}

function openInForce(path: string, fence: ThreadFence | null): OpenedEnvironment {
  for (let attempt = 1; ; attempt++) {
    const folder = environmentOf(path);
    try {
      if (!existsSync(join(folder, DATA_FILE)))
        throw new Error(`state at ${path}: ${folder} has no state in it`);
      return new OpenedEnvironment(folder, fence);
    } catch (error) {
      // The main thread removes an environment that it has left.
      if (attempt === ATTEMPTS || folder === environmentOf(path)) throw error;
    }
  }
}

class OpenedEnvironment {
  readonly env: RootDatabase;
  readonly #tables: OpenTables;
  #snapshots = 0;
  #isLeft = false;

  constructor(
    path: string,
    private readonly fence: ThreadFence | null,
  ) {
    this.env = openEnvironment({ path, readOnly: true, durable: false });
    this.#tables = { ...openTables(this.env), fence };
    const schema = this.#tables.meta.get("schema");
    if (schema !== SCHEMA_VERSION) {
      void this.env.close();
      throw new Error(`state at ${path} has schema version ${String(schema)}, expected ${SCHEMA_VERSION}`);
    }
  }

  snapshot(): LmdbSnapshot {
    const snapshot = LmdbSnapshot.take(this.env, this.#tables, () => {
      this.#snapshots--;
      this.#closeUnused();
    });
    this.#snapshots++;
    return snapshot;
  }

  /** Closes it once its snapshots are. */
  leave(): void {
    this.#isLeft = true;
    this.#closeUnused();
  }

  #closeUnused(): void {
    if (!this.#isLeft || this.#snapshots > 0) return;
    // Where nothing can be written, it is closed before this returns.
    const close = (): void => void this.env.close();
    if (this.fence === null) close();
    else this.fence.within(close);
  }
}
