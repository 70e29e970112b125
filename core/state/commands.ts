/**
 * Commands of the replicated state machine. The numbers are in every log and snapshot: never reuse or renumber one. A
 * command carries everything that must be the same on every server: times, ids and generated names included.
 */
import type {
  AllocationUpdate,
  AutopilotConfiguration,
  ClusterMetadata,
  DeploymentStatusUpdate,
  DesiredTransition,
  DrainStrategy,
  Evaluation,
  Job,
  Node,
  NodeEligibility,
  NodeEvent,
  NodeStatus,
  SchedulerConfiguration,
} from "@drover/plugin-sdk";
import { PLAN_COMMAND, type PlanCommand } from "./read/plan-command.js";

export const CommandType = {
  NodeRegister: 1,
  NodeDeregister: 2,
  NodeUpdateStatus: 3,
  NodeUpdateEligibility: 4,
  NodeUpdateDrain: 5,
  JobRegister: 10,
  JobDeregister: 11,
  JobStability: 12,
  JobBatchDeregister: 13,
  EvaluationUpdate: 20,
  EvaluationDelete: 21,
  PlanApply: PLAN_COMMAND,
  AllocationClientUpdate: 31,
  AllocationDesiredTransition: 32,
  DeploymentStatusUpdate: 40,
  DeploymentPromote: 41,
  DeploymentAllocHealth: 42,
  DeploymentDelete: 43,
  NodeCollect: 44,
  JoinTokenDelete: 45,
  SchedulerConfigUpdate: 50,
  AutopilotConfigUpdate: 51,
  ClusterMetadataInit: 52,
  JoinTokenIssue: 60,
  NodeEnroll: 61,
  PluginRowPut: 70,
  PluginRowDelete: 71,
} as const;
export type CommandType = (typeof CommandType)[keyof typeof CommandType];

