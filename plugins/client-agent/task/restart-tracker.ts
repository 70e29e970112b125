/** Decides what follows when a task ended (https://developer.hashicorp.com/nomad/docs/job-specification/restart). */
import { RestartMode, type RestartPolicy } from "@drover/plugin-sdk";
import { formatDuration } from "../clock.js";
import { RESTART_WITHIN_POLICY } from "./events.js";

export type TaskEnd =
  | { readonly kind: "exit"; readonly success: boolean }
  /** It could not be started; `recoverable` where trying again may help. */
  | { readonly kind: "start_error"; readonly recoverable: boolean }
  /** An operator asked for a restart. */
  | { readonly kind: "restart_requested" };

export type RestartDecision =
  /** Delay in nanoseconds. */
  | { readonly action: "restart"; readonly delay: number; readonly reason: string }
  | { readonly action: "fail"; readonly reason: string }
  /** It ended well and is not meant to run again. */
  | { readonly action: "complete" };

/** Part of the delay that is added at most, at random. */
const JITTER = 0.25;

export class RestartTracker {
  private count = 0;
  private intervalStart: number | undefined;

  constructor(
    private policy: RestartPolicy,
    /** Whether a task that exits with success is started again (services), or is done (batch). */
    private readonly restartsOnSuccess: boolean,
    /** Monotonic nanoseconds. */
    private readonly now: () => number = () => performance.now() * 1e6,
    /** 0 to 1. */
    private readonly random: () => number = Math.random,
  ) {}

  setPolicy(policy: RestartPolicy): void {
    this.policy = policy;
  }

  decide(end: TaskEnd): RestartDecision {
    if (end.kind === "restart_requested") return { action: "restart", delay: 0, reason: "" };
    if (end.kind === "exit" && end.success && !this.restartsOnSuccess) return { action: "complete" };
    if (end.kind === "start_error" && !end.recoverable) {
      return { action: "fail", reason: "Error was unrecoverable" };
    }
    const { Attempts, Interval, Mode } = this.policy;
    if (Attempts === 0 && Mode === RestartMode.Fail) {
      return end.kind === "exit" && end.success
        ? { action: "complete" }
        : { action: "fail", reason: "Policy allows no restarts" };
    }
    const now = this.now();
    if (this.intervalStart === undefined || now - this.intervalStart > Interval) {
      this.intervalStart = now;
      this.count = 0;
    }
    this.count += 1;
    if (this.count <= Attempts) {
      return { action: "restart", delay: this.jittered(), reason: RESTART_WITHIN_POLICY };
    }
    if (Mode === RestartMode.Fail) {
      const allowed = `Exceeded allowed attempts ${Attempts} in interval ${formatDuration(Interval)}`;
      return { action: "fail", reason: `${allowed} and mode is "fail"` };
    }
    const untilInterval = Math.max(0, this.intervalStart + Interval - now);
    return {
      action: "restart",
      delay: Math.round(Math.max(untilInterval, this.policy.Delay)),
      reason: "Exceeded allowed attempts, applying a delay",
    };
  }

  private jittered(): number {
    const { Delay } = this.policy;
    return Math.round(Delay + this.random() * JITTER * Delay);
  }
}
