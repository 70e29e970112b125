import { EMPTY_BASE, type LogStore, type LogWrite, type StoredLog } from "./log-store.js";

/**
 * The log of a `-dev` agent, which keeps nothing beyond its own end: the core has all entries in memory anyway, so there
 * is nothing left to hold.
 */
export class MemoryLogStore implements LogStore {
  readonly location = "memory";

  open(_owner: string): Promise<StoredLog> {
    return Promise.resolve({ hardState: { term: 0, vote: null, commit: 0 }, base: EMPTY_BASE, entries: [] });
  }

  write(_change: LogWrite): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
