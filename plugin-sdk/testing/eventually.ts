import { setTimeout as delay } from "node:timers/promises";

/**
 * Waits until `probe` gives something other than undefined or false, and gives that; a probe that throws counts as not yet.
 * Rejects with `what`, the last failure as its cause, after `deadline` milliseconds.
 */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  deadline = 30_000,
): Promise<T> {
  const end = performance.now() + deadline;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as T;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`${what}: not within ${deadline} ms`, { cause: last });
    await delay(20);
  }
}
