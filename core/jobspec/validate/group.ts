import type { Job, NetworkResource, TaskGroup, VolumeRequest } from "@drover/plugin-sdk";
import { runsOnEveryNode, runsToCompletion } from "../job-types.js";
import { type ErrorList, quoted } from "./errors.js";
import { checkAffinities, checkConstraints, checkSpreads } from "./placement.js";
import { checkMigrate, checkReschedule, checkRestart, checkScaling, checkUpdate } from "./policies.js";
import { checkGroupServices } from "./service.js";
import { checkTask } from "./task.js";

const MAX_PORT = 65_535;
const MIN_DISK_MB = 10;

export function checkGroup(group: TaskGroup, job: Job, list: ErrorList): void {
  if (group.Name === "") list.add("Missing task group name");
  else if (group.Name.includes("\0")) list.add("Task group name contains null character");
  list.check(group.Count < 0, "Task group count can't be negative");
  list.check(group.Tasks.length === 0, "Missing tasks for task group");
  checkConstraints(group.Constraints, list);
  checkAffinities(group.Affinities, job.Type, list);
  list.part((inner) => checkRestart(group.RestartPolicy, inner));
  checkSpreads(group.Spreads, job.Type, list);
  checkReplacement(group, job, list);
  list.check(
    group.EphemeralDisk.SizeMB < MIN_DISK_MB,
    `minimum DiskMB value is ${MIN_DISK_MB}; got ${group.EphemeralDisk.SizeMB}`,
  );
  checkTaskNames(group, list);
  for (const [name, volume] of Object.entries(group.Volumes ?? {})) {
    list.nest(`Task group volume validation for ${name} failed`, (inner) =>
      checkVolume(volume, group, inner),
    );
  }
  list.nest("Task group network validation failed", (inner) => checkNetworks(group, inner));
  list.nest("Task group service validation failed", (inner) => checkGroupServices(group, inner));
  const { Scaling: scaling } = group;
  if (scaling !== null) {
    list.nest("Task group scaling policy validation failed", (inner) =>
      checkScaling(scaling, group.Count, inner),
    );
  }
  for (const task of group.Tasks) {
    task.VolumeMounts?.forEach(({ Volume }, i) => {
      if (Volume === "") list.add(`Task ${task.Name} has a volume mount (${i}) referencing an empty volume`);
      else if (group.Volumes === null || !Object.hasOwn(group.Volumes, Volume)) {
        list.add(`Task ${task.Name} has a volume mount (${i}) referencing undefined volume ${Volume}`);
      }
    });
    list.nest(`Task ${task.Name} validation failed`, (inner) => checkTask(task, group, job.Type, inner));
  }
}

/** Policies that depend on the type of the job: reschedule, update, migrate. */
function checkReplacement(group: TaskGroup, job: Job, list: ErrorList): void {
  const { Migrate: migrate, ReschedulePolicy: reschedule, Update: update } = group;
  if (runsOnEveryNode(job.Type))
    list.check(reschedule !== null, "System jobs should not have a reschedule policy");
  else if (reschedule === null) list.add(`Task Group ${group.Name} should have a reschedule policy`);
  else list.part((inner) => checkReschedule(reschedule, inner));
  if (update !== null) {
    list.check(runsToCompletion(job.Type), `Job type ${quoted(job.Type)} does not allow update block`);
    list.part((inner) => checkUpdate(update, inner));
  }
  if (migrate !== null) {
    const allowed = !runsToCompletion(job.Type) && !runsOnEveryNode(job.Type);
    if (allowed) list.part((inner) => checkMigrate(migrate, inner));
    else list.add(`Job type ${quoted(job.Type)} does not allow migrate block`);
  }
}

function checkTaskNames(group: TaskGroup, list: ErrorList): void {
  const seen = new Map<string, number>();
  group.Tasks.forEach((task, i) => {
    const existing = seen.get(task.Name);
    if (task.Name === "") list.add(`Task ${i + 1} missing name`);
    else if (existing !== undefined)
      list.add(`Task ${i + 1} redefines '${task.Name}' from task ${existing + 1}`);
    else seen.set(task.Name, i);
  });
  list.check(group.Tasks.filter((task) => task.Leader).length > 1, "Only one task may be marked as leader");
}

