/** Differences between two versions of a job. */

import { isDeepStrictEqual } from "node:util";
import {
  type Job,
  type JobDiff,
  type RestartPolicy,
  type Task,
  type TaskDiff,
  type TaskGroup,
  type TaskGroupDiff,
} from "@drover/plugin-sdk";
import {
  block,
  blockSet,
  changesOf,
  inEditsOnly,
  keyedBlocks,
  openBlock,
  orNull,
  type Shape,
  textSet,
  wholeType,
} from "./blocks.js";
import { compareText } from "./fields.js";
import {
  affinityShape,
  constraintShape,
  diskShape,
  logConfigShape,
  migrateShape,
  networks,
  rescheduleShape,
  resourcesShape,
  restartShape,
  scalingShape,
  spreadShape,
  updateShape,
  volumeShape,
} from "./placement-shapes.js";
import { services } from "./service-shapes.js";

/** A task, with what tells whether its restart policy is its own. */
type GroupTask = Task & { readonly ownRestart: RestartPolicy | null };

const taskShape: Shape<GroupTask> = {
  fields: ["Driver", "Env", "KillSignal", "KillTimeout", "Kind", "Leader", "Meta", "ShutdownDelay", "User"],
  parts: [
    blockSet("Constraint", (task) => task.Constraints, constraintShape),
    blockSet("Affinity", (task) => task.Affinities, affinityShape),
    openBlock("Config", (task) => task.Config),
    block("Resources", (task) => task.Resources, resourcesShape),
    block("LogConfig", (task) => task.LogConfig, logConfigShape),
    blockSet("Artifact", (task) => task.Artifacts, {
      fields: ["GetterHeaders", "GetterMode", "GetterOptions", "GetterSource", "RelativeDest"],
    }),
    services((task) => task.Services),
    block("Vault", (task) => task.Vault, {
      fields: ["ChangeMode", "ChangeSignal", "Env", "Namespace"],
      parts: [textSet("Policies", (vault) => vault.Policies)],
    }),
    blockSet("Template", (task) => task.Templates, {
      fields: [
        "ChangeMode",
        "ChangeSignal",
        "DestPath",
        "EmbeddedTmpl",
        "Envvars",
        "LeftDelim",
        "Perms",
        "RightDelim",
        "SourcePath",
        "Splay",
        "VaultGrace",
      ],
    }),
    block("DispatchPayload", (task) => task.DispatchPayload, { fields: ["File"] }),
    block("Lifecycle", (task) => task.Lifecycle, { fields: ["Hook", "Sidecar"] }),
    blockSet("VolumeMount", (task) => task.VolumeMounts, {
      fields: ["Destination", "PropagationMode", "ReadOnly", "Volume"],
    }),
    block("CSIPluginConfig", (task) => task.CSIPluginConfig, { fields: ["ID", "MountDir", "Type"] }),
    inEditsOnly(block("RestartPolicy", (task) => task.ownRestart, restartShape)),
    inEditsOnly(
      keyedBlocks(
        "ScalingPolicy",
        (task) => task.ScalingPolicies,
        (policy) => policy.Type,
        scalingShape,
      ),
    ),
  ],
};

const groupShape: Shape<TaskGroup> = {
  fields: ["Count", "Meta", "ShutdownDelay", "StopAfterClientDisconnect"],
  parts: [
    blockSet("Constraint", (group) => group.Constraints, constraintShape),
    blockSet("Affinity", (group) => group.Affinities, affinityShape),
    block("RestartPolicy", (group) => group.RestartPolicy, restartShape),
    block("ReschedulePolicy", (group) => group.ReschedulePolicy, rescheduleShape),
    block("EphemeralDisk", (group) => group.EphemeralDisk, diskShape),
    block("Update", (group) => group.Update, updateShape),
    networks((group) => group.Networks),
    services((group) => group.Services),
    keyedBlocks(
      "Volume",
      (group) => Object.values(group.Volumes ?? {}),
      (volume) => volume.Name,
      volumeShape,
    ),
    inEditsOnly(blockSet("Spread", (group) => group.Spreads, spreadShape)),
    inEditsOnly(block("Migrate", (group) => group.Migrate, migrateShape)),
    inEditsOnly(block("Scaling", (group) => group.Scaling, scalingShape)),
    inEditsOnly(block("Consul", (group) => group.Consul, { fields: ["Namespace"] })),
  ],
};

