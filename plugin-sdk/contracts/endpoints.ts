/**
 * The server's endpoints: what the HTTP API calls. They do the same on every server: writes go to the leader. Reads are made
 * on `StateReader` directly, after `status.catchUp` where they must not be stale.
 */
import type { Readable } from "node:stream";
import type {
  AgentMember,
  AutopilotConfiguration,
  DeploymentUpdateResponse,
  DrainSpec,
  Job,
  JobDeregisterResponse,
  JobDiff,
  JobPlanResponse,
  JobRegisterResponse,
  JobValidateResponse,
  LeadershipTransfer,
  OperatorHealthReply,
  RaftConfiguration,
  SchedulerConfiguration,
} from "../domain/index.js";
import { createToken } from "../kernel/token.js";
import type { AgentMethods, AgentStreams, FileFrame } from "../protocol/messages.js";

/**
 * An error that endpoints raise for the caller: bad input, unknown object, conflict. The text is what the API prints. 500
 * `No cluster leader`: nothing was done, for some seconds no server led. A text that says "may have been carried out": the
 * leader was lost on the way, and what became of the write is for the caller to look up.
 */
export class EndpointError extends Error {
  override readonly name = "EndpointError";
  constructor(
    /** HTTP code that the API answers. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export interface JobRegistration {
  readonly job: unknown;
  readonly namespace: string;
  readonly region: string;
  readonly enforceIndex: boolean;
  readonly jobModifyIndex: number;
  readonly preserveCounts: boolean;
}

export interface JobEndpoint {
  /** `Job.Register`: admission, validation, one log entry for the job and its evaluation. */
  register(request: JobRegistration): Promise<JobRegisterResponse>;
  /** `Job.Deregister`; an unknown job still gets an evaluation, as Nomad does. */
  deregister(request: {
    readonly namespace: string;
    readonly jobId: string;
    readonly purge: boolean;
  }): Promise<JobDeregisterResponse>;
  /** `Job.Evaluate`: a new evaluation of the job as it is. */
  evaluate(request: {
    readonly namespace: string;
    readonly jobId: string;
    readonly forceReschedule: boolean;
  }): Promise<JobRegisterResponse>;
  validate(request: { readonly job: unknown; readonly namespace: string }): Promise<JobValidateResponse>;
  /**
   * `Job.Plan`: what a registration of the job would do. Admission and validation as there; the job's scheduler then runs
   * on a snapshot that holds the job, and nothing is written. `diff` asks for the difference from the job in force.
   */
  plan(request: {
    readonly job: unknown;
    readonly namespace: string;
    readonly diff: boolean;
  }): Promise<JobPlanResponse>;
  /** Differences of each version from the one before it; `versions` newest first. Null where there is but one. */
  diffVersions(versions: readonly Job[]): JobDiff[] | null;
  /** `Job.Stable`: an operator's word on a version. */
  stable(request: {
    readonly namespace: string;
    readonly jobId: string;
    readonly version: number;
    readonly stable: boolean;
  }): Promise<{ readonly Index: number }>;
  /** `Job.Revert`: registers an earlier version anew. `enforcePriorVersion`: only while that one is the newest. */
  revert(request: {
    readonly namespace: string;
    readonly jobId: string;
    readonly version: number;
    readonly enforcePriorVersion: number | null;
  }): Promise<JobRegisterResponse>;
  /** HCL to JSON; `canonicalize` fills in the defaults. */
  parse(request: { readonly hcl: string; readonly canonicalize: boolean }): Promise<object>;
}

export interface NodeWriteResponse {
  readonly EvalCreateIndex: number;
  readonly EvalIDs: readonly string[] | null;
  readonly Index: number;
  readonly NodeModifyIndex: number;
}

export interface NodeEndpoint {
  setEligibility(nodeId: string, eligibility: string): Promise<NodeWriteResponse>;
  /** Begins or changes a drain; a null `spec` ends it. */
  setDrain(request: {
    readonly nodeId: string;
    readonly spec: DrainSpec | null;
    /** With a null `spec`: schedulers may use the node again. */
    readonly markEligible: boolean;
    readonly meta: Readonly<Record<string, string>> | null;
  }): Promise<NodeWriteResponse>;
  /** New evaluations for every job with an allocation on the node, and for system jobs. */
  evaluate(nodeId: string): Promise<NodeWriteResponse & { readonly NumNodes: number }>;
  /** Removes a node and its allocations' claim on it (`POST /v1/node/:id/purge`). */
  purge(nodeId: string): Promise<NodeWriteResponse>;
  /** Calls a method of the agent on that node. */
  call<M extends keyof AgentMethods>(
    nodeId: string,
    method: M,
    request: AgentMethods[M]["request"],
  ): Promise<AgentMethods[M]["answer"]>;
  stream<M extends keyof AgentStreams>(
    nodeId: string,
    method: M,
    request: AgentStreams[M]["request"],
    signal: AbortSignal,
  ): AsyncIterable<FileFrame>;
}

export interface AllocEndpoint {
  /** Marks the allocation to be stopped and replaced (`Alloc.Stop`). */
  stop(allocId: string): Promise<{ readonly EvalID: string; readonly Index: number }>;
}

/** An answer of `Deployment.*`, without what the API adds. */
export type DeploymentWriteResponse = Pick<
  DeploymentUpdateResponse,
  "DeploymentModifyIndex" | "EvalCreateIndex" | "EvalID" | "Index" | "RevertedJobVersion"
>;

export interface DeploymentEndpoint {
  /** Promotes the canaries of all groups, or of those named. */
  promote(request: {
    readonly deploymentId: string;
    readonly all: boolean;
    readonly groups: readonly string[];
  }): Promise<DeploymentWriteResponse>;
  /** Fails it; the job goes back to its last stable version where a group has `auto_revert`. */
  fail(deploymentId: string): Promise<DeploymentWriteResponse>;
  pause(deploymentId: string, paused: boolean): Promise<DeploymentWriteResponse>;
  /** Decides the health of allocations; one that is unhealthy fails the deployment. */
  setHealth(request: {
    readonly deploymentId: string;
    readonly healthy: readonly string[];
    readonly unhealthy: readonly string[];
  }): Promise<DeploymentWriteResponse>;
}

export interface OperatorEndpoint {
  /** Starts a garbage collection of everything that may go, however young (`System.GarbageCollect`). */
  collectGarbage(): Promise<void>;
  /** With `cas` only where the present configuration has that ModifyIndex; `Updated` is false otherwise. */
  setSchedulerConfiguration(
    config: unknown,
    cas?: number,
  ): Promise<{ readonly Index: number; readonly Updated: boolean }>;
  schedulerConfiguration(): SchedulerConfiguration;
  autopilotConfiguration(): AutopilotConfiguration;
  /** What is left out is off or zero, as the API has it. `cas` as with `setSchedulerConfiguration`. */
  setAutopilotConfiguration(
    config: unknown,
    cas?: number,
  ): Promise<{ readonly Index: number; readonly Updated: boolean }>;
  /** As the leader sees the servers. */
  autopilotHealth(): Promise<OperatorHealthReply>;
  issueJoinToken(ttl: number): Promise<string>;
  /** The consensus group as this server knows it. */
  raftConfiguration(): RaftConfiguration;
  /**
   * Takes a server out of the consensus group; the leader itself too, which then steps down. Rejects with 400 where not
   * exactly one of `id` and `address` is given, where only one voter is left, and where an engine outside keeps the members.
   */
  removeRaftPeer(peer: RaftPeerName): Promise<void>;
  /** Hands leadership to that server; rejects, still leading, when it can't take it. */
  transferLeadership(peer: RaftPeerName): Promise<LeadershipTransfer>;
}

/** Names a server of the consensus group by exactly one of the two. */
export interface RaftPeerName {
  readonly id?: string;
  /** `host:port` */
  readonly address?: string;
}

/** A copy of the state in one file, on its way to who asked for it. Read it to its end or destroy it. */
export interface SavedSnapshot {
  /** Log index and term of what the copy holds. */
  readonly index: number;
  readonly term: number;
  /** Bytes of the archive. */
  readonly size: number;
  /** SHA-256 of the archive, base64. */
  readonly sha256: string;
  readonly archive: Readable;
}

/** Saving and restoring the whole state (`Snapshot.Save`, `Snapshot.Restore`). */
export interface SnapshotEndpoint {
  /** On the leader, after everything that was acknowledged before; with `stale` this server's state as it is. */
  save(request: { readonly stale: boolean }, signal: AbortSignal): Promise<SavedSnapshot>;
  /**
   * Puts the state of an archive in the place of the cluster's, on all servers; gives the index at which it is in force.
   * Rejects with 400, nothing being changed, for anything but a whole archive of this region that this version can read.
   */
  restore(archive: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<{ readonly Index: number }>;
}

export interface StatusEndpoint {
  /** `host:port` of the leader, empty while there is none. */
  leader(): string;
  peers(): readonly string[];
  /** Servers of all regions that this one knows, itself first. */
  members(): readonly AgentMember[];
  /** Contacts `addresses` (`host[:port]`); gives how many answered. Rejects when none did, naming each failure. */
  join(addresses: readonly string[]): Promise<number>;
  /** Declares a failed server (`<name>.<region>`, or its name alone) as left; rejects for one that is unknown or alive. */
  forceLeave(node: string): Promise<void>;
  /** `ok`, or why the server can't serve. */
  health(): { readonly ok: boolean; readonly message: string };
  /**
   * Resolves once this server's state holds everything that was acknowledged before the call. The leader's own state does;
   * `confirmed` has it make sure first that it still leads. Rejects with EndpointError 500 `No cluster leader` where there is
   * none for some seconds.
   */
  catchUp(confirmed: boolean): Promise<void>;
  /** Milliseconds since this server heard of the leader: 0 where it leads, null while it never did. */
  lastContact(): number | null;
  /** Sections of `GET /v1/agent/self` `stats`. */
  stats(): Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface ServerEndpoints {
  readonly jobs: JobEndpoint;
  readonly nodes: NodeEndpoint;
  readonly allocations: AllocEndpoint;
  readonly deployments: DeploymentEndpoint;
  readonly operator: OperatorEndpoint;
  readonly snapshots: SnapshotEndpoint;
  readonly status: StatusEndpoint;
}
export const ServerEndpoints = createToken<ServerEndpoints>("ServerEndpoints");

/** What the client agent of this process tells about itself; absent where there is none. */
export interface ClientStatus {
  readonly nodeId: string;
  health(): { readonly ok: boolean; readonly message: string };
  stats(): Readonly<Record<string, string>>;
}
export const ClientStatus = createToken<ClientStatus>("ClientStatus");
