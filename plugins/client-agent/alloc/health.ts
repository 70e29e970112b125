/**
 * Health of an allocation in its deployment, or after a move, by the states of its tasks: healthy when all run for `min_healthy_time`
 * without a restart, unhealthy when one fails or ends, or `healthy_deadline` passes
 * (https://developer.hashicorp.com/nomad/docs/job-specification/update). Nothing here asks checks of services: `health_check = "checks"`
 * is judged like `task_states`.
 */
import { type Task, type TaskState, TaskStatus, type UpdateStrategy } from "@drover/plugin-sdk";
import { formatDuration, sleep } from "../clock.js";
import { hookOf, isPoststop, isSidecar } from "./lifecycle.js";

export interface HealthVerdict {
  readonly healthy: boolean;
  /** Why not: what is wrong with each task that is to blame, by its name. */
  readonly reasons: ReadonlyMap<string, string>;
}

export class HealthWatch {
  private readonly ended = new AbortController();
  private timer: AbortController | undefined;
  /** Restarts of every task when the timer was started. */
  private restarts = "";

  constructor(
    private readonly tasks: readonly Task[],
    private readonly strategy: Pick<UpdateStrategy, "MinHealthyTime" | "HealthyDeadline">,
    private readonly stateOf: (task: string) => TaskState | undefined,
    private readonly decide: (verdict: HealthVerdict) => void,
  ) {}

  start(): void {
    void this.watchDeadline();
    this.check();
  }

  stop(): void {
    this.ended.abort();
    this.timer?.abort();
  }

  /** To be called whenever a task's state changed. */
  check(): void {
    if (this.ended.signal.aborted) return;
    const ended = new Map<string, string>();
    for (const task of this.tasks) {
      const reason = this.endedBadly(task);
      if (reason !== null) ended.set(task.Name, reason);
    }
    if (ended.size > 0) {
      this.finish({ healthy: false, reasons: ended });
      return;
    }
    const settled = this.tasks.every((task) => this.settled(task));
    const restarts = this.tasks.map((task) => this.stateOf(task.Name)?.StartedAt ?? "").join();
    if (this.timer !== undefined && (!settled || restarts !== this.restarts)) {
      this.timer.abort();
      this.timer = undefined;
    }
    if (settled && this.timer === undefined) {
      this.restarts = restarts;
      this.timer = new AbortController();
      void this.watchMinimum(this.timer.signal);
    }
  }

  /** Null while nothing is lost yet. */
  private endedBadly(task: Task): string | null {
    const state = this.stateOf(task.Name);
    if (isPoststop(task) || state?.State !== TaskStatus.Dead) return null;
    if (state.Failed) return "Unhealthy because of failed task";
    return runsOnce(task) ? null : "Unhealthy because of dead task";
  }

  /** Poststop tasks don't count; tasks that run once may have ended. */
  private settled(task: Task): boolean {
    if (isPoststop(task)) return true;
    const state = this.stateOf(task.Name)?.State;
    return state === TaskStatus.Running || (state === TaskStatus.Dead && runsOnce(task));
  }

  private async watchMinimum(signal: AbortSignal): Promise<void> {
    await sleep(this.strategy.MinHealthyTime / 1e6, signal);
    if (!signal.aborted) this.finish({ healthy: true, reasons: new Map() });
  }

  private async watchDeadline(): Promise<void> {
    const { HealthyDeadline, MinHealthyTime } = this.strategy;
    if (HealthyDeadline <= 0) return;
    await sleep(HealthyDeadline / 1e6, this.ended.signal);
    const deadline = Date.now();
    const reasons = new Map<string, string>();
    for (const task of this.tasks) {
      const state = this.stateOf(task.Name);
      if (state?.State === TaskStatus.Running) {
        const ranFor = deadline - Date.parse(state.StartedAt ?? "");
        if (ranFor >= MinHealthyTime / 1e6) continue;
        const time = formatDuration(MinHealthyTime);
        reasons.set(task.Name, `Task not running for min_healthy_time of ${time} by deadline`);
      } else if (!this.settled(task)) reasons.set(task.Name, "Task not running by deadline");
    }
    this.finish({ healthy: false, reasons });
  }

  private finish(verdict: HealthVerdict): void {
    if (this.ended.signal.aborted) return;
    this.stop();
    this.decide(verdict);
  }
}

/** Prestart and poststart tasks without `sidecar`. */
function runsOnce(task: Task): boolean {
  return hookOf(task) !== "main" && !isPoststop(task) && !isSidecar(task);
}
