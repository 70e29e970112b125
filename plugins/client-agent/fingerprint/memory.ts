import { totalmem } from "node:os";

export interface MemoryFacts {
  readonly attributes: Record<string, string>;
  readonly memoryMB: number;
}

/** `totalMB` above 0 overrides what the machine has. */
export function fingerprintMemory(totalMB: number): MemoryFacts {
  const bytes = totalMB > 0 ? totalMB * 1024 * 1024 : totalmem();
  return {
    attributes: { "memory.totalbytes": String(bytes) },
    memoryMB: Math.floor(bytes / (1024 * 1024)),
  };
}
