/** How long an agent may take to stop, milliseconds; then it is ended. */
const STOP_DEADLINE = 3000;
/** What a server has besides, where it leaves its cluster first: a little more than it takes at most. */
const LEAVE_DEADLINE = 7000;

export type StopReason = { readonly signal: NodeJS.Signals } | { readonly error: Error };

/**
 * Waits for what ends an agent: a signal, a plugin that can't go on, an error nobody caught. The first one resolves
 * `reason`; after it the agent has three seconds (and seven more where it leaves a cluster), and a second signal ends the
 * process at once.
 */
export class StopRequest {
  readonly reason: Promise<StopReason>;
  #resolve!: (reason: StopReason) => void;
  #isRequested = false;

  constructor(
    private readonly onForced: (why: string) => void,
    /** Whether a signal has the agent leave its cluster first. */
    private readonly leavesOn: (signal: NodeJS.Signals) => boolean = () => false,
  ) {
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
    const leaves = "signal" in reason && this.leavesOn(reason.signal);
    const deadline = STOP_DEADLINE + (leaves ? LEAVE_DEADLINE : 0);
    setTimeout(() => this.#force(`not everything stopped within ${deadline / 1000} s`), deadline).unref();
    this.#resolve(reason);
  }

  #force(why: string): never {
    this.onForced(why);
    process.exit(1);
  }
}
