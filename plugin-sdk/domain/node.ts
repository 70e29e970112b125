/** Nodes: the client agents that run allocations (https://developer.hashicorp.com/nomad/api-docs/nodes). */
import type { NodeReservedResources, NodeResources, Resources } from "./resources.js";

/** `initializing`: registered, not ready yet. `down`: missed its heartbeats. */
export const NodeStatus = { Init: "initializing", Ready: "ready", Down: "down" } as const;
export type NodeStatus = (typeof NodeStatus)[keyof typeof NodeStatus];

/** Whether schedulers may place new allocations on the node. */
export const NodeEligibility = { Eligible: "eligible", Ineligible: "ineligible" } as const;
export type NodeEligibility = (typeof NodeEligibility)[keyof typeof NodeEligibility];

/** Subsystem of a node event. */
export const NodeEventSubsystem = {
  Drain: "Drain",
  Driver: "Driver",
  Heartbeat: "Heartbeat",
  Cluster: "Cluster",
  Storage: "Storage",
} as const;
export type NodeEventSubsystem = (typeof NodeEventSubsystem)[keyof typeof NodeEventSubsystem];

/** How a drain stands or ended. */
export const DrainStatus = { Draining: "draining", Complete: "complete", Canceled: "canceled" } as const;
export type DrainStatus = (typeof DrainStatus)[keyof typeof DrainStatus];

/** How many events a node keeps; the oldest go first. */
export const NODE_MAX_EVENTS = 10;

/** What a driver's fingerprint and health check found. */
export interface DriverInfo {
  /** `driver.<name>…` attributes, merged into the node's. */
  Attributes: Record<string, string> | null;
  /** The driver is installed on the node. */
  Detected: boolean;
  HealthDescription: string;
  /** Tasks can be started with it. */
  Healthy: boolean;
  /** RFC 3339. */
  UpdateTime: string;
}

/** One line of a node's history. */
export interface NodeEvent {
  /** Index at which it was recorded. */
  CreateIndex: number;
  Details: Record<string, string> | null;
  Message: string;
  Subsystem: NodeEventSubsystem;
  /** RFC 3339. */
  Timestamp: string;
}

/** What an operator asks of a drain. */
export interface DrainSpec {
  /** Nanoseconds until remaining allocations are forced off; 0: no deadline; negative: at once. */
  Deadline: number;
  /** Leave system jobs running. */
  IgnoreSystemJobs: boolean;
}

/** A drain under way. */
export interface DrainStrategy extends DrainSpec {
  /** RFC 3339; "0001-01-01T00:00:00Z" without a deadline. */
  ForceDeadline: string;
  /** RFC 3339. */
  StartedAt: string;
}

/** The last drain of a node, for the record. */
export interface DrainMetadata {
  /** Accessor of the ACL token that asked for it; "" with ACLs off. */
  AccessorID: string;
  Meta: Record<string, string> | null;
  /** RFC 3339. */
  StartedAt: string;
  Status: DrainStatus;
  /** RFC 3339. */
  UpdatedAt: string;
}

/** A directory of the node that operators offer to jobs (`host_volume` of the agent's configuration). */
export interface ClientHostVolumeConfig {
  Name: string;
  /** Absolute path on the node. */
  Path: string;
  ReadOnly: boolean;
}

/** Topology of a CSI plugin: segment name to value. */
export interface CSITopology {
  Segments: Record<string, string> | null;
}

/** What a CSI controller plugin can do. */
export interface CSIControllerInfo {
  SupportsReadOnlyAttach: boolean;
  SupportsAttachDetach: boolean;
  SupportsListVolumes: boolean;
  SupportsListVolumesAttachedNodes: boolean;
  SupportsCreateDelete: boolean;
  SupportsCreateDeleteSnapshot: boolean;
  SupportsListSnapshots: boolean;
  SupportsClone: boolean;
  SupportsExpand: boolean;
  SupportsCondition: boolean;
  SupportsGet: boolean;
}

/** What a CSI node plugin can do. */
export interface CSINodeInfo {
  ID: string;
  /** Volumes the node may hold; 0 leaves it open. */
  MaxVolumes: number;
  AccessibleTopology: CSITopology | null;
  RequiresNodeStageVolume: boolean;
  SupportsStats: boolean;
  SupportsExpand: boolean;
  SupportsCondition: boolean;
}

