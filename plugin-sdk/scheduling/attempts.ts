/** The tries at one evaluation, until all of a plan is committed. */

/** How an attempt ended: all committed, some of it, nothing. */
export type AttemptOutcome = "done" | "progress" | "refused";

/** The work on one evaluation. */
export interface EvaluationRun {
  attempt(): Promise<AttemptOutcome>;
  /** Everything is committed. */
  complete(): Promise<void>;
  /** So many attempts in a row brought nothing. */
  giveUp(attempts: number): Promise<void>;
}

/** Attempts that bring something don't count. */
export async function attemptUntilDone(run: EvaluationRun, maxAttempts: number): Promise<void> {
  let left = maxAttempts;
  while (left > 0) {
    const outcome = await run.attempt();
    if (outcome === "done") return run.complete();
    left = outcome === "progress" ? maxAttempts : left - 1;
  }
  return run.giveUp(maxAttempts);
}
