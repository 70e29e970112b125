/**
 * The job specification as a table: which keys a block has in HCL, which field of the API object each fills, and of
 * what type it is. The parser, the reader of job JSON and the error messages all work from it.
 * Source: https://developer.hashicorp.com/nomad/docs/job-specification (1.1) and the API's own output.
 */

/** An API object while it is built. */
export type ApiObject = { [field: string]: unknown };

export type FieldType =
  | "string"
  | "int"
  | "float"
  | "bool"
  /** Text such as "30s" in HCL, nanoseconds in the API. */
  | "duration"
  | "strings"
  /** Text by text; a block or an object in HCL. */
  | "map"
  /** Lists of text by text. */
  | "lists"
  /** Any shape: nested blocks become lists of objects. */
  | "free"
  /** At most one block. */
  | { block: BlockSchema }
  /** Any number of blocks. */
  | { blocks: BlockSchema }
  /** Any number of blocks, by label. */
  | { byLabel: BlockSchema };

export interface Field {
  /** Name in the API. */
  api: string;
  type: FieldType;
  /** What the API shows when nothing is set. */
  zero: null | "" | 0 | false | undefined;
}

export interface BlockSchema {
  /** What the block is called in HCL. */
  name: string;
  /** API field that takes the block's one label. */
  label?: string;
  /** By HCL key. */
  fields: Readonly<Record<string, Field>>;
  /** Fields that HCL cannot set. */
  server?: readonly Field[];
  /**
   * Shorthands that have no field of their own: their decoded values are handed to `refine`, which puts them into the
   * object or returns what is wrong with them.
   */
  sugar?: Readonly<Record<string, FieldType>>;
  refine?: (object: ApiObject, sugar: ApiObject) => string | undefined;
}

type Zero = Field["zero"];

const field = (api: string, type: FieldType, zero: Zero): Field => ({ api, type, zero });
/** null when not set: the API can tell "not set" from a value. */
const string = (api: string): Field => field(api, "string", null);
const int = (api: string): Field => field(api, "int", null);
const bool = (api: string): Field => field(api, "bool", null);
const duration = (api: string): Field => field(api, "duration", null);
const strings = (api: string): Field => field(api, "strings", null);
const map = (api: string): Field => field(api, "map", null);
const free = (api: string): Field => field(api, "free", null);
const block = (api: string, schema: BlockSchema): Field => field(api, { block: schema }, null);
const blocks = (api: string, schema: BlockSchema): Field => field(api, { blocks: schema }, null);
const byLabel = (api: string, schema: BlockSchema): Field => field(api, { byLabel: schema }, null);
/** The zero of the type when not set. */
const text = (api: string): Field => field(api, "string", "");
const number = (api: string): Field => field(api, "int", 0);
const flag = (api: string): Field => field(api, "bool", false);
const span = (api: string): Field => field(api, "duration", 0);

/** Keys of a constraint that stand for an operand, with the value on the right. */
const OPERAND_KEYS = [
  "version",
  "semver",
  "regexp",
  "set_contains",
  "set_contains_any",
  "set_contains_all",
] as const;

const operandSugar: Record<string, FieldType> = Object.fromEntries(
  OPERAND_KEYS.map((key) => [key, "string"]),
);

/** `version = ">= 1.2"` means operand "version" with ">= 1.2" on the right. */
function refineOperand(object: ApiObject, sugar: ApiObject): string | undefined {
  const used = Object.keys(sugar);
  if (used.length > 1) return `${used.map((key) => `"${key}"`).join(" and ")} exclude each other.`;
  for (const key of OPERAND_KEYS) {
    if (sugar[key] === undefined) continue;
    object.Operand = key;
    object.RTarget = sugar[key];
  }
  if (object.Operand === "") object.Operand = "=";
  return undefined;
}

