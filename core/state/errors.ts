/** Errors of the storage in words that say what to do. */

import { existsSync, statfsSync } from "node:fs";

const FULL_DISK = /ENOSPC|No space left on device/i;
/** What LMDB says when the disk took only a part of a page, which a full disk does. */
const SHORT_WRITE = /EIO|Input\/output error/i;
/** Below this many free bytes an input/output error is taken for a full disk. */
const FULL_BELOW = 1024 * 1024;
const FULL_MAP = /MDB_MAP_FULL|mapsize limit/i;
const NO_READERS = /MDB_READERS_FULL/i;
const NO_MEMORY = /ENOMEM|Cannot allocate memory/i;

function freeBytes(path: string): number {
  if (!existsSync(path)) return Number.POSITIVE_INFINITY;
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

/** The error with advice, where it is about the storage; else the error itself. */
export function storageError(error: unknown, path: string): Error {
  const known = error instanceof Error ? error : new Error(String(error));
  const { message } = known;
  const wrap = (text: string): Error => new Error(`state at ${path}: ${text}`, { cause: known });
  if (FULL_DISK.test(message) || (SHORT_WRITE.test(message) && freeBytes(path) < FULL_BELOW)) {
    return wrap("the disk is full: free space on it and start the server again");
  }
  if (SHORT_WRITE.test(message)) return wrap("the disk failed: look at the kernel's log");
  if (FULL_MAP.test(message)) {
    return wrap("it outgrew its memory map: start the server again, which maps eight times its present size");
  }
  if (NO_READERS.test(message)) return wrap("too many snapshots are open at the same time");
  if (NO_MEMORY.test(message))
    return wrap("no address space for its memory map: raise the limit (ulimit -v)");
  return known;
}
