import { decodeConfiguration, isVoter } from "./configuration.js";
import type { Configuration, Entry, SnapshotMeta } from "./types.js";

/** The configurations of the log, in its order; the last one is in force from the moment it is appended (section 4.1). */
export class ConfigurationHistory {
  #known: { readonly index: number; readonly configuration: Configuration }[];

  constructor(base: Pick<SnapshotMeta, "index" | "configuration">) {
    this.#known = [{ index: base.index, configuration: base.configuration }];
  }

  get current(): Configuration {
    return this.#known.at(-1)!.configuration;
  }
  /** Index of the configuration in force. */
  get currentIndex(): number {
    return this.#known.at(-1)!.index;
  }

  /** Takes a `configuration` entry; throws a TypeError, and changes nothing, when it can't be read. */
  note(entry: Entry): void {
    if (entry.kind !== "configuration") return;
    this.#known.push({ index: entry.index, configuration: decodeConfiguration(entry.data) });
  }

  /** The configuration at `index`; undefined before the start of the log. */
  at(index: number): Configuration | undefined {
    return this.#known.findLast((entry) => entry.index <= index)?.configuration;
  }

  truncateFrom(index: number): void {
    this.#known = this.#known.filter((entry) => entry.index < index);
  }

  compact(index: number): void {
    const configuration = this.at(index);
    if (configuration === undefined) throw new Error(`raft: no configuration is known at ${index}`);
    this.#known = [{ index, configuration }, ...this.#known.filter((entry) => entry.index > index)];
  }

  reset(base: Pick<SnapshotMeta, "index" | "configuration">): void {
    this.#known = [{ index: base.index, configuration: base.configuration }];
  }

  /**
   * Whether the server may stand for election. A voter may; so may one that lost its vote by a change that is not known to
   * be committed, because the others may need its longer log to go on (section 4.2.2).
   */
  mayLead(id: string, commit: number): boolean {
    if (isVoter(this.current, id)) return true;
    const before = this.#known.at(-2);
    return before !== undefined && this.currentIndex > commit && isVoter(before.configuration, id);
  }
}