const constraint: BlockSchema = {
  name: "constraint",
  fields: { attribute: text("LTarget"), operator: text("Operand"), value: text("RTarget") },
  sugar: { ...operandSugar, distinct_hosts: "bool", distinct_property: "string" },
  refine(object, sugar) {
    if (sugar.distinct_hosts === false)
      return '"distinct_hosts" can only be true; leave the constraint out instead.';
    if (sugar.distinct_hosts === true) object.Operand = "distinct_hosts";
    if (sugar.distinct_property !== undefined) {
      object.Operand = "distinct_property";
      object.LTarget = sugar.distinct_property;
    }
    return refineOperand(object, sugar);
  },
};

const affinity: BlockSchema = {
  name: "affinity",
  fields: { ...constraint.fields, weight: int("Weight") },
  sugar: operandSugar,
  refine: refineOperand,
};

const spread: BlockSchema = {
  name: "spread",
  fields: {
    attribute: text("Attribute"),
    weight: int("Weight"),
    target: blocks("SpreadTarget", {
      name: "target",
      label: "Value",
      fields: { value: text("Value"), percent: number("Percent") },
    }),
  },
};

const placement = {
  constraint: blocks("Constraints", constraint),
  affinity: blocks("Affinities", affinity),
} as const;

const update: BlockSchema = {
  name: "update",
  fields: {
    auto_promote: bool("AutoPromote"),
    auto_revert: bool("AutoRevert"),
    canary: int("Canary"),
    health_check: string("HealthCheck"),
    healthy_deadline: duration("HealthyDeadline"),
    max_parallel: int("MaxParallel"),
    min_healthy_time: duration("MinHealthyTime"),
    progress_deadline: duration("ProgressDeadline"),
    stagger: duration("Stagger"),
  },
};

const migrate: BlockSchema = {
  name: "migrate",
  fields: {
    health_check: string("HealthCheck"),
    healthy_deadline: duration("HealthyDeadline"),
    max_parallel: int("MaxParallel"),
    min_healthy_time: duration("MinHealthyTime"),
  },
};

const reschedule: BlockSchema = {
  name: "reschedule",
  fields: {
    attempts: int("Attempts"),
    delay: duration("Delay"),
    delay_function: string("DelayFunction"),
    interval: duration("Interval"),
    max_delay: duration("MaxDelay"),
    unlimited: bool("Unlimited"),
  },
};

const restart: BlockSchema = {
  name: "restart",
  fields: {
    attempts: int("Attempts"),
    delay: duration("Delay"),
    interval: duration("Interval"),
    mode: string("Mode"),
  },
};

const periodic: BlockSchema = {
  name: "periodic",
  fields: {
    cron: string("Spec"),
    enabled: bool("Enabled"),
    prohibit_overlap: bool("ProhibitOverlap"),
    time_zone: string("TimeZone"),
  },
  server: [string("SpecType")],
  refine(object) {
    if (object.Spec !== null) object.SpecType ??= "cron";
    return undefined;
  },
};

const parameterized: BlockSchema = {
  name: "parameterized",
  fields: {
    meta_optional: strings("MetaOptional"),
    meta_required: strings("MetaRequired"),
    payload: text("Payload"),
  },
};

const multiregion: BlockSchema = {
  name: "multiregion",
  fields: {
    strategy: block("Strategy", {
      name: "strategy",
      fields: { max_parallel: int("MaxParallel"), on_failure: string("OnFailure") },
    }),
    region: blocks("Regions", {
      name: "region",
      label: "Name",
      fields: { count: int("Count"), datacenters: strings("Datacenters"), meta: map("Meta") },
    }),
  },
};

/** A port is static when it has a number, dynamic otherwise. */
const port: BlockSchema = {
  name: "port",
  label: "Label",
  fields: { static: number("Value"), to: number("To"), host_network: text("HostNetwork") },
};

