import { posix } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  type EphemeralDisk,
  MIN_CPU_MHZ,
  MIN_MEMORY_MB,
  type NetworkResource,
  type Resources,
  type Service,
  type Task,
  type TaskArtifact,
  type TaskGroup,
  type Template,
  type Vault,
} from "@drover/plugin-sdk";
import { formatDuration } from "../duration.js";
import { type ErrorList, quoted } from "./errors.js";
import { checkAffinities, checkConstraints } from "./placement.js";
import { checkRestart } from "./policies.js";
import { checkService } from "./service.js";

/** Hexadecimal digits of each checksum an artifact may carry. */
const CHECKSUM_DIGITS: Readonly<Record<string, number>> = { md5: 32, sha1: 40, sha256: 64, sha512: 128 };

/** True when a path below the task's folder leads out of the allocation's folder. */
function escapes(path: string): boolean {
  // The allocation's folder is two levels up from a task's: <alloc>/<task>/<path>.
  const resolved = posix.normalize(posix.join("/alloc/task", path));
  return !resolved.startsWith("/alloc/") && resolved !== "/alloc";
}

export function checkTask(t: Task, group: TaskGroup, jobType: string, list: ErrorList): void {
  list.check(t.Name === "", "Missing task name");
  if (/[/\\]/.test(t.Name)) list.add("Task name cannot include slashes");
  else if (t.Name.includes("\0")) list.add("Task name cannot include null character");
  list.check(t.Driver === "", "Missing task driver");
  if (t.KillTimeout < 0) list.add("KillTimeout must be a positive value");
  else if (
    group.Update !== null &&
    group.Update.ProgressDeadline > 0 &&
    t.KillTimeout > group.Update.ProgressDeadline
  ) {
    const [kill, deadline] = [formatDuration(t.KillTimeout), formatDuration(group.Update.ProgressDeadline)];
    list.add(`KillTimeout (${kill}) must be shorter than the group's progress deadline (${deadline})`);
  }
  list.check(t.ShutdownDelay < 0, "ShutdownDelay must be a positive value");
  list.part((inner) => checkResources(t.Resources, inner));
  list.part((inner) => checkLogs(t, inner));
  checkConstraints(t.Constraints, list);
  t.Constraints?.forEach(({ Operand }, i) => {
    if (Operand === "distinct_hosts" || Operand === "distinct_property") {
      list.add(`Constraint ${i + 1} has disallowed Operand at task level: ${Operand}`);
    }
  });
  checkAffinities(t.Affinities, jobType, list);
  list.part((inner) => checkTaskServices(t.Services, group.Networks, t.Resources.Networks, inner));
  checkLogStorage(t, group.EphemeralDisk, list);
  t.Artifacts?.forEach((a, i) => {
    list.nest(`Artifact ${i + 1} validation failed`, (inner) => checkArtifact(a, inner));
  });
  if (t.Vault !== null) {
    const vault = t.Vault;
    list.nest("Vault validation failed", (inner) => checkVault(vault, inner));
  }
  checkTemplates(t.Templates, list);
  if (t.DispatchPayload !== null && escapes(posix.join("local", t.DispatchPayload.File))) {
    list.add("Dispatch Payload validation failed: destination escapes allocation directory");
  }
  if (t.Lifecycle !== null) {
    const { Hook } = t.Lifecycle;
    if (Hook === "") list.add("Lifecycle validation failed: no lifecycle hook provided");
    else if (!["prestart", "poststart", "poststop"].includes(Hook)) {
      list.add(`Lifecycle validation failed: invalid hook: ${Hook}`);
    }
  }
  // An inherited policy was checked with the group.
  if (t.RestartPolicy !== null && !isDeepStrictEqual(t.RestartPolicy, group.RestartPolicy)) {
    const restart = t.RestartPolicy;
    list.part((inner) => checkRestart(restart, inner));
  }
  checkVolumeMounts(t, list);
}

function checkResources(r: Resources, list: ErrorList): void {
  list.check(r.Cores > 0 && r.CPU > 0, "Task can only ask for 'cpu' or 'cores' resource, not both.");
  list.check(r.Cores < 0, `minimum Cores value is 0; got ${r.Cores}`);
  list.check(r.CPU < MIN_CPU_MHZ && r.Cores === 0, `minimum CPU value is ${MIN_CPU_MHZ}; got ${r.CPU}`);
  list.check(r.MemoryMB < MIN_MEMORY_MB, `minimum MemoryMB value is ${MIN_MEMORY_MB}; got ${r.MemoryMB}`);
  if (r.MemoryMaxMB !== 0 && r.MemoryMaxMB < r.MemoryMB) {
    list.add(`MemoryMaxMB value (${r.MemoryMaxMB}) should be larger than MemoryMB value (${r.MemoryMB})`);
  }
  if (r.DiskMB > 0) {
    list.add("Task can't ask for disk resources, they have to be specified at the task group level.");
  }
  r.Devices?.forEach((device, i) => {
    list.nest(`device ${i + 1} failed validation`, (inner) => {
      if (!/^[^/]+(\/[^/]+){0,2}$/.test(device.Name)) {
        inner.add(
          "device name must be given as one of the following: type, vendor/type, or vendor/type/name",
        );
      }
      inner.check(device.Count < 1, `device count must be at least 1; got ${device.Count}`);
      checkConstraints(device.Constraints, inner);
      checkAffinities(device.Affinities, "service", inner);
    });
  });
}

function checkLogs({ LogConfig: logs }: Task, list: ErrorList): void {
  list.check(logs.MaxFiles < 1, `minimum number of files is 1; got ${logs.MaxFiles}`);
  list.check(logs.MaxFileSizeMB < 1, `minimum file size is 1MB; got ${logs.MaxFileSizeMB}`);
}

