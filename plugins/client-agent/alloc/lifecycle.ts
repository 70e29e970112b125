/**
 * When the tasks of a group may start
 * (https://developer.hashicorp.com/nomad/docs/job-specification/lifecycle): prestart tasks at once; main tasks when
 * prestart tasks have completed and prestart sidecars run; poststart tasks when the main tasks run; poststop tasks when
 * everything else has ended.
 */
import { LifecycleHook, type Task, type TaskState, TaskStatus } from "@drover/plugin-sdk";

/** A task without a hook. */
const MAIN = "main";

export function hookOf(task: Task): string {
  return task.Lifecycle === null || task.Lifecycle.Hook === "" ? MAIN : task.Lifecycle.Hook;
}

export function isSidecar(task: Task): boolean {
  return hookOf(task) !== MAIN && task.Lifecycle?.Sidecar === true;
}

export function isPoststop(task: Task): boolean {
  return hookOf(task) === LifecycleHook.Poststop;
}

/** Runs again after a success: main tasks of services, and sidecars. Other hooks run once. */
export function restartsOnSuccess(task: Task, jobType: string): boolean {
  if (hookOf(task) !== MAIN) return isSidecar(task);
  return jobType === "service" || jobType === "system";
}

/** Whether `task` may start, given the states of all. */
export function mayStart(
  task: Task,
  tasks: readonly Task[],
  stateOf: (name: string) => TaskState | undefined,
): boolean {
  const of = (hook: string) => tasks.filter((other) => hookOf(other) === hook);
  const state = (other: Task) => stateOf(other.Name);
  const succeeded = (other: Task) =>
    state(other)?.State === TaskStatus.Dead && state(other)?.Failed === false;
  const runs = (other: Task) => state(other)?.State === TaskStatus.Running;
  switch (hookOf(task)) {
    case LifecycleHook.Prestart:
      return true;
    case LifecycleHook.Poststart:
      return of(MAIN).every((other) => runs(other) || succeeded(other));
    case LifecycleHook.Poststop:
      return tasks
        .filter((other) => !isPoststop(other))
        .every((other) => state(other)?.State === TaskStatus.Dead);
    default:
      return of(LifecycleHook.Prestart).every((other) => (isSidecar(other) ? runs(other) : succeeded(other)));
  }
}

/** Whether a sidecar has nothing left to stand beside: every other task before the poststop ones is dead. */
export function onlySidecarsLeft(
  tasks: readonly Task[],
  stateOf: (name: string) => TaskState | undefined,
): boolean {
  const others = tasks.filter((task) => !isPoststop(task) && !isSidecar(task));
  return others.length > 0 && others.every((task) => stateOf(task.Name)?.State === TaskStatus.Dead);
}
