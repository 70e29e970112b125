/** How long an agent may take to stop, milliseconds; then it is ended. */
const STOP_DEADLINE = 3000;

export type StopReason = { readonly signal: NodeJS.Signals } | { readonly error: Error };

/**
 * Waits for what ends an agent: a signal, a plugin that can't go on, an error nobody caught. The first one resolves
 * `reason`; after it the agent has three seconds, and a second signal ends the process at once.
 */
export class StopRequest {
  readonly reason: Promise<StopReason>;
  #resolve!: (reason: StopReason) => void;
  #isRequested = false;

  constructor(private readonly onForced: (why: string) => void) {
    this.reason = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (this.#isRequested) this.#force("a second signal came");
        this.#request({ signal });
      });
    }
    process.on("uncaughtException", (error) => this.fail(error));
    process.on("unhandledRejection", (reason) => {
      this.fail(reason instanceof Error ? reason : new Error(String(reason)));
    });
  }

  /** The agent can't go on. */
  fail(error: Error): void {
    this.#request({ error });
  }

  #request(reason: StopReason): void {
    if (this.#isRequested) {
      if ("error" in reason)
        process.stderr.write(`drover: while stopping: ${reason.error.stack ?? reason.error.message}\n`);
      return;
    }
    this.#isRequested = true;
    setTimeout(
      () => this.#force(`not everything stopped within ${STOP_DEADLINE / 1000} s`),
      STOP_DEADLINE,
    ).unref();
    this.#resolve(reason);
  }

  #force(why: string): never {
    this.onForced(why);
    process.exit(1);
  }
}
