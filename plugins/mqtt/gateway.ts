/** The server's side of the agent protocol: keeps a session with every node, over whichever broker carries it. */
import { randomBytes } from "node:crypto";
import {
  AGENT_PROTOCOL_VERSION,
  type AgentMethods,
  type AgentServerHandler,
  type AgentStreams,
  type AgentTransport,
  type FileFrame,
  type Logger,
  type Metrics,
  RemoteError,
  type ServerMethods,
  type TransportStats,
} from "@drover/plugin-sdk";
import type { Carrier } from "./carrier.js";
import type { ClusterKeys } from "./cluster-keys.js";
import { CHUNK_BYTES, decodeBody, EnrollBody, HelloBody, pack } from "./codec.js";
import { Conversation } from "./conversation.js";
import {
  ENVELOPE_OVERHEAD,
  type KeyPair,
  Kind,
  NO_SESSION,
  type Opened,
  openIntroduction,
  openPayload,
  RefusedPayload,
  SESSION_ID_BYTES,
  type SealedHeader,
  sealBox,
} from "./envelope.js";
import { KeyAgreement } from "./keys.js";
import { checkRequest, serverMethods } from "./methods.js";
import type { Refusals } from "./refusals.js";
import { Session } from "./session.js";
import { TokenBucket } from "./token-bucket.js";
import type { ParsedTopic, Topics } from "./topics.js";

/** Framing around a chunk: the MessagePack array of a fragment. */
const MAX_PAYLOAD_BYTES: number = CHUNK_BYTES + ENVELOPE_OVERHEAD + 1_024;
const MAX_ENROLMENT_BYTES = 2_048;
/** Every enrolment costs a key agreement, and anybody may send one. */
const ENROLMENTS_PER_SECOND = 500;
const MAX_REQUESTS_PER_NODE = 64;
/** At most one answer of this kind in so many milliseconds, so that replays don't make us talk. */
const UNKNOWN_SESSION_EVERY_MS = 250;

/** One side of an agreed session, before (`pending`) and after (`active`) the node proved that it is live. */
interface NodeSession {
  readonly session: Session;
  /** Id of the MQTT connection whose last will ends this session. */
  readonly connection: Buffer;
  readonly conversation: Conversation;
}

interface Peer {
  readonly nodeId: string;
  readonly publicKey: Uint8Array;
  readonly sharedKey: Uint8Array;
  active: NodeSession | undefined;
  pending: NodeSession | undefined;
  unknownSessionAt: number;
}

export interface GatewayOptions {
  readonly carrier: Carrier;
  readonly topics: Topics;
  readonly clusterKeys: ClusterKeys;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly refusals: Refusals;
}

export class Gateway implements AgentTransport {
  /** With the key that is served. */
  private agreement: KeyAgreement | undefined;
  private readonly peers = new Map<string, Peer>();
  private readonly enrolments = new TokenBucket(ENROLMENTS_PER_SECOND, 2 * ENROLMENTS_PER_SECOND);
  private handler: AgentServerHandler | undefined;
  private connected = 0;
  private received = 0;
  private sent = 0;
  private readonly stopCollecting: () => void;

  constructor(private readonly options: GatewayOptions) {
    this.stopCollecting = options.metrics.onCollect(() => {
      options.metrics.gauge("drover.mqtt.connected_nodes", this.connected);
    });
  }

  async serve(handler: AgentServerHandler): Promise<void> {
    if (this.handler !== undefined) throw new Error("the agent transport is served already");
    const { pair } = this.options.clusterKeys;
    if (pair === undefined) throw new Error("agents can't be served without the cluster's key");
    this.agreement = new KeyAgreement(pair.secretKey);
    this.handler = handler;
    await this.options.carrier.serve({
      message: (topic, payload, retained) => this.receive(topic, payload, retained),
      disconnected: (nodeId) => {
        const peer = this.peers.get(nodeId);
        if (peer !== undefined) this.drop(peer, "its connection ended");
      },
    });
  }

  async unserve(): Promise<void> {
    for (const peer of this.peers.values()) this.drop(peer, "this server serves no agents now");
    // What was agreed with the key may not outlive it.
    this.peers.clear();
    this.handler = undefined;
    this.agreement = undefined;
    await this.options.carrier.unserve();
  }

