/** Work did not finish in the time it was given. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/**
 * Runs `work` for at most `timeout` milliseconds; then rejects with a `DeadlineError` while the work itself goes on
 * (JavaScript can't end it), so the caller must have a way to tell it to stop.
 */
export async function withDeadline<T>(timeout: number, what: string, work: () => Promise<T> | T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(`${what} took longer than ${timeout} ms`)), timeout);
  });
  try {
    return await Promise.race([(async () => work())(), deadline]);
  } finally {
    clearTimeout(timer);
  }
}
