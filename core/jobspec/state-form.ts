import {
  type Affinity,
  type Constraint,
  type ConsulConnect,
  type ConsulGateway,
  type ConsulProxy,
  DEFAULT_NAMESPACE,
  type EphemeralDisk,
  type Job,
  type JobInput,
  type NetworkResource,
  type ReschedulePolicy,
  type Resources,
  type RestartPolicy,
  type ScalingPolicy,
  type Service,
  type ServiceCheck,
  type Sparse,
  type Spread,
  type Task,
  type TaskGroup,
  type UpdateStrategy,
  type VolumeRequest,
} from "@drover/plugin-sdk";
import { canonicalizeForApi } from "./canonicalize.js";
import {
  blankUpdate,
  defaultMigrate,
  defaultReschedule,
  defaultRestart,
  defaultUpdate,
  fill,
} from "./defaults.js";
import { SECOND } from "./duration.js";

/**
 * The job as servers keep and show it (`GET /v1/job/:id`): the API's defaults, job-wide policies pushed down into the
 * groups, names of services filled in, every field of the domain type present. What registration itself decides stays
 * as it is: indexes, Version, SubmitTime, Status and the ID of a scaling policy ("" on a new one). Does not change its
 * argument; applying it twice changes nothing.
 */
export function canonicalizeForState(input: JobInput): Job {
  const job = canonicalizeForApi(input);
  const id = job.ID ?? "";
  const namespace = job.Namespace ?? DEFAULT_NAMESPACE;
  const type = job.Type ?? "service";
  return {
    Affinities: list(job.Affinities, affinity),
    AllAtOnce: job.AllAtOnce ?? false,
    Constraints: list(job.Constraints, constraint),
    ConsulNamespace: job.ConsulNamespace ?? "",
    ConsulToken: job.ConsulToken ?? "",
    CreateIndex: job.CreateIndex ?? 0,
    Datacenters: job.Datacenters ?? [],
    Dispatched: job.Dispatched ?? false,
    ID: id,
    JobModifyIndex: job.JobModifyIndex ?? 0,
    Meta: map(job.Meta),
    ModifyIndex: job.ModifyIndex ?? 0,
    Multiregion: (job.Multiregion as Job["Multiregion"]) ?? null,
    Name: job.Name ?? id,
    Namespace: namespace,
    NomadTokenID: job.NomadTokenID ?? "",
    ParameterizedJob: job.ParameterizedJob
      ? {
          MetaOptional: strings(job.ParameterizedJob.MetaOptional),
          MetaRequired: strings(job.ParameterizedJob.MetaRequired),
          Payload: job.ParameterizedJob.Payload || "optional",
        }
      : null,
    ParentID: job.ParentID ?? "",
    Payload: job.Payload || null,
    Periodic: job.Periodic
      ? {
          Enabled: job.Periodic.Enabled ?? true,
          ProhibitOverlap: job.Periodic.ProhibitOverlap ?? false,
          Spec: job.Periodic.Spec ?? "",
          SpecType: job.Periodic.SpecType ?? "cron",
          TimeZone: job.Periodic.TimeZone ?? "UTC",
        }
      : null,
    Priority: job.Priority ?? 0,
    Region: job.Region ?? "",
    Spreads: list(job.Spreads, spread),
    Stable: job.Stable ?? false,
    Status: job.Status ?? "",
    StatusDescription: job.StatusDescription ?? "",
    Stop: job.Stop ?? false,
    SubmitTime: job.SubmitTime ?? 0,
    TaskGroups: (job.TaskGroups ?? []).map((group) =>
      taskGroup(group, { id, name: job.Name ?? id, namespace, type }),
    ),
    Type: type,
    Update: jobUpdate(job.Update),
    VaultNamespace: job.VaultNamespace ?? "",
    VaultToken: job.VaultToken ?? "",
    Version: job.Version ?? 0,
  };
}

/** What parts of a job need to know of the whole. */
interface Whole {
  id: string;
  name: string;
  namespace: string;
  type: string;
}

/** An empty list is kept as null, as the API shows it. */
function list<In, Out>(items: readonly In[] | null | undefined, form: (item: In) => Out): Out[] | null {
  return items === null || items === undefined || items.length === 0 ? null : items.map(form);
}

