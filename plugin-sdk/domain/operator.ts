/** The cluster as operators see it: configuration, members, namespaces, event stream, search. */

/** How nodes are ranked: fill them up, or use them evenly. */
export const SchedulerAlgorithm = { Binpack: "binpack", Spread: "spread" } as const;
export type SchedulerAlgorithm = (typeof SchedulerAlgorithm)[keyof typeof SchedulerAlgorithm];

/** Which schedulers may evict allocations of lower priority. */
export interface PreemptionConfig {
  /** Default false. */
  BatchSchedulerEnabled: boolean;
  /** Default false. */
  ServiceSchedulerEnabled: boolean;
  /** Default false. */
  SysBatchSchedulerEnabled: boolean;
  /** Default true. */
  SystemSchedulerEnabled: boolean;
}

/** Configuration of the schedulers, replicated. */
export interface SchedulerConfiguration {
  CreateIndex: number;
  /** Allow MemoryMaxMB above MemoryMB; default false. */
  MemoryOversubscriptionEnabled: boolean;
  ModifyIndex: number;
  /** The leader hands no evaluation to schedulers; default false. */
  PauseEvalBroker: boolean;
  PreemptionConfig: PreemptionConfig;
  /** Registration, dispatch and scaling of jobs are refused; default false. */
  RejectJobRegistration: boolean;
  /** Default "binpack". */
  SchedulerAlgorithm: SchedulerAlgorithm;
}

/** Settings of the schedulers, as operators give them. */
export type SchedulerSettings = Omit<SchedulerConfiguration, "CreateIndex" | "ModifyIndex">;

/** What holds where nobody said anything else. */
export const DEFAULT_SCHEDULER_SETTINGS: SchedulerSettings = {
  MemoryOversubscriptionEnabled: false,
  PauseEvalBroker: false,
  PreemptionConfig: {
    BatchSchedulerEnabled: false,
    ServiceSchedulerEnabled: false,
    SysBatchSchedulerEnabled: false,
    SystemSchedulerEnabled: true,
  },
  RejectJobRegistration: false,
  SchedulerAlgorithm: SchedulerAlgorithm.Binpack,
};

/** Configuration of autopilot; durations are strings like "200ms". */
export interface AutopilotConfiguration {
  /** Remove servers that failed, as long as the others keep a quorum; default true. */
  CleanupDeadServers: boolean;
  CreateIndex: number;
  /** Accepted and kept; changes nothing (Enterprise). */
  DisableUpgradeMigration: boolean;
  /** Accepted and kept; changes nothing (Enterprise). */
  EnableCustomUpgrades: boolean;
  /** Accepted and kept; changes nothing (Enterprise). */
  EnableRedundancyZones: boolean;
  /** Silence after which a server counts as unhealthy; default "200ms". */
  LastContactThreshold: string;
  /** Log entries a healthy server may lag; default 250. */
  MaxTrailingLogs: number;
  /** Never clean up below this many servers; default 0. */
  MinQuorum: number;
  ModifyIndex: number;
  /** Healthy this long before it may vote; default "10s". */
  ServerStabilizationTime: string;
}

/** Settings of autopilot, as operators give them. */
export type AutopilotSettings = Omit<AutopilotConfiguration, "CreateIndex" | "ModifyIndex">;

/** What holds where nobody said anything else. */
export const DEFAULT_AUTOPILOT_SETTINGS: AutopilotSettings = {
  CleanupDeadServers: true,
  DisableUpgradeMigration: false,
  EnableCustomUpgrades: false,
  EnableRedundancyZones: false,
  LastContactThreshold: "200ms",
  MaxTrailingLogs: 250,
  MinQuorum: 0,
  ServerStabilizationTime: "10s",
};

/** Identity of a cluster, made once by its first leader. */
export interface ClusterMetadata {
  /** UUID. */
  ClusterID: string;
  /** Unix nanoseconds. */
  CreateTime: number;
}

/** Health of one server (GET /v1/operator/autopilot/health). */
export interface ServerHealth {
  Address: string;
  Healthy: boolean;
  ID: string;
  /** Duration since the leader heard of it, e.g. "12ms"; "0s" for the leader, "never" for one not heard of yet. */
  LastContact: string;
  LastIndex: number;
  LastTerm: number;
  Leader: boolean;
  Name: string;
  SerfStatus: string;
  /** RFC 3339: since when its health is what it is. */
  StableSince: string;
  Version: string;
  Voter: boolean;
}

