/** Tasks: one process (or container, or VM) of a group. Durations are nanoseconds. */
import type {
  Affinity,
  Constraint,
  DispatchPayloadConfig,
  RestartPolicy,
  ScalingPolicy,
} from "./policies.js";
import type { LogConfig, Resources, TaskLifecycle } from "./resources.js";
import type { Service } from "./service.js";

/** What happens to a task when a template or its Vault token changed. */
export const ChangeMode = { Noop: "noop", Signal: "signal", Restart: "restart" } as const;
export type ChangeMode = (typeof ChangeMode)[keyof typeof ChangeMode];

/** When a task with a lifecycle runs. */
export const LifecycleHook = { Prestart: "prestart", Poststart: "poststart", Poststop: "poststop" } as const;
export type LifecycleHook = (typeof LifecycleHook)[keyof typeof LifecycleHook];

/** A file rendered before the task starts and again when its data changes (`template` block). */
export interface Template {
  /** Default "restart". */
  ChangeMode: ChangeMode;
  /** With change mode "signal", e.g. "SIGHUP". */
  ChangeSignal: string;
  /** Relative to the task directory. */
  DestPath: string;
  /** The template itself; exclusive with SourcePath. */
  EmbeddedTmpl: string;
  /** Read the result as KEY=value lines into the task's environment. */
  Envvars: boolean;
  /** Default "{{". */
  LeftDelim: string;
  /** Octal; default "0644". */
  Perms: string;
  /** Default "}}". */
  RightDelim: string;
  /** Relative to the task directory. */
  SourcePath: string;
  /** Random wait before ChangeMode acts; default 5s. */
  Splay: number;
  /** Legacy: no longer used. */
  VaultGrace: number;
}

/** How an artifact is unpacked. */
export const GetterMode = { Any: "any", File: "file", Dir: "dir" } as const;
export type GetterMode = (typeof GetterMode)[keyof typeof GetterMode];

/** Something downloaded before the task starts (`artifact` block). */
export interface TaskArtifact {
  GetterHeaders: Record<string, string> | null;
  /** Default "any". */
  GetterMode: GetterMode;
  /** E.g. `checksum` to "sha256:…". */
  GetterOptions: Record<string, string> | null;
  GetterSource: string;
  /** Relative to the task directory; default "local/". */
  RelativeDest: string;
}

/** Vault token of a task (`vault` block). */
export interface Vault {
  /** Default "restart". */
  ChangeMode: ChangeMode;
  ChangeSignal: string;
  /** Set VAULT_TOKEN in the task's environment; default true. */
  Env: boolean;
  Namespace: string;
  Policies: string[] | null;
}

/** File system of a CSI volume. */
export interface CSIMountOptions {
  FSType: string;
  MountFlags: string[] | null;
}

/** "host": a directory of the node. "csi": a volume of a CSI plugin. */
export const VolumeType = { Host: "host", CSI: "csi" } as const;
export type VolumeType = (typeof VolumeType)[keyof typeof VolumeType];

/** A volume a group asks for (`volume` block). */
export interface VolumeRequest {
  /** CSI: e.g. "single-node-writer". */
  AccessMode: string;
  /** CSI: "file-system" or "block-device". */
  AttachmentMode: string;
  MountOptions: CSIMountOptions | null;
  Name: string;
  /** CSI: one volume an allocation: Source gets the suffix "[index]". */
  PerAlloc: boolean;
  ReadOnly: boolean;
  /** Name of the host volume or id of the CSI volume. */
  Source: string;
  Type: VolumeType;
}

/** Where a task sees a volume of its group (`volume_mount` block). */
export interface VolumeMount {
  /** Path inside the task. */
  Destination: string;
  /** "private" (default), "host-to-task" or "bidirectional". */
  PropagationMode: string;
  ReadOnly: boolean;
  /** Name of the group's volume. */
  Volume: string;
}

/** A task that is itself a CSI plugin (`csi_plugin` block). */
export interface TaskCSIPluginConfig {
  ID: string;
  /** Default "/csi". */
  MountDir: string;
  /** "controller", "node" or "monolith". */
  Type: string;
}

/** A task. */
export interface Task {
  Affinities: Affinity[] | null;
  Artifacts: TaskArtifact[] | null;
  /** Left out of a parsed job that was not canonicalized. */
  CSIPluginConfig: TaskCSIPluginConfig | null;
  /** The driver's own, checked by the driver. */
  Config: Record<string, unknown> | null;
  Constraints: Constraint[] | null;
  DispatchPayload: DispatchPayloadConfig | null;
  /** Name of the task driver plugin. */
  Driver: string;
  /** Environment; values are interpolated. */
  Env: Record<string, string> | null;
  /** Default "": the driver's (SIGINT or SIGTERM). */
  KillSignal: string;
  /** Between the signal and the kill; default 5s, bounded by the node's max_kill_timeout. */
  KillTimeout: number;
  /** Set by the servers: "connect-proxy:<service>", "connect-native:<service>", "ingress-gateway:<service>"… */
  Kind: string;
  /** The other tasks are killed when it ends. */
  Leader: boolean;
  Lifecycle: TaskLifecycle | null;
  LogConfig: LogConfig;
  /** Overrides the group's. */
  Meta: Record<string, string> | null;
  /** Unique in its group. */
  Name: string;
  Resources: Resources;
  /** Inherited from the group. */
  RestartPolicy: RestartPolicy | null;
  ScalingPolicies: ScalingPolicy[] | null;
  Services: Service[] | null;
  /** Between deregistering services and the kill; default 0. */
  ShutdownDelay: number;
  Templates: Template[] | null;
  /** OS user; default "": the driver's. */
  User: string;
  Vault: Vault | null;
  VolumeMounts: VolumeMount[] | null;
}
