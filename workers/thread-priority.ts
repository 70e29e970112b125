import { setPriority } from "node:os";

/** A little below normal: other processes of the machine must not starve scheduling. */
const NICENESS = 3;

/**
 * Lets the main thread go first where processors are short: heartbeats and elections wait for it, plans can wait a little.
 * Linux changes the calling thread alone; elsewhere it would be the whole process, so nothing is done there.
 */
export function yieldToMainThread(): void {
  if (process.platform === "linux") setPriority(0, NICENESS);
}