const strings = (items: string[] | null | undefined): string[] | null => list(items, (item) => item);

/** An empty map is kept as null. */
function map<T>(
  entries: { [key: string]: T | null | undefined } | null | undefined,
): Record<string, T> | null {
  const present = Object.entries(entries ?? {}).filter((entry): entry is [string, T] => entry[1] != null);
  return present.length === 0 ? null : Object.fromEntries(present);
}

/** Stagger and MaxParallel stay at the job for its summary; everything else is the groups'. */
function jobUpdate(update: Sparse<UpdateStrategy> | null | undefined): UpdateStrategy {
  const blank = blankUpdate();
  if (!update?.MaxParallel || update.MaxParallel < 0) return blank;
  return { ...blank, MaxParallel: update.MaxParallel, Stagger: update.Stagger ?? 0 };
}

function constraint(c: Sparse<Constraint>): Constraint {
  return { LTarget: c.LTarget ?? "", Operand: c.Operand ?? "", RTarget: c.RTarget ?? "" };
}

function affinity(a: Sparse<Affinity>): Affinity {
  return { ...constraint(a), Weight: a.Weight ?? 50 };
}

function spread(s: Sparse<Spread>): Spread {
  return {
    Attribute: s.Attribute ?? "",
    SpreadTarget: list(s.SpreadTarget, (t) => ({ Percent: t.Percent ?? 0, Value: t.Value ?? "" })),
    Weight: s.Weight ?? 50,
  };
}

function taskGroup(group: Sparse<TaskGroup>, job: Whole): TaskGroup {
  const name = group.Name ?? "";
  const restart = full<RestartPolicy>(group.RestartPolicy, defaultRestart(job.type));
  return {
    Affinities: list(group.Affinities, affinity),
    Constraints: list(group.Constraints, constraint),
    Consul: { Namespace: group.Consul?.Namespace ?? "" },
    Count: group.Count ?? 1,
    EphemeralDisk: full<EphemeralDisk>(group.EphemeralDisk, { Migrate: false, SizeMB: 300, Sticky: false }),
    Meta: map(group.Meta),
    Migrate: group.Migrate ? full(group.Migrate, defaultMigrate()) : null,
    Name: name,
    Networks: list(group.Networks, network),
    ReschedulePolicy: group.ReschedulePolicy
      ? full<ReschedulePolicy>(group.ReschedulePolicy, defaultReschedule(job.type))
      : null,
    RestartPolicy: restart,
    Scaling: group.Scaling
      ? scaling(group.Scaling, { Namespace: job.namespace, Job: job.id, Group: name })
      : null,
    Services: list(group.Services, (s) => service(s, { job: job.name, group: name, task: "group" })),
    ShutdownDelay: group.ShutdownDelay ?? null,
    Spreads: list(group.Spreads, spread),
    StopAfterClientDisconnect: group.StopAfterClientDisconnect ?? null,
    Tasks: (group.Tasks ?? []).map((t) => task(t, group, job, restart)),
    Update: group.Update ? full<UpdateStrategy>(group.Update, defaultUpdate()) : null,
    Volumes: map(volumes(group.Volumes)),
  };
}

/** A copy with every field that `defaults` has. */
function full<T extends object>(value: Sparse<NoInfer<T>> | null | undefined, defaults: T): T {
  return fill<T>({ ...(value as T) }, defaults);
}

function volumes(all: TaskGroupInput["Volumes"]): Record<string, VolumeRequest> {
  return Object.fromEntries(
    Object.entries(all ?? {}).map(([name, v]) => [
      name,
      {
        AccessMode: v?.AccessMode ?? "",
        AttachmentMode: v?.AttachmentMode ?? "",
        MountOptions: v?.MountOptions
          ? { FSType: v.MountOptions.FSType ?? "", MountFlags: strings(v.MountOptions.MountFlags) }
          : null,
        Name: v?.Name ?? name,
        PerAlloc: v?.PerAlloc ?? false,
        ReadOnly: v?.ReadOnly ?? false,
        Source: v?.Source ?? "",
        Type: v?.Type ?? "host",
      },
    ]),
  );
}

type TaskGroupInput = Sparse<TaskGroup>;

