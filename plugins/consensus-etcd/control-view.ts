import type { Logger } from "@drover/plugin-sdk";
import { type Change, type EtcdClient, readRange } from "./client.js";
import type { Keys } from "./keys.js";
import { RangeWatch } from "./range-watch.js";
import { decodeRecord, HandoverRecord, LeaderRecord, ServerRecord } from "./records.js";

export interface Seen<T> {
  readonly record: T;
  /** Revision of the key's last change; of the leader's, the term. */
  readonly revision: number;
}

/** Keys read; a cluster has a handful of servers. */
const MAX_KEYS = 1000;

/** Who is there and who leads, as etcd last said. */
export class ControlView {
  /** Revision of the last news of each key, also of one that is gone, so that older news can't bring it back. */
  readonly #revisions = new Map<string, number>();
  readonly #servers = new Map<string, ServerRecord>();
  #leader: Seen<LeaderRecord> | undefined;
  #handover: Seen<HandoverRecord> | undefined;
  readonly #watch: RangeWatch;

  constructor(
    client: EtcdClient,
    private readonly keys: Keys,
    log: Logger,
    /** Called after every change. */
    private readonly onChange: () => void,
    onFatal: (error: Error) => void,
  ) {
    this.#watch = new RangeWatch({
      client,
      range: keys.control,
      what: "the list of servers",
      log,
      load: () => this.#load(client),
      apply: (changes) => this.#apply(changes),
      onFatal,
    });
  }

  get leader(): Seen<LeaderRecord> | undefined {
    return this.#leader;
  }

  get handover(): Seen<HandoverRecord> | undefined {
    return this.#handover;
  }

  /** In order of id. */
  get servers(): ServerRecord[] {
    return [...this.#servers.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  server(id: string): ServerRecord | undefined {
    return this.#servers.get(this.keys.server(id));
  }

  /** Keeps up until `signal` aborts. */
  run(signal: AbortSignal): Promise<void> {
    return this.#watch.run(signal);
  }

  restart(): void {
    this.#watch.restart();
  }

  /** Takes in what a transaction of this server wrote or read, ahead of the watch; undefined: the key is gone. */
  learn(key: string, value: Buffer | undefined, revision: number): void {
    if (this.#set(key, value, revision)) this.onChange();
  }

  async #load(client: EtcdClient): Promise<number> {
    const { reads, revision } = await client.transaction([], [readRange(this.keys.control, MAX_KEYS)]);
    const kvs = reads[0]!;
    const present = new Set(kvs.map(({ key }) => key));
    for (const key of this.#revisions.keys()) if (!present.has(key)) this.#set(key, undefined, revision);
    for (const { key, value, revision: changed } of kvs) this.#set(key, value, changed);
    this.onChange();
    return revision;
  }

  #apply(changes: readonly Change[]): void {
    let isNews = false;
    for (const { type, kv } of changes) {
      isNews = this.#set(kv.key, type === "put" ? kv.value : undefined, kv.revision) || isNews;
    }
    if (isNews) this.onChange();
  }

  #set(key: string, value: Buffer | undefined, revision: number): boolean {
    if ((this.#revisions.get(key) ?? 0) >= revision) return false;
    this.#revisions.set(key, revision);
    const { leader, handover } = this.keys;
    if (key === leader) this.#leader = value && { record: decodeRecord(LeaderRecord, key, value), revision };
    else if (key === handover) {
      this.#handover = value && { record: decodeRecord(HandoverRecord, key, value), revision };
    } else if (value === undefined) this.#servers.delete(key);
    else this.#servers.set(key, decodeRecord(ServerRecord, key, value));
    return true;
  }
}
