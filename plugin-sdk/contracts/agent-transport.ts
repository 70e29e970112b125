/** Transport between servers and client agents: requests both ways, streams down, over a carrier nobody has to trust. */
import { createToken } from "../kernel/token.js";
import type { AgentMethods, AgentStreams, FileFrame, ServerMethods } from "../protocol/messages.js";

/** An error that the other side answered; `message` is for people, `code` for programs (`not_found`, `bad_request`). */
export class RemoteError extends Error {
  override readonly name = "RemoteError";
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** What an enrolling node shows, after the transport opened its sealed request. */
export interface EnrollmentRequest {
  readonly nodeId: string;
  /** X25519 key that the node will use from now on, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** One-time secret out of its join token. */
  readonly joinSecret: Uint8Array;
}

/** The server's side of the conversation; implemented by the core. */
export interface AgentServerHandler {
  /** Pinned key of an enrolled node; undefined for a stranger. Synchronous: it is asked for every payload. */
  nodeKey(nodeId: string): Uint8Array | undefined;
  /**
   * Checks and uses up the join secret and pins the key, through the log. The same node with the same key and secret may
   * ask again (its answer was lost). Rejects with a `RemoteError` that says why.
   */
  enroll(request: EnrollmentRequest): Promise<void>;
  /** Answers a method of an enrolled node. */
  handle<M extends keyof ServerMethods>(
    nodeId: string,
    method: M,
    request: ServerMethods[M]["request"],
  ): Promise<ServerMethods[M]["answer"]>;
  /** A node connected (and will call `node.register`) or its last will arrived. */
  connection(nodeId: string, connected: boolean): void;
}

export interface TransportStats {
  readonly connected: number;
  readonly received: number;
  readonly sent: number;
  /** Payloads that were refused, by reason: `forged`, `replayed`, `truncated`, `oversized`, `unknown_node`, `malformed`. */
  readonly refused: Readonly<Record<string, number>>;
}

/**
 * The X25519 key pair by which agents know the servers of their cluster, 32 bytes each. Every server of a cluster holds the
 * same one. The secret part belongs into no log, no state and no message of a broker.
 */
export interface ClusterKeyPair {
  readonly publicKey: Uint8Array;
  readonly secretKey: Uint8Array;
}

/** Server side. */
export interface AgentTransport {
  /**
   * Whether all servers use one broker that stands beside them. Then the leader alone serves, and reaches every node;
   * otherwise every server serves the nodes that are connected to it.
   */
  readonly shared: boolean;
  /** Starts to take messages, once the core is ready to answer. Rejects while there is no cluster key. */
  serve(handler: AgentServerHandler): Promise<void>;
  /** Ends the sessions with all nodes and takes no more messages; `serve` may be called again. */
  unserve(): Promise<void>;
  /** What this server holds of the cluster's key; undefined while it has none. */
  clusterKeyPair(): ClusterKeyPair | undefined;
  /** Makes and keeps the key pair of a cluster that has none. */
  createClusterKey(): Promise<ClusterKeyPair>;
  /** Keeps the key pair of the cluster, as another of its servers gave it. Not while it serves. */
  adoptClusterKey(pair: ClusterKeyPair): Promise<void>;
  isConnected(nodeId: string): boolean;
  /** Calls the agent; default deadline 10 s. Rejects with `RemoteError` (code `unreachable` when it isn't connected). */
  call<M extends keyof AgentMethods>(
    nodeId: string,
    method: M,
    request: AgentMethods[M]["request"],
    options?: { readonly timeout?: number; readonly signal?: AbortSignal },
  ): Promise<AgentMethods[M]["answer"]>;
  /** Opens a stream on the agent; leaving the loop or aborting closes it there. Slow readers hold the agent back. */
  stream<M extends keyof AgentStreams>(
    nodeId: string,
    method: M,
    request: AgentStreams[M]["request"],
    signal: AbortSignal,
  ): AsyncIterable<FileFrame>;
  /** Broker URLs that agents should use, for join tokens and for the agent of the same process. */
  brokerUrls(): readonly string[];
  stats(): TransportStats;
}
export const AgentTransport = createToken<AgentTransport>("AgentTransport");

/** The agent's side of the conversation; implemented by the client agent. */
export interface AgentClientHandler {
  handle<M extends keyof AgentMethods>(
    method: M,
    request: AgentMethods[M]["request"],
  ): Promise<AgentMethods[M]["answer"]>;
  stream<M extends keyof AgentStreams>(
    method: M,
    request: AgentStreams[M]["request"],
    signal: AbortSignal,
  ): AsyncIterable<FileFrame>;
  /** The link is up (enrolled, session agreed) or down. */
  connection(connected: boolean): void;
}

export interface AgentLinkOptions {
  readonly nodeId: string;
  /** Private folder (0700) for the node's key pair and the pinned cluster key. */
  readonly stateDir: string;
  readonly region: string;
  readonly handler: AgentClientHandler;
}

/** Client side. Keeps itself connected, with backoff, until closed; nothing it loses is lost to the caller silently. */
export interface AgentLink {
  /**
   * Connects, enrolling first where the node has no key yet. Returns at once: `handler.connection(true)` tells when the
   * link is up. Rejects only for what can't heal by waiting (no join token and not enrolled, unreadable key file).
   */
  open(options: AgentLinkOptions): Promise<void>;
  /** Calls the servers; rejects with `RemoteError` `unreachable` while the link is down. Default deadline 10 s. */
  call<M extends keyof ServerMethods>(
    method: M,
    request: ServerMethods[M]["request"],
    options?: { readonly timeout?: number; readonly signal?: AbortSignal },
  ): Promise<ServerMethods[M]["answer"]>;
  close(): Promise<void>;
}
export const AgentLink = createToken<AgentLink>("AgentLink");

/** Makes and checks join tokens; provided by the core where a server runs in this process. */
export interface JoinTokens {
  /** A token for one node, valid for `ttl` milliseconds: `drover1.` and base64url of cluster key and secret. */
  issue(ttl: number): Promise<string>;
}
export const JoinTokens = createToken<JoinTokens>("JoinTokens");

/** Parts of a join token. The secret is 32 random bytes; the state keeps its SHA-256 only. */
export interface JoinTokenParts {
  readonly clusterKey: Uint8Array;
  readonly secret: Uint8Array;
}

const PREFIX = "drover1.";

export function formatJoinToken(parts: JoinTokenParts): string {
  return PREFIX + Buffer.concat([parts.clusterKey, parts.secret]).toString("base64url");
}

/** Throws an Error that does not contain the token. */
export function parseJoinToken(text: string): JoinTokenParts {
  const token = text.trim();
  const bytes = token.startsWith(PREFIX)
    ? Buffer.from(token.slice(PREFIX.length), "base64url")
    : Buffer.alloc(0);
  if (bytes.length !== 64) {
    throw new Error(`not a join token: it must be "${PREFIX}" followed by 86 base64url characters`);
  }
  return { clusterKey: bytes.subarray(0, 32), secret: bytes.subarray(32) };
}