/** Health of the servers. */
export interface OperatorHealthReply {
  /** Servers that may fail before the quorum is lost. */
  FailureTolerance: number;
  Healthy: boolean;
  Servers: ServerHealth[];
}

/** A member of the consensus group. */
export interface RaftServer {
  /** `host:port` of its RPC. */
  Address: string;
  ID: string;
  Leader: boolean;
  /** Gossip name, "(unknown)" when gossip does not know it. */
  Node: string;
  RaftProtocol: string;
  Voter: boolean;
}

/** The consensus group. */
export interface RaftConfiguration {
  Index: number;
  Servers: RaftServer[];
}

/** Who led, and who leads after a transfer of leadership. */
export interface LeadershipTransfer {
  From: RaftServer;
  /** The server named led already, and nothing was done. */
  Noop: boolean;
  To: RaftServer;
}

/** A server in the gossip pool. */
export interface AgentMember {
  Addr: string;
  DelegateCur: number;
  DelegateMax: number;
  DelegateMin: number;
  /** `<name>.<region>`. */
  Name: string;
  /** Gossip port. */
  Port: number;
  ProtocolCur: number;
  ProtocolMax: number;
  ProtocolMin: number;
  /** "alive", "leaving", "left" or "failed". */
  Status: string;
  /** `role`, `region`, `dc`, `id`, `rpc_addr`, `port`, `build`, `vsn`, `raft_vsn`, `expect`, `bootstrap`… */
  Tags: Record<string, string>;
}

/** Members of the gossip pool (GET /v1/agent/members). */
export interface AgentMembersResponse {
  Members: AgentMember[];
  ServerDC: string;
  ServerName: string;
  ServerRegion: string;
}

/** Health of one role of an agent. */
export interface AgentHealthCheck {
  message: string;
  ok: boolean;
}

/** Health of an agent (GET /v1/agent/health); only the roles it has or was asked for. */
export interface AgentHealthResponse {
  client?: AgentHealthCheck;
  server?: AgentHealthCheck;
}

/** Answer of PUT /v1/agent/join. */
export interface AgentJoinResponse {
  error: string;
  num_joined: number;
}

/** A namespace. */
export interface Namespace {
  CreateIndex: number;
  Description: string;
  /** Base64. */
  Hash: string;
  ModifyIndex: number;
  Name: string;
  /** Quota (Enterprise). */
  Quota: string;
}

/** Topics of the event stream. */
export const EventTopic = {
  All: "*",
  ACLPolicy: "ACLPolicy",
  ACLToken: "ACLToken",
  Allocation: "Allocation",
  Deployment: "Deployment",
  Evaluation: "Evaluation",
  Job: "Job",
  Node: "Node",
} as const;
export type EventTopic = (typeof EventTopic)[keyof typeof EventTopic];

/** One event (GET /v1/event/stream). */
export interface Event {
  /** Other keys it is found under: the job, the deployment… */
  FilterKeys: string[] | null;
  Index: number;
  /** Id of the object. */
  Key: string;
  Namespace: string;
  /** The object under its topic's name: `{"Evaluation": {…}}`. */
  Payload: Record<string, unknown>;
  Topic: EventTopic;
  /** "JobRegistered", "AllocationUpdated", "NodeRegistration", "PlanResult"… */
  Type: string;
}

/** One line of the event stream: the events of an index. An empty object is a heartbeat. */
export interface EventBatch {
  Events?: Event[];
  Index?: number;
}

/** What a search looks through. */
export const SearchContext = {
  Allocs: "allocs",
  Deployments: "deployment",
  Evals: "evals",
  Jobs: "jobs",
  Namespaces: "namespaces",
  Nodes: "nodes",
  Plugins: "plugins",
  ScalingPolicies: "scaling_policy",
  Volumes: "volumes",
  All: "all",
} as const;
export type SearchContext = (typeof SearchContext)[keyof typeof SearchContext];

/** Body of POST /v1/search. */
export interface SearchRequest {
  Context: SearchContext | "";
  Prefix: string;
}

/** Matches by context, at most twenty each. */
export interface SearchResponse {
  Index: number;
  KnownLeader: boolean;
  /** Nanoseconds. */
  LastContact: number;
  Matches: Record<string, string[] | null>;
  /** By context: there were more. */
  Truncations: Record<string, boolean>;
}