const network: BlockSchema = {
  name: "network",
  fields: {
    mode: text("Mode"),
    mbits: int("MBits"),
    device: text("Device"),
    cidr: text("CIDR"),
    ip: text("IP"),
    dns: block("DNS", {
      name: "dns",
      fields: { servers: strings("Servers"), searches: strings("Searches"), options: strings("Options") },
    }),
  },
  server: [blocks("DynamicPorts", port), blocks("ReservedPorts", port)],
  sugar: { port: { blocks: port } },
  refine(object, sugar) {
    const ports = (sugar.port ?? []) as ApiObject[];
    const dynamic = ports.filter((p) => p.Value === 0);
    const reserved = ports.filter((p) => p.Value !== 0);
    if (dynamic.length > 0) object.DynamicPorts = dynamic;
    if (reserved.length > 0) object.ReservedPorts = reserved;
    return undefined;
  },
};

const checkRestart: BlockSchema = {
  name: "check_restart",
  fields: { grace: duration("Grace"), ignore_warnings: flag("IgnoreWarnings"), limit: number("Limit") },
};

const check: BlockSchema = {
  name: "check",
  fields: {
    address_mode: text("AddressMode"),
    args: strings("Args"),
    body: text("Body"),
    check_restart: block("CheckRestart", checkRestart),
    command: text("Command"),
    expose: flag("Expose"),
    failures_before_critical: number("FailuresBeforeCritical"),
    grpc_service: text("GRPCService"),
    grpc_use_tls: flag("GRPCUseTLS"),
    header: field("Header", "lists", null),
    id: text("Id"),
    initial_status: text("InitialStatus"),
    interval: span("Interval"),
    method: text("Method"),
    name: text("Name"),
    on_update: text("OnUpdate"),
    path: text("Path"),
    port: text("PortLabel"),
    protocol: text("Protocol"),
    success_before_passing: number("SuccessBeforePassing"),
    task: text("TaskName"),
    timeout: span("Timeout"),
    tls_skip_verify: flag("TLSSkipVerify"),
    type: text("Type"),
  },
};

const logs: BlockSchema = {
  name: "logs",
  fields: { max_files: int("MaxFiles"), max_file_size: int("MaxFileSizeMB") },
};

const device: BlockSchema = {
  name: "device",
  label: "Name",
  fields: { count: int("Count"), ...placement },
};

const resources: BlockSchema = {
  name: "resources",
  fields: {
    cores: int("Cores"),
    cpu: int("CPU"),
    device: blocks("Devices", device),
    disk: int("DiskMB"),
    iops: int("IOPS"),
    memory: int("MemoryMB"),
    memory_max: int("MemoryMaxMB"),
    network: blocks("Networks", network),
  },
};

const exposePath: BlockSchema = {
  name: "path",
  fields: {
    listener_port: text("ListenerPort"),
    local_path_port: number("LocalPathPort"),
    path: text("Path"),
    protocol: text("Protocol"),
  },
};

const proxy: BlockSchema = {
  name: "proxy",
  fields: {
    config: free("Config"),
    expose: block("ExposeConfig", { name: "expose", fields: { path: blocks("Path", exposePath) } }),
    local_service_address: text("LocalServiceAddress"),
    local_service_port: number("LocalServicePort"),
    upstreams: blocks("Upstreams", {
      name: "upstreams",
      fields: {
        datacenter: text("Datacenter"),
        destination_name: text("DestinationName"),
        local_bind_address: text("LocalBindAddress"),
        local_bind_port: number("LocalBindPort"),
        mesh_gateway: block("MeshGateway", { name: "mesh_gateway", fields: { mode: text("Mode") } }),
      },
    }),
  },
  // The stored form of ExposeConfig, when a job is read and submitted again.
  server: [
    field("Expose", { block: { name: "expose", fields: { path: blocks("Paths", exposePath) } } }, undefined),
  ],
};

