/**
 * Bodies that a server and a client agent exchange, whatever carries them. `docs/agent-protocol.md` describes how they
 * are framed and sealed over MQTT. Every method has a request and an answer; `server` methods are called by the agent,
 * `agent` methods by the server.
 */
import type {
  Allocation,
  AllocDeploymentStatus,
  AllocFileInfo,
  Job,
  NetworkStatus,
  Node,
  TaskState,
} from "../domain/index.js";

/** Version of these bodies. A peer with another major version is refused with a clear error. */
export const AGENT_PROTOCOL_VERSION = 1;

/** What the agent reports of one allocation. */
export interface AllocationUpdate {
  readonly ID: string;
  readonly NodeID: string;
  readonly ClientStatus: Allocation["ClientStatus"];
  readonly ClientDescription: string;
  readonly TaskStates: Readonly<Record<string, TaskState>>;
  readonly DeploymentStatus: AllocDeploymentStatus | null;
  readonly NetworkStatus: NetworkStatus | null;
}

/** An allocation as the agent gets it: the stored row with its job joined, the job cut down to the one group. */
export type AssignedAllocation = Allocation & { readonly Job: Job };

/** Changes to what a node should run. */
export interface AssignmentDelta {
  /** Index of the state it was made from; never goes back. */
  readonly index: number;
  /** New, or with a higher `AllocModifyIndex` than the agent said it has. */
  readonly upserts: readonly AssignedAllocation[];
  /** Ids the server no longer knows: stop them if running and remove them. */
  readonly removed: readonly string[];
}

/** Methods that agents call on servers. */
export interface ServerMethods {
  /** Registers or updates the node (`Node.Register`); also sent after every reconnect and changed fingerprint. */
  "node.register": {
    request: { readonly node: Node };
    answer: { readonly heartbeatTTL: number; readonly index: number };
  };
  /** Must arrive within the TTL (milliseconds) last answered, else the node is marked `down`. */
  "node.heartbeat": {
    request: { readonly status: "ready" };
    answer: { readonly heartbeatTTL: number; readonly index: number };
  };
  /**
   * What should run, against what the agent has (`id` → `AllocModifyIndex`). Called at connect and whenever
   * `assignment.changed` named a newer index.
   */
  "assignment.pull": {
    request: { readonly known: Readonly<Record<string, number>> };
    answer: AssignmentDelta;
  };
  /** Status of allocations; batched by the agent, answered once durable. */
  "allocation.update": {
    request: { readonly updates: readonly AllocationUpdate[] };
    answer: { readonly index: number };
  };
}

export type FileType = "stdout" | "stderr";

/** Methods that servers call on agents. Paths are inside the allocation's folder. */
export interface AgentMethods {
  /** Tells that the assignment changed, with the delta against what the agent last acknowledged. */
  "assignment.changed": { request: AssignmentDelta; answer: { readonly index: number } };
  "fs.list": {
    request: { readonly allocId: string; readonly path: string };
    answer: readonly AllocFileInfo[];
  };
  "fs.stat": { request: { readonly allocId: string; readonly path: string }; answer: AllocFileInfo };
  "allocation.stats": { request: { readonly allocId: string; readonly task?: string }; answer: object };
  "allocation.restart": { request: { readonly allocId: string; readonly task?: string }; answer: object };
  "allocation.signal": {
    request: { readonly allocId: string; readonly task?: string; readonly signal: string };
    answer: object;
  };
  "node.stats": { request: Record<string, never>; answer: object };
}

/** Streams that servers open on agents; each item is one frame. */
export interface AgentStreams {
  /** Bytes of a file from `offset`; ends at its end, or after `limit` bytes where it is above 0. */
  "fs.read": {
    request: {
      readonly allocId: string;
      readonly path: string;
      readonly offset: number;
      readonly limit: number;
    };
  };
  /** Bytes of a task's log over all its rotated files; goes on while `follow` and the task runs. */
  "fs.logs": {
    request: {
      readonly allocId: string;
      readonly task: string;
      readonly type: FileType;
      readonly follow: boolean;
      readonly origin: "start" | "end";
      /** Bytes from `origin`. */
      readonly offset: number;
    };
  };
}

/** One frame of a log or file stream; the API prints it with `Data` in base64. */
export interface FileFrame {
  readonly File: string;
  /** Offset after the data. */
  readonly Offset: number;
  readonly Data?: Uint8Array;
  readonly FileEvent?: string;
}
