/**
 * Moving failed allocations to other nodes: when, how often, and the record of it.
 * Source: https://developer.hashicorp.com/nomad/docs/job-specification/reschedule. Times are Unix nanoseconds.
 */
import {
  type Allocation,
  AllocClientStatus,
  type RescheduleEvent,
  type RescheduleTracker,
} from "../domain/allocation.js";
import type { TaskGroup } from "../domain/job.js";
import { DelayFunction, type ReschedulePolicy } from "../domain/policies.js";

/** Events kept where attempts are unlimited; enough for the delay functions and for avoiding nodes. */
const KEPT_EVENTS = 5;

/** When the allocation failed: the last end of one of its tasks, or its last change where no task tells. */
export function failTime(allocation: Allocation): number {
  let latest = 0;
  for (const state of Object.values(allocation.TaskStates ?? {})) {
    if (state.FinishedAt !== null) latest = Math.max(latest, parseTime(state.FinishedAt));
  }
  return latest || allocation.ModifyTime;
}

/** Nanoseconds to wait after a failure. Grows by the policy's function; starts over after a run longer than the ceiling. */
export function nextDelay(
  policy: ReschedulePolicy,
  tracker: RescheduleTracker | null | undefined,
  failed: number,
): number {
  const events = tracker?.Events ?? [];
  const last = events.at(-1);
  const beforeLast = events.at(-2);
  let delay = policy.Delay;
  if (last !== undefined) {
    if (policy.DelayFunction === DelayFunction.Exponential) delay = last.Delay * 2;
    if (policy.DelayFunction === DelayFunction.Fibonacci) {
      // After the ceiling it started over, and so does the series.
      const begins =
        beforeLast === undefined || (beforeLast.Delay === policy.MaxDelay && last.Delay === policy.Delay);
      delay = begins ? last.Delay : last.Delay + beforeLast.Delay;
    }
  }
  if (policy.MaxDelay > 0 && delay > policy.MaxDelay) {
    delay = policy.MaxDelay;
    if (last !== undefined && failed - last.RescheduleTime > delay) delay = policy.Delay;
  }
  return delay;
}

/**
 * Whether the policy leaves an attempt: always when unlimited, else fewer than `Attempts` in the last `Interval`, and the next
 * one within it.
 */
export function attemptsLeft(
  policy: ReschedulePolicy | null,
  tracker: RescheduleTracker | null | undefined,
  failed: number,
): boolean {
  if (policy === null) return false;
  if (policy.Unlimited) return true;
  return (
    recentEvents(policy, tracker, failed).length < policy.Attempts &&
    nextDelay(policy, tracker, failed) < policy.Interval
  );
}

/** The tracker of the allocation that replaces `previous`. */
export function nextTracker(
  policy: ReschedulePolicy | null,
  previous: Allocation,
  now: number,
): RescheduleTracker {
  const kept =
    policy === null || policy.Unlimited
      ? (previous.RescheduleTracker?.Events ?? []).slice(-(KEPT_EVENTS - 1))
      : recentEvents(policy, previous.RescheduleTracker, now);
  const event: RescheduleEvent = {
    Delay: policy === null ? 0 : nextDelay(policy, previous.RescheduleTracker, failTime(previous)),
    PrevAllocID: previous.ID,
    PrevNodeID: previous.NodeID,
    RescheduleTime: now,
  };
  return { Events: [...kept, event] };
}

/** Nodes the allocation and those before it failed on. */
export function failedNodes(previous: Allocation): Set<string> {
  const nodes = new Set([previous.NodeID]);
  for (const event of previous.RescheduleTracker?.Events ?? []) nodes.add(event.PrevNodeID);
  return nodes;
}

/** A client that lost its servers counts from its last heartbeat: its tasks get this long to end, where they name nothing longer. */
const LEAST_KILL_TIMEOUT = 5e9;

/**
 * When the client of a lost allocation will have stopped it by the group's `stop_after_client_disconnect`, counted from when it
 * was found lost, or from `now` where it is lost just now.
 */
export function clientStopTime(allocation: Allocation, group: TaskGroup, now: number): number {
  const lost = allocation.AllocStates?.find(({ Value }) => Value === AllocClientStatus.Lost);
  const since = lost === undefined ? now : parseTime(lost.Time) || now;
  const kill = group.Tasks.reduce((longest, task) => Math.max(longest, task.KillTimeout), LEAST_KILL_TIMEOUT);
  return since + (group.StopAfterClientDisconnect ?? 0) + kill;
}

function recentEvents(
  policy: ReschedulePolicy,
  tracker: RescheduleTracker | null | undefined,
  at: number,
): RescheduleEvent[] {
  return (tracker?.Events ?? []).filter((event) => at - event.RescheduleTime < policy.Interval);
}

/** Unix nanoseconds of an RFC 3339 time; milliseconds are as exact as these decisions need. 0 when it is none. */
export function parseTime(text: string): number {
  const milliseconds = Date.parse(text);
  return Number.isNaN(milliseconds) || milliseconds <= 0 ? 0 : milliseconds * 1e6;
}