function network(n: Sparse<NetworkResource>): NetworkResource {
  const ports = (all: typeof n.DynamicPorts) =>
    list(all, (p) => ({
      HostNetwork: p.HostNetwork || "default",
      Label: p.Label ?? "",
      To: p.To ?? 0,
      Value: p.Value ?? 0,
    }));
  return {
    CIDR: n.CIDR ?? "",
    DNS: n.DNS
      ? {
          Servers: strings(n.DNS.Servers),
          Searches: strings(n.DNS.Searches),
          Options: strings(n.DNS.Options),
        }
      : null,
    Device: n.Device ?? "",
    DynamicPorts: ports(n.DynamicPorts),
    IP: n.IP ?? "",
    MBits: n.MBits ?? 0,
    Mode: n.Mode ?? "",
    ReservedPorts: ports(n.ReservedPorts),
  };
}

function scaling(p: Sparse<ScalingPolicy>, target: ScalingPolicy["Target"]): ScalingPolicy {
  return {
    CreateIndex: p.CreateIndex ?? 0,
    Enabled: p.Enabled ?? true,
    ID: p.ID ?? "",
    Max: p.Max ?? 0,
    Min: p.Min ?? 0,
    ModifyIndex: p.ModifyIndex ?? 0,
    Policy: p.Policy ?? null,
    Target: target,
    Type: p.Type || "horizontal",
  };
}

function task(t: Sparse<Task>, group: TaskGroupInput, job: Whole, restart: RestartPolicy): Task {
  const name = t.Name ?? "";
  const groupName = group.Name ?? "";
  const target = { Namespace: job.namespace, Job: job.id, Group: groupName, Task: name };
  return {
    Affinities: list(t.Affinities, affinity),
    Artifacts: list(t.Artifacts, (a) => ({
      GetterHeaders: map(a.GetterHeaders),
      GetterMode: a.GetterMode ?? "any",
      GetterOptions: map(a.GetterOptions),
      GetterSource: a.GetterSource ?? "",
      RelativeDest: a.RelativeDest ?? "",
    })),
    CSIPluginConfig: t.CSIPluginConfig
      ? {
          ID: t.CSIPluginConfig.ID ?? "",
          MountDir: t.CSIPluginConfig.MountDir ?? "",
          Type: t.CSIPluginConfig.Type ?? "",
        }
      : null,
    Config: t.Config ?? null,
    Constraints: list(t.Constraints, constraint),
    DispatchPayload: t.DispatchPayload ? { File: t.DispatchPayload.File ?? "" } : null,
    Driver: t.Driver ?? "",
    Env: map(t.Env),
    KillSignal: t.KillSignal ?? "",
    KillTimeout: t.KillTimeout ?? 5 * SECOND,
    Kind: t.Kind ?? "",
    Leader: t.Leader ?? false,
    Lifecycle: t.Lifecycle ? { Hook: t.Lifecycle.Hook ?? "", Sidecar: t.Lifecycle.Sidecar ?? false } : null,
    LogConfig: full(t.LogConfig, { MaxFileSizeMB: 10, MaxFiles: 10 }),
    Meta: map(t.Meta),
    Name: name,
    Resources: resources(t.Resources ?? {}),
    RestartPolicy: full(t.RestartPolicy, restart),
    ScalingPolicies: list(t.ScalingPolicies, (p) => scaling(p, target)),
    Services: list(t.Services, (s) => service(s, { job: job.name, group: groupName, task: name })),
    ShutdownDelay: t.ShutdownDelay ?? 0,
    Templates: list(t.Templates, (each) => ({
      ChangeMode: each.ChangeMode ?? "restart",
      ChangeSignal: each.ChangeSignal ?? "",
      DestPath: each.DestPath ?? "",
      EmbeddedTmpl: each.EmbeddedTmpl ?? "",
      Envvars: each.Envvars ?? false,
      LeftDelim: each.LeftDelim ?? "{{",
      Perms: each.Perms ?? "0644",
      RightDelim: each.RightDelim ?? "}}",
      SourcePath: each.SourcePath ?? "",
      Splay: each.Splay ?? 5 * SECOND,
      VaultGrace: each.VaultGrace ?? 0,
    })),
    User: t.User ?? "",
    Vault: t.Vault
      ? {
          ChangeMode: t.Vault.ChangeMode ?? "restart",
          ChangeSignal: (t.Vault.ChangeSignal ?? "").toUpperCase(),
          Env: t.Vault.Env ?? true,
          Namespace: t.Vault.Namespace ?? "",
          Policies: strings(t.Vault.Policies),
        }
      : null,
    VolumeMounts: list(t.VolumeMounts, (m) => ({
      Destination: m.Destination ?? "",
      PropagationMode: m.PropagationMode ?? "private",
      ReadOnly: m.ReadOnly ?? false,
      Volume: m.Volume ?? "",
    })),
  };
}

