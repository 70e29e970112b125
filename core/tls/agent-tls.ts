import type { AgentTls, TlsConfiguration, TlsState } from "@drover/plugin-sdk";
import { loadTls, type TlsOwner } from "./material.js";

/** The certificates in force. */
export class LoadedTls implements AgentTls {
  readonly #listeners = new Set<() => void>();
  #state: TlsState;

  private constructor(
    state: TlsState,
    private readonly owner: TlsOwner,
  ) {
    this.#state = state;
  }

  /** Throws `ConfigError` with everything that is wrong. */
  static async load(config: TlsConfiguration, owner: TlsOwner): Promise<LoadedTls> {
    return new LoadedTls(await loadTls(config, owner), owner);
  }

  current(): TlsState {
    return this.#state;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Reads the files again, and gives what puts them in force; until that is called the old ones are. Throws `ConfigError` with
   * everything that is wrong. Gives undefined where nothing changed.
   */
  async prepare(config: TlsConfiguration): Promise<(() => void) | undefined> {
    const next = await loadTls(config, this.owner);
    if (JSON.stringify(next) === JSON.stringify(this.#state)) return undefined;
    return () => {
      this.#state = next;
      for (const listener of this.#listeners) listener();
    };
  }
}
