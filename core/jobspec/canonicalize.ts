import { basename, join } from "node:path/posix";
import type { JobInput, Sparse, TaskArtifact, Template, Vault } from "@drover/plugin-sdk";
import { DEFAULT_NAMESPACE, DEFAULT_REGION, JOB_DEFAULT_PRIORITY } from "@drover/plugin-sdk";
import {
  defaultMigrate,
  defaultReschedule,
  defaultResources,
  defaultRestart,
  defaultUpdate,
  fill,
  isBlank,
} from "./defaults.js";
import { SECOND } from "./duration.js";
import { runsOnEveryNode } from "./job-types.js";

type GroupInput = NonNullable<JobInput["TaskGroups"]>[number];
type TaskInput = NonNullable<GroupInput["Tasks"]>[number];
type ServiceInput = NonNullable<GroupInput["Services"]>[number] & { CheckRestart?: CheckRestartInput };
type CheckInput = NonNullable<ServiceInput["Checks"]>[number];
type CheckRestartInput = CheckInput["CheckRestart"];
type ResourcesInput = NonNullable<TaskInput["Resources"]>;
type WeightedInput = { Weight?: number | null };

/**
 * The job with the defaults that Nomad's client library fills in before it sends a job (`Canonicalize: true` of
 * `POST /v1/jobs/parse`). Does not change its argument; applying it twice changes nothing.
 */
export function canonicalizeForApi(input: JobInput): JobInput {
  const job = structuredClone(input);
  const id = job.ID ?? "";
  fill(job, {
    ID: id,
    Name: id,
    ParentID: "",
    Namespace: DEFAULT_NAMESPACE,
    Region: DEFAULT_REGION,
    Priority: JOB_DEFAULT_PRIORITY,
    Type: "service",
    AllAtOnce: false,
    Stop: false,
    ConsulToken: "",
    ConsulNamespace: "",
    VaultToken: "",
    VaultNamespace: "",
    NomadTokenID: "",
    Status: "",
    StatusDescription: "",
    Stable: false,
    Version: 0,
    CreateIndex: 0,
    ModifyIndex: 0,
    JobModifyIndex: 0,
  });
  if (job.Periodic) {
    fill(job.Periodic, { Enabled: true, Spec: "", SpecType: "cron", ProhibitOverlap: false });
    job.Periodic.TimeZone ||= "UTC";
  }
  // A stored job without updates carries an update of zeros: no defaults for it, and nothing for groups to inherit.
  if (job.Update) fill(job.Update, defaultUpdate());
  else if (job.Type === "service") job.Update = defaultUpdate();
  if (job.Multiregion) {
    job.Multiregion.Strategy = fill(job.Multiregion.Strategy ?? {}, { MaxParallel: 0, OnFailure: "" });
    job.Multiregion.Regions = (job.Multiregion.Regions ?? []).map((region) => fill(region, { Count: 1 }));
  }
  for (const each of [...(job.Affinities ?? []), ...(job.Spreads ?? [])]) weigh(each);
  for (const group of job.TaskGroups ?? []) canonicalizeGroup(group, job);
  return job;
}

function weigh(each: WeightedInput): void {
  each.Weight ??= 50;
}

function canonicalizeGroup(group: GroupInput, job: JobInput): void {
  const type = job.Type ?? "service";
  fill(group, { Name: "" });
  group.Count ??= group.Scaling?.Min ?? 1;
  if (group.Scaling) fill(group.Scaling, { Enabled: true, Min: group.Count });
  group.EphemeralDisk = fill(group.EphemeralDisk ?? {}, { Sticky: false, Migrate: false, SizeMB: 300 });
  group.Consul = fill(group.Consul ?? {}, { Namespace: "" });

  // What the group says goes before what the job says; defaults come last.
  if (job.Update && !isBlank(job.Update)) group.Update = fill(group.Update ?? {}, job.Update);
  if (group.Update) fill(group.Update, defaultUpdate());
  if (job.Reschedule) group.ReschedulePolicy = fill(group.ReschedulePolicy ?? {}, job.Reschedule);
  if (!runsOnEveryNode(type)) group.ReschedulePolicy ??= {};
  if (group.ReschedulePolicy) fill(group.ReschedulePolicy, defaultReschedule(type));
  if (job.Migrate) group.Migrate = fill(group.Migrate ?? {}, job.Migrate);
  if (type === "service") group.Migrate ??= {};
  if (group.Migrate) fill(group.Migrate, defaultMigrate());
  group.RestartPolicy = fill(group.RestartPolicy ?? {}, defaultRestart(type));

  for (const each of [...(group.Affinities ?? []), ...(group.Spreads ?? [])]) weigh(each);
  for (const service of group.Services ?? []) canonicalizeService(service, `${job.Name}-${group.Name}`);
  for (const task of group.Tasks ?? []) canonicalizeTask(task, group, job);
}

