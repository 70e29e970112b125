import { statfs } from "node:fs/promises";
import { mountOf, readMounts } from "./mounts.js";

export interface StorageFacts {
  readonly attributes: Record<string, string>;
  /** Free for allocations, MB. */
  readonly diskMB: number;
}

/** The file system that allocation folders are on. */
export async function fingerprintStorage(folder: string): Promise<StorageFacts> {
  const stat = await statfs(folder);
  const free = stat.bavail * stat.bsize;
  return {
    attributes: {
      "unique.storage.volume": mountOf(folder, readMounts())?.source ?? "",
      "unique.storage.bytestotal": String(stat.blocks * stat.bsize),
      "unique.storage.bytesfree": String(free),
    },
    diskMB: Math.floor(free / (1024 * 1024)),
  };
}