const gateway: BlockSchema = {
  name: "gateway",
  fields: {
    proxy: block("Proxy", {
      name: "proxy",
      fields: {
        config: free("Config"),
        connect_timeout: duration("ConnectTimeout"),
        envoy_dns_discovery_type: text("EnvoyDNSDiscoveryType"),
        envoy_gateway_bind_addresses: byLabel("EnvoyGatewayBindAddresses", {
          name: "envoy_gateway_bind_addresses",
          label: "Name",
          fields: { address: text("Address"), port: number("Port") },
        }),
        envoy_gateway_bind_tagged_addresses: flag("EnvoyGatewayBindTaggedAddresses"),
        envoy_gateway_no_default_bind: flag("EnvoyGatewayNoDefaultBind"),
      },
    }),
    ingress: block("Ingress", {
      name: "ingress",
      fields: {
        tls: block("TLS", { name: "tls", fields: { enabled: flag("Enabled") } }),
        listener: blocks("Listeners", {
          name: "listener",
          fields: {
            port: number("Port"),
            protocol: text("Protocol"),
            service: blocks("Services", {
              name: "service",
              fields: { hosts: strings("Hosts"), name: text("Name") },
            }),
          },
        }),
      },
    }),
    terminating: block("Terminating", {
      name: "terminating",
      fields: {
        service: blocks("Services", {
          name: "service",
          fields: {
            ca_file: text("CAFile"),
            cert_file: text("CertFile"),
            key_file: text("KeyFile"),
            name: text("Name"),
            sni: text("SNI"),
          },
        }),
      },
    }),
    mesh: block("Mesh", { name: "mesh", fields: {} }),
  },
};

const sidecarTask: BlockSchema = {
  name: "sidecar_task",
  fields: {
    config: free("Config"),
    driver: text("Driver"),
    env: map("Env"),
    kill_signal: text("KillSignal"),
    kill_timeout: duration("KillTimeout"),
    logs: block("LogConfig", logs),
    meta: map("Meta"),
    name: text("Name"),
    resources: block("Resources", resources),
    shutdown_delay: duration("ShutdownDelay"),
    user: text("User"),
  },
};

const connect: BlockSchema = {
  name: "connect",
  fields: {
    gateway: block("Gateway", gateway),
    native: flag("Native"),
    sidecar_service: block("SidecarService", {
      name: "sidecar_service",
      fields: {
        disable_default_tcp_check: flag("DisableDefaultTCPCheck"),
        port: text("Port"),
        proxy: block("Proxy", proxy),
        tags: strings("Tags"),
      },
    }),
    sidecar_task: block("SidecarTask", sidecarTask),
  },
};

const service: BlockSchema = {
  name: "service",
  fields: {
    address_mode: text("AddressMode"),
    canary_meta: map("CanaryMeta"),
    canary_tags: strings("CanaryTags"),
    check: blocks("Checks", check),
    check_restart: block("CheckRestart", checkRestart),
    connect: block("Connect", connect),
    enable_tag_override: flag("EnableTagOverride"),
    id: text("Id"),
    meta: map("Meta"),
    name: text("Name"),
    on_update: text("OnUpdate"),
    port: text("PortLabel"),
    tags: strings("Tags"),
    task: text("TaskName"),
  },
  server: [field("Namespace", "string", undefined)],
};

const volume: BlockSchema = {
  name: "volume",
  label: "Name",
  fields: {
    access_mode: text("AccessMode"),
    attachment_mode: text("AttachmentMode"),
    mount_options: block("MountOptions", {
      name: "mount_options",
      fields: { fs_type: text("FSType"), mount_flags: strings("MountFlags") },
    }),
    per_alloc: flag("PerAlloc"),
    read_only: flag("ReadOnly"),
    source: text("Source"),
    type: text("Type"),
  },
};

const volumeMount: BlockSchema = {
  name: "volume_mount",
  fields: {
    destination: string("Destination"),
    propagation_mode: string("PropagationMode"),
    read_only: bool("ReadOnly"),
    volume: string("Volume"),
  },
};

