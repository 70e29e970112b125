import type { Logger } from "@drover/plugin-sdk";
import { changedAt, type EtcdClient, put, read, removeRange } from "./client.js";
import type { EtcdConfig } from "./config.js";
import type { Keys } from "./keys.js";
import { decodeBatch, decodePosition, encodePosition, type Position, type ServerRecord } from "./records.js";

/** Entries whose size is remembered; older ones count as too old to keep. */
const SIZES = 65_536;

/** Sizes of the last entries, for a trailing log that is bounded in bytes too. */
export class TrailingSizes {
  readonly #sizes: number[] = [];
  #last = 0;

  note(index: number, bytes: number): void {
    if (index !== this.#last + 1) this.#sizes.length = 0;
    this.#last = index;
    this.#sizes.push(bytes);
    if (this.#sizes.length > 2 * SIZES) this.#sizes.splice(0, SIZES);
  }

  /** First index so that the entries from it to `index` have at most `bytes`; `index + 1` where none has. */
  firstWithin(index: number, bytes: number): number {
    let left = bytes;
    let first = index + 1;
    for (let at = this.#sizes.length - 1 - (this.#last - index); at >= 0; at--, first--) {
      left -= this.#sizes[at]!;
      if (left < 0) break;
    }
    return first;
  }
}

/**
 * The last entry that need not stay in the log: a majority of the servers that are there have a snapshot that holds it, so
 * that the loss of one loses nothing; and the trailing log, for servers that are a little behind, begins after it.
 */
export function compactionPoint(
  servers: readonly Pick<ServerRecord, "snapshot">[],
  { trailing_logs, trailing_bytes }: Pick<EtcdConfig, "trailing_logs" | "trailing_bytes">,
  sizes: TrailingSizes,
): number {
  const held =
    servers.map(({ snapshot }) => snapshot).sort((a, b) => b - a)[Math.floor(servers.length / 2)] ?? 0;
  const trailingStart = Math.max(held - trailing_logs + 1, sizes.firstWithin(held, trailing_bytes));
  return Math.max(0, trailingStart - 1);
}

export interface CompactionParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly config: EtcdConfig;
  readonly log: Logger;
  /** The leader's. */
  readonly term: number;
  termOf(index: number): number;
}

/** Removes from etcd what the snapshots hold. Belongs to one term of the leader. */
export class Compaction {
  /** Revision of the last removal; the history up to there goes with the next one, so that nobody's watch loses it at once. */
  #revision: number | undefined;

  constructor(private readonly parts: CompactionParts) {}

  /** Removes entries up to `point`; rejects with an `EtcdFailure`, and nothing is lost then. */
  async compactTo(point: number): Promise<void> {
    const { client, keys, term, log } = this.parts;
    const present = await client.transaction([], [read(keys.base)]);
    const base = decodePosition(keys.base, present.reads[0]![0]?.value);
    if (point <= base.index) return;
    const next: Position = {
      index: point,
      term: this.parts.termOf(point) || (await this.#storedTerm(point)),
    };
    const { succeeded, revision } = await client.transaction(
      [changedAt(keys.leader, term)],
      [
        put(keys.base, encodePosition(next)),
        removeRange(keys.logUpTo(point)),
        removeRange(keys.partsUpTo(point)),
      ],
    );
    if (!succeeded) return;
    log.info({ log_start: point + 1 }, "removed entries from etcd that snapshots hold");
    if (this.parts.config.compact_history && this.#revision !== undefined)
      await client.compact(this.#revision);
    this.#revision = revision;
  }

  /** Term of an entry that was applied before this process began. */
  async #storedTerm(index: number): Promise<number> {
    const { client, keys } = this.parts;
    const [kv] = (await client.range(keys.logFrom(index), 1)).kvs;
    return kv === undefined ? 0 : decodeBatch(kv.key, keys.lastOf(kv.key), kv.value).term;
  }
}
