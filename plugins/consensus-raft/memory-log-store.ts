import { EMPTY_BASE, type LogStore, type LogWrite, type StoredLog } from "./log-store.js";

/**
 * The log of a `-dev` agent, which keeps nothing beyond its own end: the core has all entries in memory anyway, so there
 * is nothing left to hold.
 */
export class MemoryLogStore implements LogStore {
  readonly location = "memory";

  open(_owner: string): Promise<StoredLog> {
    const hardState = { term: 0, vote: null, commit: 0 };
    return Promise.resolve({ hardState, base: EMPTY_BASE, last: 0, entries: [], source: undefined });
  }

  write(_change: LogWrite): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