const artifact: BlockSchema = {
  name: "artifact",
  fields: {
    destination: string("RelativeDest"),
    headers: map("GetterHeaders"),
    mode: string("GetterMode"),
    options: map("GetterOptions"),
    source: string("GetterSource"),
  },
};

/** Values that the HCL parser itself fills in, before any canonicalization. */
function withDefaults(object: ApiObject, defaults: ApiObject): undefined {
  for (const [key, value] of Object.entries(defaults)) object[key] ??= value;
  if (typeof object.ChangeSignal === "string") object.ChangeSignal = object.ChangeSignal.toUpperCase();
  return undefined;
}

const template: BlockSchema = {
  name: "template",
  fields: {
    change_mode: string("ChangeMode"),
    change_signal: string("ChangeSignal"),
    data: string("EmbeddedTmpl"),
    destination: string("DestPath"),
    env: bool("Envvars"),
    left_delimiter: string("LeftDelim"),
    perms: string("Perms"),
    right_delimiter: string("RightDelim"),
    source: string("SourcePath"),
    splay: duration("Splay"),
    vault_grace: duration("VaultGrace"),
  },
  refine: (object) => withDefaults(object, { ChangeMode: "restart", Perms: "0644", Splay: 5e9 }),
};

const vault: BlockSchema = {
  name: "vault",
  fields: {
    change_mode: string("ChangeMode"),
    change_signal: string("ChangeSignal"),
    env: bool("Env"),
    namespace: string("Namespace"),
    policies: strings("Policies"),
  },
  refine: (object) => withDefaults(object, { ChangeMode: "restart", Env: true }),
};

const scalingFields = {
  enabled: bool("Enabled"),
  max: int("Max"),
  min: int("Min"),
  policy: free("Policy"),
} as const;

const scalingServer = [
  text("ID"),
  text("Namespace"),
  map("Target"),
  number("CreateIndex"),
  number("ModifyIndex"),
];

const scaling: BlockSchema = {
  name: "scaling",
  fields: { ...scalingFields, type: text("Type") },
  server: scalingServer,
  refine(object) {
    if (object.Type === "") object.Type = "horizontal";
    return undefined;
  },
};

/** Vertical scaling of a task: the label is "cpu" or "mem". */
const taskScaling: BlockSchema = {
  name: "scaling",
  label: "Type",
  fields: { ...scalingFields },
  server: scalingServer,
  refine(object) {
    const types: Record<string, string> = { cpu: "vertical_cpu", mem: "vertical_mem" };
    const type = types[String(object.Type)];
    if (type === undefined) return 'The label of a task\'s scaling block must be "cpu" or "mem".';
    object.Type = type;
    return undefined;
  },
};

const task: BlockSchema = {
  name: "task",
  label: "Name",
  fields: {
    ...placement,
    artifact: blocks("Artifacts", artifact),
    config: free("Config"),
    csi_plugin: field(
      "CSIPluginConfig",
      {
        block: {
          name: "csi_plugin",
          fields: { id: text("ID"), mount_dir: text("MountDir"), type: text("Type") },
        },
      },
      undefined,
    ),
    dispatch_payload: block("DispatchPayload", { name: "dispatch_payload", fields: { file: text("File") } }),
    driver: text("Driver"),
    env: map("Env"),
    kill_signal: text("KillSignal"),
    kill_timeout: duration("KillTimeout"),
    kind: text("Kind"),
    leader: flag("Leader"),
    lifecycle: block("Lifecycle", {
      name: "lifecycle",
      fields: { hook: text("Hook"), sidecar: flag("Sidecar") },
    }),
    logs: block("LogConfig", logs),
    meta: map("Meta"),
    resources: block("Resources", resources),
    restart: block("RestartPolicy", restart),
    scaling: blocks("ScalingPolicies", taskScaling),
    service: blocks("Services", service),
    shutdown_delay: span("ShutdownDelay"),
    template: blocks("Templates", template),
    user: text("User"),
    vault: block("Vault", vault),
    volume_mount: blocks("VolumeMounts", volumeMount),
  },
};