  get shared(): boolean {
    return this.options.carrier.shared;
  }

  clusterKeyPair(): KeyPair | undefined {
    return this.options.clusterKeys.pair;
  }

  createClusterKey(): Promise<KeyPair> {
    return this.options.clusterKeys.create();
  }

  async adoptClusterKey(pair: KeyPair): Promise<void> {
    if (this.handler !== undefined) throw new Error("the cluster's key can't change while agents are served");
    await this.options.clusterKeys.adopt(pair);
  }

  isConnected(nodeId: string): boolean {
    return this.peers.get(nodeId)?.active !== undefined;
  }

  async call<M extends keyof AgentMethods>(
    nodeId: string,
    method: M,
    request: AgentMethods[M]["request"],
    options?: { readonly timeout?: number; readonly signal?: AbortSignal },
  ): Promise<AgentMethods[M]["answer"]> {
    const answer = await this.conversation(nodeId).call(method, request, options);
    return answer as AgentMethods[M]["answer"];
  }

  async *stream<M extends keyof AgentStreams>(
    nodeId: string,
    method: M,
    request: AgentStreams[M]["request"],
    signal: AbortSignal,
  ): AsyncGenerator<FileFrame, void, undefined> {
    yield* this.conversation(nodeId).stream(method, request, signal);
  }

  brokerUrls(): readonly string[] {
    return this.options.carrier.urls();
  }

  stats(): TransportStats {
    const { connected, received, sent } = this;
    return { connected, received, sent, refused: this.options.refusals.toJSON() };
  }

  async close(): Promise<void> {
    // The core is stopping too: it hears nothing of nodes that this close disconnects.
    this.handler = undefined;
    this.stopCollecting();
    for (const peer of this.peers.values()) this.drop(peer, "the server is stopping");
    await this.options.carrier.close();
  }

  /** Only while it is served. */
  private agreed(publicKey: Uint8Array): Uint8Array {
    if (this.agreement === undefined) throw new Error("the agent transport is not served");
    return this.agreement.sharedKey(publicKey);
  }

  private conversation(nodeId: string): Conversation {
    const active = this.peers.get(nodeId)?.active;
    if (active === undefined)
      throw new RemoteError("unreachable", `node ${nodeId} is not connected to this server`);
    return active.conversation;
  }

  /** Takes a payload off the broker; nothing that is in it makes this throw. */
  private receive(topic: string, payload: Buffer, retained: boolean): void {
    const { handler } = this;
    if (handler === undefined) return;
    this.received++;
    this.options.metrics.increment("drover.mqtt.received");
    const parsed = this.options.topics.parse(topic);
    const who = parsed?.nodeId ?? "unknown topic";
    try {
      if (parsed === undefined || parsed.kind === "down")
        throw new RefusedPayload("malformed", "not an agent's topic");
      if (parsed.kind === "enroll") this.receiveEnrolment(handler, topic, parsed.nodeId, payload);
      else this.receiveSealed(handler, topic, parsed, payload, retained);
    } catch (error) {
      if (error instanceof RefusedPayload) this.options.refusals.refuse(error.reason, who, error.message);
      else
        this.options.log.error(
          { node: who, error: (error as Error).stack },
          "a message of this node was not handled",
        );
    }
  }

  private receiveSealed(
    handler: AgentServerHandler,
    topic: string,
    parsed: ParsedTopic,
    payload: Buffer,
    retained: boolean,
  ): void {
    const peer = this.peer(handler, parsed.nodeId);
    if (payload.length > MAX_PAYLOAD_BYTES) throw new RefusedPayload("oversized", `${payload.length} bytes`);
    const opened = openPayload(peer.sharedKey, "up", topic, payload);
    const { kind } = opened.header;
    if (parsed.kind === "up" && kind === Kind.hello) this.hello(handler, peer, opened);
    else if (parsed.kind === "status" && kind === Kind.will) this.will(peer, opened.header, retained);
    else if (
      (parsed.kind === "status" && (kind === Kind.online || kind === Kind.offline)) ||
      ((parsed.kind === "up" || parsed.kind === "stream") && kind === Kind.frame)
    ) {
      this.inSession(handler, peer, opened, retained);
    } else throw new RefusedPayload("malformed", `kind ${kind} on a ${parsed.kind} topic`);
  }

