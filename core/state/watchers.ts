/** Those who wait for the state to reach an index or for a table to change. */
import type { StateTable } from "@drover/plugin-sdk";

export type AppliedListener = (index: number, tables: ReadonlySet<StateTable>) => void;

/** Raised by `waitForIndex` when the state did not get there in time. */
export class WaitTimeoutError extends Error {
  override readonly name = "WaitTimeoutError";
  readonly code = "ERR_STATE_TIMEOUT";
}

interface Waiter {
  /** True when it is satisfied and wants to be let go. */
  done(index: number, tables: ReadonlySet<StateTable>): boolean;
  resolve(): void;
  reject(error: Error): void;
}

export class Watchers {
  private readonly waiters = new Set<Waiter>();
  private readonly listeners = new Set<AppliedListener>();

  /** Waits until `done` says so. A deadline of `timeout` milliseconds, or none. */
  wait(
    done: Waiter["done"],
    options: { readonly signal?: AbortSignal | undefined; readonly timeout?: number; readonly what: string },
  ): Promise<void> {
    const { signal, timeout, what } = options;
    if (signal?.aborted === true) return Promise.reject(asError(signal.reason));
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const leave = (): void => {
        this.waiters.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        done,
        resolve: () => {
          leave();
          resolve();
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.reject(asError(signal?.reason));
      signal?.addEventListener("abort", onAbort, { once: true });
      if (timeout !== undefined) {
        timer = setTimeout(
          () => waiter.reject(new WaitTimeoutError(`timed out after ${timeout} ms waiting for ${what}`)),
          timeout,
        );
      }
      this.waiters.add(waiter);
    });
  }

  onApplied(listener: AppliedListener): () => void {
    // An own function, so that one listener added twice is removed once a time.
    const own: AppliedListener = (index, tables) => listener(index, tables);
    this.listeners.add(own);
    return () => void this.listeners.delete(own);
  }

  /** Tells of a committed batch. A listener's exception is handed to `failed`; the others are told all the same. */
  notify(index: number, tables: ReadonlySet<StateTable>, failed: (error: unknown) => void): void {
    for (const waiter of [...this.waiters]) if (waiter.done(index, tables)) waiter.resolve();
    for (const listener of [...this.listeners]) {
      try {
        listener(index, tables);
      } catch (error) {
        failed(error);
      }
    }
  }

  /** Rejects all who still wait: the store closes. */
  close(): void {
    for (const waiter of [...this.waiters]) waiter.reject(new Error("the state store is closed"));
    this.listeners.clear();
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("the wait was aborted", { cause: reason });
}