function checkLogStorage({ LogConfig: logs }: Task, disk: EphemeralDisk, list: ErrorList): void {
  const used = logs.MaxFiles * logs.MaxFileSizeMB;
  if (disk.SizeMB <= used) {
    list.add(`log storage (${used} MB) must be less than requested disk capacity (${disk.SizeMB} MB)`);
  }
}

/** Services of a task, and that the port labels they use exist. */
function checkTaskServices(
  services: readonly Service[] | null,
  groupNetworks: readonly NetworkResource[] | null,
  taskNetworks: readonly NetworkResource[] | null,
  list: ErrorList,
): void {
  const labels = new Set(
    [...(groupNetworks ?? []), ...(taskNetworks ?? [])]
      .flatMap((n) => [...(n.DynamicPorts ?? []), ...(n.ReservedPorts ?? [])])
      .map((port) => port.Label),
  );
  const missing = (label: string) =>
    label !== "" && !/^\d+$/.test(label) && !label.includes("${") && !labels.has(label);
  services?.forEach((s, i) => {
    list.nest(`service[${i}] ${quoted(s.Name)} validation failed`, (inner) => checkService(s, inner));
    if (missing(s.PortLabel))
      list.add(`port label ${quoted(s.PortLabel)} referenced by services ${s.Name} does not exist`);
    for (const c of s.Checks ?? []) {
      if (missing(c.PortLabel))
        list.add(`port label ${quoted(c.PortLabel)} referenced by check ${c.Name} does not exist`);
    }
  });
}

function checkArtifact(a: TaskArtifact, list: ErrorList): void {
  list.check(a.GetterSource === "", "source must be specified");
  if (!["any", "file", "dir"].includes(a.GetterMode)) {
    list.add(`invalid artifact mode ${quoted(a.GetterMode)}; must be one of: any, file, dir`);
  }
  list.check(escapes(a.RelativeDest), "destination escapes allocation directory");
  const checksum = a.GetterOptions?.checksum;
  if (checksum === undefined || checksum.includes("${")) return;
  const [type = "", digest, more] = checksum.trim().split(":");
  if (checksum.trim() === "") list.add("checksum value cannot be empty");
  else if (type === "file") return;
  else if (digest === undefined || more !== undefined) {
    list.add(`checksum must be given as "type:value"; got ${quoted(checksum)}`);
  } else if (!Object.hasOwn(CHECKSUM_DIGITS, type)) list.add(`unsupported checksum type: ${type}`);
  else if (!/^[0-9a-f]*$/i.test(digest)) list.add(`invalid checksum: ${quoted(digest)} is not hexadecimal`);
  else if (digest.length !== CHECKSUM_DIGITS[type]) list.add(`invalid ${type} checksum: ${digest}`);
}

function checkVault(v: Vault, list: ErrorList): void {
  list.check(v.Policies === null, "Policy list cannot be empty");
  list.check(v.Policies?.includes("root") === true, 'Can not specify "root" policy');
  if (v.ChangeMode === "signal") {
    list.check(v.ChangeSignal === "", 'Signal must be specified when using change mode "signal"');
  } else if (v.ChangeMode !== "noop" && v.ChangeMode !== "restart") {
    list.add(`Unknown change mode ${quoted(v.ChangeMode)}`);
  }
}

function checkTemplates(templates: readonly Template[] | null, list: ErrorList): void {
  const destinations = new Map<string, number>();
  templates?.forEach((template, i) => {
    list.nest(`Template ${i + 1} validation failed`, (inner) => checkTemplate(template, inner));
    const other = destinations.get(template.DestPath);
    if (other === undefined) destinations.set(template.DestPath, i + 1);
    else list.add(`Template ${i + 1} has same destination as ${other}`);
  });
}

function checkTemplate(t: Template, list: ErrorList): void {
  if (t.SourcePath === "" && t.EmbeddedTmpl === "") {
    list.add("Must specify a source path or have an embedded template");
  }
  list.check(t.DestPath === "", "Must specify a destination for the template");
  list.check(escapes(t.DestPath), "template destination escapes allocation directory");
  if (t.ChangeMode === "signal") {
    list.check(t.ChangeSignal === "", "Must specify signal value when change mode is signal");
    list.check(t.Envvars, "cannot use signals with env var templates");
  } else if (t.ChangeMode !== "noop" && t.ChangeMode !== "restart") {
    list.add("Invalid change mode. Must be one of the following: noop, signal, restart");
  }
  list.check(t.Splay < 0, "Must specify positive splay value");
  if (t.Perms !== "" && !/^[0-7]{1,5}$/.test(t.Perms))
    list.add(`Failed to parse ${quoted(t.Perms)} as octal`);
}

function checkVolumeMounts(t: Task, list: ErrorList): void {
  t.VolumeMounts?.forEach(({ PropagationMode: mode, Destination }, i) => {
    if (!["private", "host-to-task", "bidirectional"].includes(mode)) {
      list.add(`Volume Mount (${i}) has an invalid propagation mode: ${quoted(mode)}`);
    }
    list.check(Destination === "", `Volume Mount (${i}) has no destination`);
  });
  const plugin = t.CSIPluginConfig;
  if (plugin === null) return;
  list.check(plugin.ID === "", "CSIPluginConfig must have a non-empty PluginID");
  if (!["controller", "node", "monolith"].includes(plugin.Type)) {
    list.add(
      `CSIPluginConfig PluginType must be one of 'node', 'controller', or 'monolith', got: "${plugin.Type}"`,
    );
  }
}
