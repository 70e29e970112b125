/**
 * Health of an allocation in its deployment, or after a move, by the states of its tasks: healthy when all run for `min_healthy_time` without
 * a restart, unhealthy when one fails or `healthy_deadline` passes
 * (https://developer.hashicorp.com/nomad/docs/job-specification/update).
 */
import { type Task, type TaskState, TaskStatus, type UpdateStrategy } from "@drover/plugin-sdk";
import { formatDuration, sleep } from "../clock.js";
import { hookOf, isPoststop, isSidecar } from "./lifecycle.js";

export interface HealthVerdict {
  readonly healthy: boolean;
  /** Why not, for the task's event. */
  readonly reason: string;
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
    const failed = this.tasks.find((task) => this.stateOf(task.Name)?.Failed === true);
    if (failed !== undefined) {
      this.finish({ healthy: false, reason: "Unhealthy because of failed task" });
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

  /** Poststop tasks don't count; tasks that run once must have ended well. */
  private settled(task: Task): boolean {
    if (isPoststop(task)) return true;
    const state = this.stateOf(task.Name);
    if (hookOf(task) !== "main" && !isSidecar(task) && state?.State === TaskStatus.Dead) return !state.Failed;
    return state?.State === TaskStatus.Running;
  }

  private async watchMinimum(signal: AbortSignal): Promise<void> {
    await sleep(this.strategy.MinHealthyTime / 1e6, signal);
    if (!signal.aborted) this.finish({ healthy: true, reason: "" });
  }

  private async watchDeadline(): Promise<void> {
    const { HealthyDeadline, MinHealthyTime } = this.strategy;
    if (HealthyDeadline <= 0) return;
    await sleep(HealthyDeadline / 1e6, this.ended.signal);
    const time = formatDuration(MinHealthyTime);
    const reason = `Task not running for min_healthy_time of ${time} by deadline`;
    this.finish({ healthy: false, reason });
  }

  private finish(verdict: HealthVerdict): void {
    if (this.ended.signal.aborted) return;
    this.stop();
    this.decide(verdict);
  }
}