/** Labels are unique in a group, static ports too; numbers are port numbers. */
function checkNetworks(group: TaskGroup, list: ErrorList): void {
  const labels = new Map<string, string>();
  const statics = new Map<string, string>();
  const all: [NetworkResource, string][] = [
    ...(group.Networks ?? []).map((n): [NetworkResource, string] => [n, "taskgroup network"]),
    ...group.Tasks.flatMap((task) =>
      (task.Resources.Networks ?? []).map((n): [NetworkResource, string] => [n, `task ${task.Name}`]),
    ),
  ];
  list.check((group.Networks?.length ?? 0) > 1, "Only one network block is allowed in a task group");
  for (const [network, owner] of all) {
    if (!/^(?:|none|bridge|host|cni\/.+)$/.test(network.Mode)) {
      list.add(`Network mode ${quoted(network.Mode)} is not one of none, bridge, host or cni/<name>`);
    }
    for (const { Label, Value, To, HostNetwork } of [
      ...(network.ReservedPorts ?? []),
      ...(network.DynamicPorts ?? []),
    ]) {
      const user = `${owner}:${Label}`;
      if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(Label)) {
        list.add(`Port label ${quoted(Label)} must consist of letters, digits, "_", "-" and "."`);
      }
      if (labels.has(Label)) list.add(`Port label ${Label} already in use by ${labels.get(Label)}`);
      else labels.set(Label, owner);
      // The same number may be taken on two different host networks.
      const address = `${HostNetwork}:${Value}`;
      if (Value < 0 || Value > MAX_PORT) {
        list.add(`Port ${Label} (${Value}) cannot be ${Value < 0 ? "negative" : `greater than ${MAX_PORT}`}`);
      } else if (Value !== 0) {
        if (statics.has(address))
          list.add(`Static port ${Value} already reserved by ${statics.get(address)}`);
        else statics.set(address, user);
      }
      if (To < -1) list.add(`Port ${quoted(Label)} cannot be mapped to negative value ${To}`);
      else if (To > MAX_PORT) {
        list.add(`Port ${quoted(Label)} cannot be mapped to a port (${To}) greater than ${MAX_PORT}`);
      }
    }
  }
}

function checkVolume(v: VolumeRequest, group: TaskGroup, list: ErrorList): void {
  list.check(v.Source === "", "volume has an empty source");
  if (v.Type === "host") {
    list.check(v.AttachmentMode !== "", "host volumes cannot have an attachment mode");
    list.check(v.AccessMode !== "", "host volumes cannot have an access mode");
    list.check(v.MountOptions !== null, "host volumes cannot have mount options");
    list.check(v.PerAlloc, "host volumes do not support per_alloc");
  } else if (v.Type === "csi") {
    if (!["file-system", "block-device"].includes(v.AttachmentMode)) {
      list.add(
        `CSI volumes must have an attachment mode of "file-system" or "block-device", not ${quoted(v.AttachmentMode)}`,
      );
    }
    checkAccessMode(v, group, list);
    const canaries = (group.Update?.Canary ?? 0) > 0;
    list.check(v.PerAlloc && canaries, "volume cannot be per_alloc when canaries are in use");
  } else list.add(`volume has unrecognised type ${v.Type}`);
}

function checkAccessMode(v: VolumeRequest, group: TaskGroup, list: ErrorList): void {
  const modes = [
    "single-node-reader-only",
    "single-node-writer",
    "multi-node-reader-only",
    "multi-node-single-writer",
    "multi-node-multi-writer",
  ];
  if (!modes.includes(v.AccessMode)) list.add(`CSI volumes must have an access mode of ${modes.join(", ")}`);
  list.check(
    v.AccessMode.endsWith("reader-only") && !v.ReadOnly,
    `${v.AccessMode} volumes must be read-only`,
  );
  if (v.AccessMode === "single-node-writer" && group.Count > 1 && !v.PerAlloc && !v.ReadOnly) {
    list.add(
      "volume with single-node-writer access mode cannot be shared by several allocations; use per_alloc",
    );
  }
}
