/** Longest delay that one timer of Node takes. */
const MAX_TIMER = 2 ** 31 - 1;

interface Entry {
  readonly at: string;
  /** `performance.now()` at which it is due. */
  readonly due: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Deadlines that the state holds as wall time. What is left of one is measured when it is first seen and then counted on the
 * monotonic clock: a wall clock that is set brings none about and puts none off.
 */
export class WallDeadlines {
  readonly #entries = new Map<string, Entry>();

  constructor(private readonly onDue: (key: string) => void) {}

  /** `at` is RFC 3339; null is none. The same as before changes nothing. */
  set(key: string, at: string | null): void {
    const present = this.#entries.get(key);
    if (present?.at === at) return;
    this.clear(key);
    const time = at === null ? Number.NaN : Date.parse(at);
    if (at === null || Number.isNaN(time)) return;
    const entry: Entry = { at, due: performance.now() + time - Date.now(), timer: undefined };
    this.#entries.set(key, entry);
    this.#arm(key, entry);
  }

  isDue(key: string): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.due <= performance.now();
  }

  clear(key: string): void {
    clearTimeout(this.#entries.get(key)?.timer);
    this.#entries.delete(key);
  }

  clearAll(): void {
    for (const { timer } of this.#entries.values()) clearTimeout(timer);
    this.#entries.clear();
  }

  #arm(key: string, entry: Entry): void {
    const wait = Math.ceil(Math.max(0, entry.due - performance.now()));
    entry.timer = setTimeout(
      () => {
        if (entry.due <= performance.now()) this.onDue(key);
        else this.#arm(key, entry);
      },
      Math.min(wait, MAX_TIMER),
    );
    entry.timer.unref();
  }
}