function resources(r: Sparse<Resources>): Resources {
  return {
    CPU: r.CPU ?? 0,
    Cores: r.Cores ?? 0,
    Devices: list(r.Devices, (d) => ({
      Affinities: list(d.Affinities, affinity),
      Constraints: list(d.Constraints, constraint),
      Count: d.Count ?? 1,
      Name: d.Name ?? "",
    })),
    DiskMB: r.DiskMB ?? 0,
    IOPS: r.IOPS ?? 0,
    MemoryMB: r.MemoryMB ?? 0,
    MemoryMaxMB: r.MemoryMaxMB ?? 0,
    Networks: list(r.Networks, network),
  };
}

/** `${JOB}`, `${TASKGROUP}`, `${TASK}` and `${BASE}` in a service's name become what they stand for. */
function serviceName(name: string, at: { job: string; group: string; task: string }): string {
  const known: Record<string, string> = {
    JOB: at.job,
    TASKGROUP: at.group,
    TASK: at.task,
    BASE: `${at.job}-${at.group}-${at.task}`,
  };
  // Only plain text is filled in: what a name brings along is never read as a variable itself.
  const filled = name.replace(/\$\{(JOB|TASKGROUP|TASK|BASE)\}/g, (written, variable: string) => {
    const value = known[variable]!;
    return value.includes("${") ? written : value;
  });
  return filled === "" ? name : filled;
}

function service(s: Sparse<Service>, at: { job: string; group: string; task: string }): Service {
  const name = serviceName(s.Name ?? "", at);
  return {
    AddressMode: s.AddressMode || "auto",
    CanaryMeta: map(s.CanaryMeta),
    CanaryTags: strings(s.CanaryTags),
    Checks: list(s.Checks, (c) => check(c, name)),
    Connect: s.Connect ? connect(s.Connect) : null,
    EnableTagOverride: s.EnableTagOverride ?? false,
    Meta: map(s.Meta),
    Name: name,
    Namespace: s.Namespace || DEFAULT_NAMESPACE,
    OnUpdate: s.OnUpdate || "require_healthy",
    PortLabel: s.PortLabel ?? "",
    Tags: strings(s.Tags),
    TaskName: s.TaskName ?? "",
  };
}

function check(c: Sparse<ServiceCheck>, service: string): ServiceCheck {
  const header = map(c.Header as Record<string, string[]> | null | undefined);
  return {
    AddressMode: c.AddressMode ?? "",
    Args: strings(c.Args),
    Body: c.Body ?? "",
    CheckRestart: c.CheckRestart
      ? full(c.CheckRestart, { Grace: SECOND, IgnoreWarnings: false, Limit: 0 })
      : null,
    Command: c.Command ?? "",
    Expose: c.Expose ?? false,
    FailuresBeforeCritical: c.FailuresBeforeCritical ?? 0,
    GRPCService: c.GRPCService ?? "",
    GRPCUseTLS: c.GRPCUseTLS ?? false,
    Header: header,
    InitialStatus: c.InitialStatus ?? "",
    Interval: c.Interval ?? 0,
    Method: c.Method ?? "",
    Name: c.Name || `service: "${service}" check`,
    OnUpdate: c.OnUpdate || "require_healthy",
    Path: c.Path ?? "",
    PortLabel: c.PortLabel ?? "",
    Protocol: c.Protocol ?? "",
    SuccessBeforePassing: c.SuccessBeforePassing ?? 0,
    TLSSkipVerify: c.TLSSkipVerify ?? false,
    TaskName: c.TaskName ?? "",
    Timeout: c.Timeout ?? 0,
    Type: c.Type ?? "",
  };
}

