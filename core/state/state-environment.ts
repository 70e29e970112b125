/** One environment of the state as the main thread has it open: closed once it is not in force and nobody uses it. */
import type { RootDatabase } from "lmdb";
import { openEnvironment } from "./read/environment.js";
import { RowReader } from "./read/row-reader.js";
import { type OpenTables, openTables } from "./read/schema.js";

export class StateEnvironment {
  /** The newest state, and within a write transaction what it has written. */
  readonly newest: RowReader;
  #uses = 0;
  #unused: (() => void) | undefined;

  private constructor(
    /** Its folder. */
    readonly path: string,
    readonly env: RootDatabase,
    readonly tables: OpenTables,
  ) {
    this.newest = new RowReader(tables);
  }

  static open(path: string, durable: boolean): StateEnvironment {
    const env = openEnvironment({ path, readOnly: false, durable });
    try {
      return new StateEnvironment(path, env, openTables(env));
    } catch (error) {
      void env.close();
      throw error;
    }
  }

  /** Keeps it open until the function that this gives is called, once. */
  hold(): () => void {
    this.#uses++;
    return () => {
      if (--this.#uses === 0) this.#unused?.();
    };
  }

  /** Tells the readers in other threads that another environment is in force. */
  leave(): void {
    this.env.transactionSync(() => void this.tables.meta.putSync("left", true));
  }

  /** Closes it once nobody uses it any more. */
  async close(): Promise<void> {
    if (this.#uses > 0) {
      await new Promise<void>((resolve) => {
        this.#unused = resolve;
      });
    }
    await this.env.close();
  }
}