/** A CSI plugin that runs on the node. */
export interface CSIInfo {
  PluginID: string;
  /** Allocation that runs the plugin. */
  AllocID: string;
  Healthy: boolean;
  HealthDescription: string;
  /** RFC 3339. */
  UpdateTime: string;
  Provider: string;
  ProviderVersion: string;
  RequiresControllerPlugin: boolean;
  RequiresTopologies: boolean;
  ControllerInfo: CSIControllerInfo | null;
  NodeInfo: CSINodeInfo | null;
}

/** A node (GET /v1/node/:id). */
export interface Node {
  /** Fingerprinted facts: `cpu.arch`, `kernel.name`, `driver.exec`, `unique.hostname`… */
  Attributes: Record<string, string>;
  /** By plugin id. */
  CSIControllerPlugins: Record<string, CSIInfo> | null;
  /** By plugin id. */
  CSINodePlugins: Record<string, CSIInfo> | null;
  /** Hash of everything not unique to the node: equal nodes schedule alike ("v1:<number>"). */
  ComputedClass: string;
  CreateIndex: number;
  Datacenter: string;
  /** A drain is under way; always `DrainStrategy !== null`. */
  Drain: boolean;
  DrainStrategy: DrainStrategy | null;
  /** By driver name. */
  Drivers: Record<string, DriverInfo>;
  /** Newest last, at most NODE_MAX_EVENTS. */
  Events: NodeEvent[];
  /** `host:port` of the node's HTTP API; "" behind NAT. */
  HTTPAddr: string;
  /** By volume name. */
  HostVolumes: Record<string, ClientHostVolumeConfig> | null;
  ID: string;
  LastDrain: DrainMetadata | null;
  /** Links to outside systems, e.g. `consul` to `dc1.host-1`. */
  Links: Record<string, string> | null;
  /** Operator's metadata. */
  Meta: Record<string, string> | null;
  ModifyIndex: number;
  Name: string;
  /** Operator's grouping of nodes; "" without. */
  NodeClass: string;
  /** What the node has. */
  NodeResources: NodeResources;
  /** Legacy form of ReservedResources. */
  Reserved: Resources | null;
  /** What the operator keeps back for the machine itself. */
  ReservedResources: NodeReservedResources;
  /** Legacy form of NodeResources. */
  Resources: Resources | null;
  SchedulingEligibility: NodeEligibility;
  /** The node's own secret, by which it proves itself; the API prints "". */
  SecretID: string;
  Status: NodeStatus;
  StatusDescription: string;
  /** Unix seconds of the last change of Status. */
  StatusUpdatedAt: number;
  /** Its HTTP API speaks TLS. */
  TLSEnabled: boolean;
}

/** A row of GET /v1/nodes; resources only with `?resources=true`. */
export interface NodeListStub {
  /** IP address of the node's HTTP API. */
  Address: string;
  CreateIndex: number;
  Datacenter: string;
  Drain: boolean;
  Drivers: Record<string, DriverInfo>;
  HostVolumes: Record<string, ClientHostVolumeConfig> | null;
  ID: string;
  LastDrain: DrainMetadata | null;
  ModifyIndex: number;
  Name: string;
  NodeClass: string;
  NodeResources?: NodeResources;
  ReservedResources?: NodeReservedResources;
  SchedulingEligibility: NodeEligibility;
  Status: NodeStatus;
  StatusDescription: string;
  /** Version of its agent (attribute `nomad.version`). */
  Version: string;
}

/** True when schedulers may place on the node: ready, not draining, eligible. */
export function nodeReady(node: Pick<Node, "Status" | "DrainStrategy" | "SchedulingEligibility">): boolean {
  return (
    node.Status === NodeStatus.Ready &&
    node.DrainStrategy === null &&
    node.SchedulingEligibility === NodeEligibility.Eligible
  );
}

/** True when the node may be marked eligible: a draining node may not (the API refuses it). */
export function nodeDrainEligible(node: Pick<Node, "DrainStrategy">): boolean {
  return node.DrainStrategy === null;
}

/** True when allocations on the node are lost: it is down. */
export function nodeTerminal(node: Pick<Node, "Status">): boolean {
  return node.Status === NodeStatus.Down;
}

/** True when a node of this status needs every job on it evaluated again. */
export function nodeStatusNeedsEval(previous: NodeStatus, next: NodeStatus): boolean {
  if (next === NodeStatus.Down) return previous !== NodeStatus.Down;
  return next === NodeStatus.Ready && previous !== NodeStatus.Ready;
}