function canonicalizeTask(task: TaskInput, group: GroupInput, job: JobInput): void {
  fill(task, { Name: "", Driver: "", KillTimeout: 5 * SECOND, ShutdownDelay: 0 });
  task.Resources = canonicalizeResources(task.Resources ?? {});
  task.LogConfig = fill(task.LogConfig ?? {}, { MaxFiles: 10, MaxFileSizeMB: 10 });
  task.RestartPolicy = fill(task.RestartPolicy ?? {}, group.RestartPolicy ?? {});
  if (task.Lifecycle && !task.Lifecycle.Hook && !task.Lifecycle.Sidecar) task.Lifecycle = null;
  if (task.Vault) canonicalizeVault(task.Vault);
  if (task.CSIPluginConfig) task.CSIPluginConfig.MountDir ||= "/csi";
  for (const artifact of task.Artifacts ?? []) canonicalizeArtifact(artifact);
  for (const template of task.Templates ?? []) canonicalizeTemplate(template);
  for (const mount of task.VolumeMounts ?? []) fill(mount, { PropagationMode: "private", ReadOnly: false });
  for (const policy of task.ScalingPolicies ?? []) fill(policy, { Enabled: true });
  for (const affinity of task.Affinities ?? []) weigh(affinity);
  for (const service of task.Services ?? [])
    canonicalizeService(service, `${job.Name}-${group.Name}-${task.Name}`);
}

/** CPU has a default only where no cores are asked for: cores bring their own CPU. */
export function canonicalizeResources(resources: ResourcesInput): ResourcesInput {
  const { CPU, Cores, MemoryMB } = defaultResources();
  if (resources.Cores === null || resources.Cores === undefined) fill(resources, { Cores, CPU });
  fill(resources, { CPU: resources.Cores ? 0 : CPU, MemoryMB });
  // Present in the API's form even where the whole block was left out.
  fill(resources, {
    Devices: null,
    DiskMB: null,
    IOPS: null,
    MemoryMaxMB: null,
    Networks: null,
  } as ResourcesInput);
  for (const device of resources.Devices ?? []) {
    fill(device, { Count: 1 });
    for (const affinity of device.Affinities ?? []) weigh(affinity);
  }
  return resources;
}

function canonicalizeVault(vault: Sparse<Vault>): void {
  fill(vault, { Env: true, Namespace: "", ChangeMode: "restart", ChangeSignal: "SIGHUP" });
}

function canonicalizeArtifact(artifact: Sparse<TaskArtifact>): void {
  fill(artifact, { GetterMode: "any", GetterSource: "" });
  // A single file keeps its name; anything else is unpacked into the folder.
  const file =
    artifact.GetterMode === "file" ? join("local", basename(artifact.GetterSource ?? "")) : "local/";
  fill(artifact, { RelativeDest: file });
  if (isEmpty(artifact.GetterOptions)) artifact.GetterOptions = null;
  if (isEmpty(artifact.GetterHeaders)) artifact.GetterHeaders = null;
}

function isEmpty(map: object | null | undefined): boolean {
  return map === null || map === undefined || Object.keys(map).length === 0;
}

function canonicalizeTemplate(template: Sparse<Template>): void {
  fill(template, { ChangeMode: "restart" });
  fill(template, {
    SourcePath: "",
    DestPath: "",
    EmbeddedTmpl: "",
    ChangeSignal: template.ChangeMode === "signal" ? "SIGHUP" : "",
    Splay: 5 * SECOND,
    Perms: "0644",
    LeftDelim: "{{",
    RightDelim: "}}",
    Envvars: false,
    VaultGrace: 0,
  });
  template.ChangeSignal = template.ChangeSignal?.toUpperCase() ?? "";
}

function canonicalizeService(service: ServiceInput, defaultName: string): void {
  service.Name ||= defaultName;
  service.AddressMode ||= "auto";
  service.OnUpdate ||= "require_healthy";
  for (const check of service.Checks ?? []) {
    check.CheckRestart = mergeCheckRestart(check.CheckRestart, service.CheckRestart);
    check.OnUpdate ||= service.OnUpdate;
    check.SuccessBeforePassing = Math.max(0, check.SuccessBeforePassing ?? 0);
    check.FailuresBeforeCritical = Math.max(0, check.FailuresBeforeCritical ?? 0);
  }
  const sidecar = service.Connect?.SidecarTask;
  if (sidecar) {
    sidecar.Resources = canonicalizeResources(sidecar.Resources ?? {});
    sidecar.LogConfig = fill(sidecar.LogConfig ?? {}, { MaxFiles: 10, MaxFileSizeMB: 10 });
    fill(sidecar, { KillTimeout: 5 * SECOND, ShutdownDelay: 0 });
  }
  const gateway = service.Connect?.Gateway;
  if (gateway) {
    if (gateway.Proxy) fill(gateway.Proxy, { ConnectTimeout: 5 * SECOND });
    for (const listener of gateway.Ingress?.Listeners ?? []) listener.Protocol ||= "tcp";
  }
}

/** The service's check_restart holds for every check that does not say otherwise. */
function mergeCheckRestart(own: CheckRestartInput, inherited: CheckRestartInput): CheckRestartInput {
  if (!own && !inherited) return null;
  return {
    Limit: own?.Limit || inherited?.Limit || 0,
    Grace: own?.Grace ?? inherited?.Grace ?? SECOND,
    IgnoreWarnings: own?.IgnoreWarnings || inherited?.IgnoreWarnings || false,
  };
}