/** What a submitter decides. The id is the job's identity; indexes, version, status and tokens are the server's. */
const jobShape: Shape<Job> = {
  fields: [
    "AllAtOnce",
    "ConsulNamespace",
    "Dispatched",
    "Meta",
    "Name",
    "Namespace",
    "ParentID",
    "Priority",
    "Region",
    "Stop",
    "Type",
    "VaultNamespace",
  ],
  parts: [
    textSet("Datacenters", (job) => job.Datacenters),
    blockSet("Constraint", (job) => job.Constraints, constraintShape),
    blockSet("Affinity", (job) => job.Affinities, affinityShape),
    inEditsOnly(blockSet("Spread", (job) => job.Spreads, spreadShape)),
    block("Periodic", (job) => job.Periodic, {
      fields: ["Enabled", "ProhibitOverlap", "Spec", "SpecType", "TimeZone"],
    }),
    block("ParameterizedJob", (job) => job.ParameterizedJob, {
      fields: ["Payload"],
      parts: [
        textSet("MetaOptional", (config) => config.MetaOptional),
        textSet("MetaRequired", (config) => config.MetaRequired),
      ],
    }),
    block("Multiregion", (job) => job.Multiregion, {
      fields: [],
      parts: [
        block("Strategy", (multiregion) => multiregion.Strategy, { fields: ["MaxParallel", "OnFailure"] }),
        keyedBlocks(
          "Region",
          (multiregion) => multiregion.Regions,
          (region) => region.Name,
          {
            fields: ["Count", "Meta", "Name"],
            parts: [textSet("Datacenters", (region) => region.Datacenters)],
          },
        ),
      ],
    }),
  ],
};

/**
 * What leads from `before` to `after`; null for a job that is not there. Both in their stored form. Lists are sorted, groups
 * and tasks are all named, changed or not. With `context`, blocks that changed are shown whole. Nothing is annotated.
 * Source: https://developer.hashicorp.com/nomad/api-docs/jobs#create-job-plan and recorded answers.
 */
export function diffJobs(before: Job | null, after: Job | null, context: boolean): JobDiff {
  const id = (after ?? before)?.ID ?? "";
  if (before !== null && after !== null && before.ID !== after.ID) {
    throw new Error(`jobs "${before.ID}" and "${after.ID}" are no versions of one job`);
  }
  const { fields, objects } = changesOf(jobShape, before, after, { fields: false, parts: context });
  const groups = pairs(before?.TaskGroups, after?.TaskGroups).map(([old, now]) =>
    diffGroups(old, now, context),
  );
  return {
    Fields: orNull(fields),
    ID: id,
    Objects: orNull(objects),
    TaskGroups: orNull(groups),
    Type: wholeType(before, after, [...fields, ...objects, ...groups]),
  };
}

function diffGroups(before: TaskGroup | null, after: TaskGroup | null, context: boolean): TaskGroupDiff {
  const { fields, objects } = changesOf(groupShape, before, after, { fields: false, parts: context });
  const tasks = pairs(before === null ? [] : tasksOf(before), after === null ? [] : tasksOf(after)).map(
    ([old, now]) => diffTasks(old, now, context),
  );
  return {
    Fields: orNull(fields),
    Name: (after ?? before)!.Name,
    Objects: orNull(objects),
    Tasks: orNull(tasks),
    Type: wholeType(before, after, [...fields, ...objects, ...tasks]),
    Updates: null,
  };
}

function diffTasks(before: GroupTask | null, after: GroupTask | null, context: boolean): TaskDiff {
  const { fields, objects, type } = changesOf(taskShape, before, after, { fields: false, parts: context });
  return {
    Annotations: null,
    Fields: orNull(fields),
    Name: (after ?? before)!.Name,
    Objects: orNull(objects),
    Type: type,
  };
}

/** A policy that a task has from its group is the group's to show. */
function tasksOf(group: TaskGroup): GroupTask[] {
  return group.Tasks.map((task) => ({
    ...task,
    ownRestart: isDeepStrictEqual(task.RestartPolicy, group.RestartPolicy) ? null : task.RestartPolicy,
  }));
}

/** What has the same name on both sides, in order of name. */
function pairs<T extends { readonly Name: string }>(
  before: readonly T[] = [],
  after: readonly T[] = [],
): [before: T | null, after: T | null][] {
  const old = new Map(before.map((item) => [item.Name, item]));
  const now = new Map(after.map((item) => [item.Name, item]));
  return [...new Set([...old.keys(), ...now.keys()])]
    .sort(compareText)
    .map((name) => [old.get(name) ?? null, now.get(name) ?? null]);
}

/** Differences of each version from the one before it; `versions` newest first. Null where there is but one. */
export function diffVersions(versions: readonly Job[]): JobDiff[] | null {
  return orNull(versions.slice(0, -1).map((version, at) => diffJobs(versions[at + 1]!, version, true)));
}