  /** The node's keys; a node that enrolled anew starts over. Throws for a node that is not enrolled. */
  private peer(handler: AgentServerHandler, nodeId: string): Peer {
    const publicKey = handler.nodeKey(nodeId);
    const known = this.peers.get(nodeId);
    if (known !== undefined && publicKey !== undefined && Buffer.compare(known.publicKey, publicKey) === 0)
      return known;
    if (known !== undefined) {
      this.drop(known, "its key changed");
      this.peers.delete(nodeId);
    }
    if (publicKey === undefined) throw new RefusedPayload("unknown_node", "the node is not enrolled");
    const sharedKey = this.agreed(publicKey);
    const peer: Peer = {
      nodeId,
      publicKey: Uint8Array.from(publicKey),
      sharedKey,
      active: undefined,
      pending: undefined,
      unknownSessionAt: 0,
    };
    this.peers.set(nodeId, peer);
    return peer;
  }

  private receiveEnrolment(
    handler: AgentServerHandler,
    topic: string,
    nodeId: string,
    payload: Buffer,
  ): void {
    if (payload.length > MAX_ENROLMENT_BYTES)
      throw new RefusedPayload("oversized", `${payload.length} bytes`);
    if (!this.enrolments.tryTake()) throw new RefusedPayload("rate_limited", "too many enrolments at once");
    const opened = openIntroduction((publicKey) => this.agreed(publicKey), topic, payload);
    if (opened.header.kind !== Kind.enroll) throw new RefusedPayload("malformed", "not an enrolment");
    const body = decodeBody(EnrollBody, opened.body);
    if (body.nodeId !== nodeId || Buffer.compare(body.publicKey, opened.publicKey) !== 0) {
      throw new RefusedPayload("forged", "the enrolment names another node or key");
    }
    void this.enroll(handler, nodeId, opened, body);
  }

  private async enroll(
    handler: AgentServerHandler,
    nodeId: string,
    opened: ReturnType<typeof openIntroduction>,
    body: ReturnType<typeof EnrollBody.parse>,
  ): Promise<void> {
    let failure: { code: string; message: string } | null = null;
    try {
      checkVersion([body.protocol]);
      await handler.enroll({
        nodeId,
        publicKey: Uint8Array.from(opened.publicKey),
        joinSecret: Uint8Array.from(body.joinSecret),
      });
      this.options.log.info({ node: nodeId }, `node ${nodeId} enrolled`);
    } catch (error) {
      const code = error instanceof RemoteError ? error.code : "internal";
      const message = (error as Error).message;
      failure = { code, message };
      this.options.refusals.refuse("enrolment", nodeId, message);
    }
    const header = { ...opened.header, kind: Kind.enrolled };
    this.publish(
      nodeId,
      sealBox(opened.sharedKey, this.options.topics.down(nodeId), header, pack({ error: failure })),
    );
  }

  /** Answers with a session id of ours. A replayed hello gets no further: it takes the node's key to use the answer. */
  private hello(handler: AgentServerHandler, peer: Peer, opened: Opened): void {
    const body = decodeBody(HelloBody, opened.body);
    const agentSession = Uint8Array.from(opened.header.agentSession);
    const same = (known: NodeSession | undefined): boolean =>
      known !== undefined && Buffer.compare(known.session.agentSession, agentSession) === 0;
    if (same(peer.active)) {
      this.options.refusals.count("duplicates");
      return;
    }
    try {
      checkVersion(body.versions);
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      const { code, message } = error;
      this.options.refusals.refuse(
        "unsupported_version",
        peer.nodeId,
        `${message} (software: ${body.software})`,
      );
      this.answer(peer, Kind.refused, agentSession, NO_SESSION, { error: { code, message } });
      return;
    }
    if (!same(peer.pending)) {
      const serverSession = randomBytes(SESSION_ID_BYTES);
      const session = new Session(peer.sharedKey, "down", agentSession, serverSession);
      const conversation = this.converse(handler, peer.nodeId, session);
      peer.pending = { session, connection: Buffer.from(body.connection), conversation };
    }
    const { serverSession } = peer.pending!.session;
    this.answer(peer, Kind.welcome, agentSession, serverSession, { version: AGENT_PROTOCOL_VERSION });
  }

