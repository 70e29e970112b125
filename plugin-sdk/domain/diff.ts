/** Differences between two versions of a job (job plan, and versions with `?diffs=true`). */

/** Kind of a difference. */
export const DiffType = { None: "None", Added: "Added", Deleted: "Deleted", Edited: "Edited" } as const;
export type DiffType = (typeof DiffType)[keyof typeof DiffType];

/** What the scheduler would do for a difference. */
export const DiffAnnotation = {
  ForcesCreate: "forces create",
  ForcesDestroy: "forces destroy",
  ForcesInplaceUpdate: "forces in-place update",
  ForcesDestructiveUpdate: "forces create/destroy update",
} as const;
export type DiffAnnotation = (typeof DiffAnnotation)[keyof typeof DiffAnnotation];

/** Keys of TaskGroupDiff.Updates. */
export const UpdateType = {
  Ignore: "ignore",
  Create: "create",
  Destroy: "destroy",
  Migrate: "migrate",
  Canary: "canary",
  InplaceUpdate: "in-place update",
  DestructiveUpdate: "create/destroy update",
  Preemptions: "preemptions",
} as const;
export type UpdateType = (typeof UpdateType)[keyof typeof UpdateType];

/** A changed scalar; both sides printed as strings, map entries named `Meta[owner]`. */
export interface FieldDiff {
  Annotations: string[] | null;
  Name: string;
  New: string;
  Old: string;
  Type: DiffType;
}

/** A changed block. */
export interface ObjectDiff {
  Fields: FieldDiff[] | null;
  Name: string;
  Objects: ObjectDiff[] | null;
  Type: DiffType;
}

/** A changed task. */
export interface TaskDiff {
  Annotations: string[] | null;
  Fields: FieldDiff[] | null;
  Name: string;
  Objects: ObjectDiff[] | null;
  Type: DiffType;
}

/** A changed group. */
export interface TaskGroupDiff {
  Fields: FieldDiff[] | null;
  Name: string;
  Objects: ObjectDiff[] | null;
  Tasks: TaskDiff[] | null;
  Type: DiffType;
  /** Allocations by what would happen to them; keys of UpdateType. */
  Updates: Record<string, number> | null;
}

/** A changed job. */
export interface JobDiff {
  Fields: FieldDiff[] | null;
  ID: string;
  Objects: ObjectDiff[] | null;
  TaskGroups: TaskGroupDiff[] | null;
  Type: DiffType;
}