/** A vault block above the tasks is the default of every task below. */
function inheritVault(tasks: unknown, inherited: unknown): void {
  if (inherited === undefined || !Array.isArray(tasks)) return;
  for (const each of tasks as ApiObject[]) each.Vault ??= structuredClone(inherited);
}

const group: BlockSchema = {
  name: "group",
  label: "Name",
  fields: {
    ...placement,
    consul: block("Consul", { name: "consul", fields: { namespace: text("Namespace") } }),
    count: int("Count"),
    ephemeral_disk: block("EphemeralDisk", {
      name: "ephemeral_disk",
      fields: { migrate: bool("Migrate"), size: int("SizeMB"), sticky: bool("Sticky") },
    }),
    meta: map("Meta"),
    migrate: block("Migrate", migrate),
    network: blocks("Networks", network),
    reschedule: block("ReschedulePolicy", reschedule),
    restart: block("RestartPolicy", restart),
    scaling: block("Scaling", scaling),
    service: blocks("Services", service),
    shutdown_delay: duration("ShutdownDelay"),
    spread: blocks("Spreads", spread),
    stop_after_client_disconnect: duration("StopAfterClientDisconnect"),
    task: blocks("Tasks", task),
    update: block("Update", update),
    volume: byLabel("Volumes", volume),
  },
  sugar: { vault: { block: vault } },
  refine(object, sugar) {
    inheritVault(object.Tasks, sugar.vault);
    return undefined;
  },
};

/** The fields of a group that HCL did not set, for a task that stands outside any group. */
export function emptyObject(schema: BlockSchema): ApiObject {
  const object: ApiObject = {};
  if (schema.label !== undefined) object[schema.label] = null;
  for (const each of [...Object.values(schema.fields), ...(schema.server ?? [])]) {
    if (each.zero !== undefined) object[each.api] = each.zero;
  }
  return object;
}

export const jobSchema: BlockSchema = {
  name: "job",
  label: "ID",
  fields: {
    ...placement,
    all_at_once: bool("AllAtOnce"),
    consul_token: string("ConsulToken"),
    datacenters: strings("Datacenters"),
    group: blocks("TaskGroups", group),
    id: string("ID"),
    meta: map("Meta"),
    migrate: block("Migrate", migrate),
    multiregion: block("Multiregion", multiregion),
    name: string("Name"),
    namespace: string("Namespace"),
    parameterized: block("ParameterizedJob", parameterized),
    periodic: block("Periodic", periodic),
    priority: int("Priority"),
    region: string("Region"),
    reschedule: block("Reschedule", reschedule),
    spread: blocks("Spreads", spread),
    type: string("Type"),
    update: block("Update", update),
    vault_namespace: string("VaultNamespace"),
    vault_token: string("VaultToken"),
  },
  server: [
    string("ConsulNamespace"),
    int("CreateIndex"),
    flag("Dispatched"),
    int("JobModifyIndex"),
    int("ModifyIndex"),
    string("NomadTokenID"),
    string("ParentID"),
    string("Payload"),
    bool("Stable"),
    string("Status"),
    string("StatusDescription"),
    bool("Stop"),
    // Unix nanoseconds are beyond what a number holds exactly; the server sets its own.
    field("SubmitTime", "float", null),
    int("Version"),
  ],
  sugar: { task: { blocks: task }, vault: { block: vault } },
  refine(object, sugar) {
    object.Name ??= object.ID;
    const groups = (object.TaskGroups ?? []) as ApiObject[];
    // A task right below the job is a group of one task.
    for (const alone of (sugar.task ?? []) as ApiObject[]) {
      groups.push({ ...emptyObject(group), Name: alone.Name, Tasks: [alone] });
    }
    for (const each of groups) inheritVault(each.Tasks, sugar.vault);
    object.TaskGroups = groups.length === 0 ? null : groups;
    return undefined;
  },
};