  private will(peer: Peer, header: SealedHeader, retained: boolean): void {
    if (peer.active?.connection.equals(header.agentSession)) {
      this.drop(peer, "its last will arrived");
      return;
    }
    // Of a connection whose end was noticed already, or kept by the broker, or replayed: it means nothing in each case.
    if (!retained) this.options.refusals.count("duplicates");
  }

  private inSession(handler: AgentServerHandler, peer: Peer, opened: Opened, retained: boolean): void {
    const { header, body } = opened;
    const isPending = peer.pending?.session.matches(header) === true;
    const current = isPending ? peer.pending : peer.active?.session.matches(header) ? peer.active : undefined;
    if (current === undefined) {
      if (header.kind !== Kind.offline) this.unknownSession(peer, header);
      if (retained) return;
      throw new RefusedPayload(
        "replayed",
        "payload of another session; a node that lives agrees on a new one now",
      );
    }
    if (!current.session.accept(header)) {
      this.options.refusals.count("duplicates");
      return;
    }
    if (isPending) this.activate(handler, peer, current);
    if (header.kind === Kind.offline) this.drop(peer, "it said goodbye");
    else if (header.kind === Kind.frame) current.conversation.receive(body);
  }

  /** Tells a node that didn't notice our restart. An old one can't mislead it: it names the session it is about. */
  private unknownSession(peer: Peer, header: SealedHeader): void {
    const now = performance.now();
    if (peer.unknownSessionAt !== 0 && now - peer.unknownSessionAt < UNKNOWN_SESSION_EVERY_MS) return;
    peer.unknownSessionAt = now;
    this.answer(peer, Kind.unknownSession, header.agentSession, header.serverSession, {});
  }

  private activate(handler: AgentServerHandler, peer: Peer, next: NodeSession): void {
    if (peer.active !== undefined) this.drop(peer, "it began another session");
    peer.pending = undefined;
    peer.active = next;
    this.connected++;
    this.options.log.debug({ node: peer.nodeId }, "node connected");
    handler.connection(peer.nodeId, true);
  }

  private drop(peer: Peer, why: string): void {
    const { active } = peer;
    if (active === undefined) return;
    peer.active = undefined;
    this.connected--;
    active.conversation.end(new RemoteError("unreachable", `node ${peer.nodeId} went away: ${why}`));
    this.options.log.debug({ node: peer.nodeId, why }, "node disconnected");
    this.handler?.connection(peer.nodeId, false);
  }

  private converse(handler: AgentServerHandler, nodeId: string, session: Session): Conversation {
    const down = this.options.topics.down(nodeId);
    return new Conversation({
      log: this.options.log.child({ node: nodeId }),
      maxConcurrent: MAX_REQUESTS_PER_NODE,
      send: (bytes) => {
        this.options.carrier.publish(nodeId, session.seal(down, Kind.frame, bytes));
        this.sent++;
        this.options.metrics.increment("drover.mqtt.sent");
      },
      handle: (method, body) => {
        const known = checkRequest(serverMethods, method, body);
        return handler.handle(nodeId, known, body as ServerMethods[typeof known]["request"]);
      },
    });
  }

  private answer(
    peer: Peer,
    kind: Kind,
    agentSession: Uint8Array,
    serverSession: Uint8Array,
    body: object,
  ): void {
    const header = { kind, agentSession, serverSession, counter: 0 };
    const topic = this.options.topics.down(peer.nodeId);
    this.publish(peer.nodeId, sealBox(peer.sharedKey, topic, header, pack(body)));
  }

  /** For handshakes: who doesn't get the answer asks again. */
  private publish(nodeId: string, payload: Buffer): void {
    try {
      this.options.carrier.publish(nodeId, payload);
      this.sent++;
      this.options.metrics.increment("drover.mqtt.sent");
    } catch (error) {
      this.options.log.debug(
        { node: nodeId, error: (error as Error).message },
        "handshake answer was not sent",
      );
    }
  }
}

/** Throws `unsupported_version` unless the peer speaks ours. */
function checkVersion(versions: readonly number[]): void {
  if (versions.includes(AGENT_PROTOCOL_VERSION)) return;
  throw new RemoteError(
    "unsupported_version",
    `this server speaks version ${AGENT_PROTOCOL_VERSION} of the agent protocol, the node ${versions.join(", ")}: ` +
      "upgrade the older of the two",
  );
}