function connect(c: Sparse<ConsulConnect>): ConsulConnect {
  const { SidecarService: sidecar, SidecarTask: own } = c;
  return {
    Gateway: c.Gateway ? gateway(c.Gateway) : null,
    Native: c.Native ?? false,
    SidecarService: sidecar
      ? {
          DisableDefaultTCPCheck: sidecar.DisableDefaultTCPCheck ?? false,
          Port: sidecar.Port ?? "",
          Proxy: sidecar.Proxy ? proxy(sidecar.Proxy) : null,
          Tags: strings(sidecar.Tags),
        }
      : null,
    SidecarTask: own
      ? {
          Config: own.Config ?? null,
          Driver: own.Driver ?? "",
          Env: map(own.Env),
          KillSignal: own.KillSignal ?? "",
          KillTimeout: own.KillTimeout ?? null,
          LogConfig: own.LogConfig ? full(own.LogConfig, { MaxFileSizeMB: 10, MaxFiles: 10 }) : null,
          Meta: map(own.Meta),
          Name: own.Name ?? "",
          Resources: own.Resources ? resources(own.Resources) : null,
          ShutdownDelay: own.ShutdownDelay ?? null,
          User: own.User ?? "",
        }
      : null,
  };
}

/** The API sends `ExposeConfig` with `Path`; servers keep `Expose` with `Paths`. */
type SubmittedProxy = Sparse<ConsulProxy> & {
  ExposeConfig?: { Path?: NonNullable<NonNullable<Sparse<ConsulProxy>["Expose"]>["Paths"]> | null } | null;
};

function proxy(p: SubmittedProxy): ConsulProxy {
  const exposed = p.ExposeConfig ? { Paths: p.ExposeConfig.Path } : p.Expose;
  return {
    Config: p.Config ?? null,
    Expose: exposed
      ? {
          Paths: list(exposed.Paths, (path) => ({
            ListenerPort: path.ListenerPort ?? "",
            LocalPathPort: path.LocalPathPort ?? 0,
            Path: path.Path ?? "",
            Protocol: path.Protocol ?? "",
          })),
        }
      : null,
    LocalServiceAddress: p.LocalServiceAddress ?? "",
    LocalServicePort: p.LocalServicePort ?? 0,
    Upstreams: list(p.Upstreams, (u) => ({
      Datacenter: u.Datacenter ?? "",
      DestinationName: u.DestinationName ?? "",
      LocalBindAddress: u.LocalBindAddress ?? "",
      LocalBindPort: u.LocalBindPort ?? 0,
      MeshGateway: u.MeshGateway ? { Mode: u.MeshGateway.Mode ?? "" } : null,
    })),
  };
}

function gateway(g: Sparse<ConsulGateway>): ConsulGateway {
  const { Ingress: ingress, Proxy: own, Terminating: terminating } = g;
  return {
    Ingress: ingress
      ? {
          Listeners: list(ingress.Listeners, (l) => ({
            Port: l.Port ?? 0,
            Protocol: l.Protocol ?? "",
            Services: list(l.Services, (s) => ({ Hosts: strings(s.Hosts), Name: s.Name ?? "" })),
          })),
          TLS: ingress.TLS ? { Enabled: ingress.TLS.Enabled ?? false } : null,
        }
      : null,
    Mesh: g.Mesh ? {} : null,
    Proxy: own
      ? {
          Config: own.Config ?? null,
          ConnectTimeout: own.ConnectTimeout ?? null,
          EnvoyDNSDiscoveryType: own.EnvoyDNSDiscoveryType ?? "",
          EnvoyGatewayBindAddresses: map(
            Object.fromEntries(
              Object.entries(own.EnvoyGatewayBindAddresses ?? {}).map(([name, a]) => [
                name,
                { Address: a?.Address ?? "", Name: a?.Name ?? name, Port: a?.Port ?? 0 },
              ]),
            ),
          ),
          EnvoyGatewayBindTaggedAddresses: own.EnvoyGatewayBindTaggedAddresses ?? false,
          EnvoyGatewayNoDefaultBind: own.EnvoyGatewayNoDefaultBind ?? false,
        }
      : null,
    Terminating: terminating
      ? {
          Services: list(terminating.Services, (s) => ({
            CAFile: s.CAFile ?? "",
            CertFile: s.CertFile ?? "",
            KeyFile: s.KeyFile ?? "",
            Name: s.Name ?? "",
            SNI: s.SNI ?? "",
          })),
        }
      : null,
  };
}
