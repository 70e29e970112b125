/** What the scheduler would do about a difference. */
import {
  type DesiredUpdates,
  DiffAnnotation,
  DiffType,
  type Job,
  type JobDiff,
  lookupTaskGroup,
  type PlanAnnotations,
  type TaskDiff,
  type TaskGroup,
  type TaskGroupDiff,
  UpdateType,
} from "@drover/plugin-sdk";
import { tasksUpdated } from "@drover/plugin-sdk/scheduling";

const UPDATES: readonly (readonly [kind: UpdateType, counted: keyof DesiredUpdates])[] = [
  [UpdateType.Ignore, "Ignore"],
  [UpdateType.Create, "Place"],
  [UpdateType.Destroy, "Stop"],
  [UpdateType.Migrate, "Migrate"],
  [UpdateType.Canary, "Canary"],
  [UpdateType.InplaceUpdate, "InPlaceUpdate"],
  [UpdateType.DestructiveUpdate, "DestructiveUpdate"],
  [UpdateType.Preemptions, "Preemptions"],
];

/** Adds to the difference from `before` to `after` what a dry run decided: kinds of updates by group, and what forces them. */
export function annotate(
  diff: JobDiff,
  before: Job | null,
  after: Job | null,
  annotations: PlanAnnotations | null,
): void {
  for (const group of diff.TaskGroups ?? []) {
    const desired = annotations?.DesiredTGUpdates?.[group.Name];
    if (desired !== undefined) group.Updates = updatesOf(desired);
    annotateCount(group);
    for (const task of group.Tasks ?? []) {
      const annotation = taskAnnotation(group, task, before, after);
      if (annotation !== null) task.Annotations = [annotation];
    }
  }
}

function updatesOf(desired: DesiredUpdates): Record<string, number> {
  const updates: Record<string, number> = {};
  for (const [kind, counted] of UPDATES) if (desired[counted] > 0) updates[kind] = desired[counted];
  return updates;
}

function annotateCount(group: TaskGroupDiff): void {
  const count = group.Fields?.find((field) => field.Name === "Count");
  if (count === undefined || count.Type === DiffType.None) return;
  const grows = Number(count.New) > Number(count.Old);
  count.Annotations = [grows ? DiffAnnotation.ForcesCreate : DiffAnnotation.ForcesDestroy];
}

function taskAnnotation(
  group: TaskGroupDiff,
  task: TaskDiff,
  before: Job | null,
  after: Job | null,
): DiffAnnotation | null {
  if (task.Type === DiffType.None) return null;
  if (group.Type === DiffType.Added) return DiffAnnotation.ForcesCreate;
  if (group.Type === DiffType.Deleted) return DiffAnnotation.ForcesDestroy;
  const old = before === null ? undefined : lookupTaskGroup(before, group.Name);
  const now = after === null ? undefined : lookupTaskGroup(after, group.Name);
  if (old === undefined || now === undefined) return null;
  // The scheduler's own rule, asked about this task alone: everything around it is held as it was.
  const alone = (from: TaskGroup): Job => ({
    ...before!,
    TaskGroups: [{ ...old, Tasks: from.Tasks.filter((one) => one.Name === task.Name) }],
  });
  return tasksUpdated(alone(old), alone(now), group.Name)
    ? DiffAnnotation.ForcesDestructiveUpdate
    : DiffAnnotation.ForcesInplaceUpdate;
}
