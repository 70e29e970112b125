/** Waiting and counting time. Durations come from the monotonic clock: setting the wall clock back changes nothing. */

/** The longest delay that setTimeout takes, milliseconds. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** Monotonic milliseconds. */
export function monotonic(): number {
  return performance.now();
}

/**
 * Resolves after `milliseconds` or as soon as `signal` aborts; never rejects. With `background` the timer does not keep the
 * process alive.
 */
export async function sleep(milliseconds: number, signal?: AbortSignal, background = false): Promise<void> {
  const end = monotonic() + milliseconds;
  while (signal?.aborted !== true) {
    const left = end - monotonic();
    if (left <= 0) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(left, MAX_TIMEOUT));
      if (background) timer.unref();
      signal?.addEventListener("abort", done);
    });
  }
}

/** Unix nanoseconds of the wall clock. */
export function unixNanos(): number {
  return Date.now() * 1e6;
}

/** Nanoseconds as Go prints a duration: `5s`, `1m30s`, `2h0m0s`, `250ms`. */
export function formatDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  const sign = nanoseconds < 0 ? "-" : "";
  const total = Math.abs(nanoseconds);
  const trim = (value: number) => String(Number(value.toFixed(9)));
  if (total < 1e3) return `${sign}${total}ns`;
  if (total < 1e6) return `${sign}${trim(total / 1e3)}µs`;
  if (total < 1e9) return `${sign}${trim(total / 1e6)}ms`;
  const hours = Math.floor(total / 3600e9);
  const minutes = Math.floor((total % 3600e9) / 60e9);
  const seconds = trim((total % 60e9) / 1e9);
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${sign}${minutes}m${seconds}s` : `${sign}${seconds}s`;
}
