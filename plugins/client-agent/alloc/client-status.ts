/** The status of an allocation that follows from its tasks. */
import { AllocClientStatus, type TaskState, TaskStatus } from "@drover/plugin-sdk";

export interface ClientStatusSummary {
  readonly status: AllocClientStatus;
  readonly description: string;
}

export function clientStatusOf(tasks: Iterable<TaskState>): ClientStatusSummary {
  let pending = false;
  let running = false;
  let failed = false;
  for (const task of tasks) {
    if (task.State === TaskStatus.Pending) pending = true;
    else if (task.State === TaskStatus.Running) running = true;
    else if (task.Failed) failed = true;
  }
  if (failed) return { status: AllocClientStatus.Failed, description: "Failed tasks" };
  if (running) return { status: AllocClientStatus.Running, description: "Tasks are running" };
  if (pending) return { status: AllocClientStatus.Pending, description: "No tasks have started" };
  return { status: AllocClientStatus.Complete, description: "All tasks have completed" };
}