/** Payload of each command. `Time` is Unix nanoseconds of the proposing leader. */
export interface CommandPayloads {
  /** Keeps CreateIndex, eligibility, drain and the events of a node that exists; status is taken from the payload. */
  [CommandType.NodeRegister]: { Node: Node; Evaluations: Evaluation[]; Time: number };
  [CommandType.NodeDeregister]: { NodeIDs: string[]; Evaluations: Evaluation[]; Time: number };
  [CommandType.NodeUpdateStatus]: {
    NodeID: string;
    Status: NodeStatus;
    Description: string;
    Event: NodeEvent | null;
    Evaluations: Evaluation[];
    Time: number;
  };
  [CommandType.NodeUpdateEligibility]: {
    NodeID: string;
    Eligibility: NodeEligibility;
    Event: NodeEvent | null;
    Evaluations: Evaluation[];
    Time: number;
  };
  /**
   * `Drain` begins a drain or changes the one under way, and takes the node out of scheduling; null ends it, as complete
   * (`Complete`) or cancelled, and `MarkEligible` then takes the node into scheduling again. A null `Meta` keeps that of the
   * drain under way. The end of a drain that is over already is refused.
   */
  [CommandType.NodeUpdateDrain]: {
    NodeID: string;
    Drain: DrainStrategy | null;
    Complete: boolean;
    MarkEligible: boolean;
    Meta: Record<string, string> | null;
    Event: NodeEvent | null;
    Evaluations: Evaluation[];
    Time: number;
  };
  /**
   * With `EnforceIndex` the entry is refused (its result is an Error with Nomad's text) unless the job's JobModifyIndex
   * is `JobModifyIndex` (0: must not exist). A job equal to the present one in all but indexes, status, version and submit
   * time keeps its version; a changed one gets the next and the old goes to the kept versions (6, stable one kept).
   */
  [CommandType.JobRegister]: {
    Job: Job;
    Evaluation: Evaluation | null;
    EnforceIndex: boolean;
    JobModifyIndex: number;
    Time: number;
  };
  /** Without `Purge` the job stays, with `Stop` true. An unknown job is not an error. */
  [CommandType.JobDeregister]: {
    Namespace: string;
    JobID: string;
    Purge: boolean;
    Evaluation: Evaluation | null;
    Time: number;
  };
  /** Refused for a version that is not kept. */
  [CommandType.JobStability]: { Namespace: string; JobID: string; JobVersion: number; Stable: boolean };
  /** Purges jobs that are dead and still at that ModifyIndex; others, and unknown ones, stay as they are. */
  [CommandType.JobBatchDeregister]: {
    Jobs: { Namespace: string; ID: string; ModifyIndex: number }[];
  };
  [CommandType.EvaluationUpdate]: { Evaluations: Evaluation[]; Time: number };
  [CommandType.EvaluationDelete]: { EvalIDs: string[]; AllocIDs: string[] };
  [CommandType.PlanApply]: PlanCommand;
  [CommandType.AllocationClientUpdate]: {
    Updates: AllocationUpdate[];
    Evaluations: Evaluation[];
    Time: number;
  };
  [CommandType.AllocationDesiredTransition]: {
    Transitions: Record<string, DesiredTransition>;
    Evaluations: Evaluation[];
    Time: number;
  };
  /** Refused for a deployment that is over. */
  [CommandType.DeploymentStatusUpdate]: DeploymentOutcome & { Update: DeploymentStatusUpdate };
  /**
   * Promotes the canaries of all groups, or of those named. Refused for a deployment that is over, where there are none to
   * promote, and while fewer of them are healthy than the group wants.
   */
  [CommandType.DeploymentPromote]: {
    DeploymentID: string;
    All: boolean;
    Groups: string[];
    Evaluation: Evaluation | null;
    Time: number;
  };
  /** Health that an operator decided, and what it does to the deployment (`Update`). Refused for others' allocations. */
  [CommandType.DeploymentAllocHealth]: DeploymentOutcome & {
    DeploymentID: string;
    HealthyAllocationIDs: string[];
    UnhealthyAllocationIDs: string[];
    Update: DeploymentStatusUpdate | null;
  };
  /** Unknown ids are not an error. */
  [CommandType.DeploymentDelete]: { IDs: string[] };
  /** Removes nodes that are down and still at that ModifyIndex; their keys stay, so that they may come back. */
  [CommandType.NodeCollect]: { Nodes: { ID: string; ModifyIndex: number }[] };
  /** Unknown hashes are not an error. */
  [CommandType.JoinTokenDelete]: { Hashes: string[] };
  /** With `ModifyIndex` only where the present configuration is at it (0: never written); the result is whether it was. */
  [CommandType.SchedulerConfigUpdate]: { Config: SchedulerConfiguration; ModifyIndex?: number };
  /** `ModifyIndex` and the result as with SchedulerConfigUpdate. */
  [CommandType.AutopilotConfigUpdate]: { Config: AutopilotConfiguration; ModifyIndex?: number };
  /** Names the cluster, unless it has a name; the result is the name in force (`ClusterMetadata`). */
  [CommandType.ClusterMetadataInit]: { Metadata: ClusterMetadata };
  /** SHA-256 of the secret, hex. `Expires` is Unix nanoseconds. */
  [CommandType.JoinTokenIssue]: { Hash: string; Expires: number; Time: number };
  /**
   * Uses up the token and pins the key (base64). Refused (result is an Error) when the token is unknown, expired or was used
   * by another node or key, and when the node already has another key. The same node, key and token again is fine.
   */
  [CommandType.NodeEnroll]: { NodeID: string; PublicKey: string; TokenHash: string; Time: number };
  [CommandType.PluginRowPut]: { Plugin: string; Table: string; Key: string; Value: unknown };
  [CommandType.PluginRowDelete]: { Plugin: string; Table: string; Key: string };
}

/** What follows from a change of a deployment. */
export interface DeploymentOutcome {
  Evaluation: Evaluation | null;
  /**
   * An earlier version, to be registered anew as the newest. The entry is refused when the deployment's own version is not
   * the job's newest any more.
   */
  Job: Job | null;
  Time: number;
}

export type Command = {
  [T in CommandType]: { readonly type: T; readonly payload: CommandPayloads[T] };
}[CommandType];
