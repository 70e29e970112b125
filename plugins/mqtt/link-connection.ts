/** One MQTT connection of an agent: enrolment, handshakes and the sessions that follow, until it ends. */
import { randomBytes } from "node:crypto";
import { AGENT_PROTOCOL_VERSION, type Logger, parseJoinToken, RemoteError } from "@drover/plugin-sdk";
import type { IPublishPacket, MqttClient } from "mqtt";
import { z } from "zod";
import { CHUNK_BYTES, decodeBody, OutcomeBody, pack } from "./codec.js";
import { Conversation, type ConversationOptions } from "./conversation.js";
import {
  ENVELOPE_OVERHEAD,
  Kind,
  NO_SESSION,
  type Opened,
  openPayload,
  RefusedPayload,
  SESSION_ID_BYTES,
  sealBox,
  sealIntroduction,
} from "./envelope.js";
import type { JoinTokenSource } from "./join-token.js";
import { type AgentKeys, KeyAgreement } from "./keys.js";
import { type BrokerLogin, endClient, openClient } from "./mqtt-client.js";
import type { Refusals } from "./refusals.js";
import { Session } from "./session.js";
import type { Topics } from "./topics.js";

const MAX_PAYLOAD_BYTES: number = CHUNK_BYTES + ENVELOPE_OVERHEAD + 1_024;
const ANSWER_TIMEOUTS_MS = [1_000, 2_000, 4_000, 8_000] as const;
/** Hellos without an answer after which the node considers that the server doesn't know it. */
const STRANGER_AFTER = 3;
/** Between attempts that only an operator's action can make succeed. */
const REFUSED_RETRY_MS = 15_000;

const WelcomeBody = z.object({ version: z.number().int() });

export interface LinkConnectionOptions {
  readonly url: string;
  readonly login: BrokerLogin;
  readonly topics: Topics;
  readonly keys: AgentKeys;
  readonly software: string;
  readonly log: Logger;
  readonly refusals: Refusals;
  readonly joinToken: JoinTokenSource;
  /** Keeps keys after enrolment. */
  save(keys: AgentKeys): Promise<void>;
  /** What the conversations of this connection answer. */
  readonly conversation: Pick<ConversationOptions, "handle" | "stream" | "maxConcurrent">;
  /** A session is agreed (its conversation), or is over (undefined). */
  changed(conversation: Conversation | undefined): void;
}

interface Agreed {
  readonly session: Session;
  readonly conversation: Conversation;
}

/** What is waited for on the down topic. */
interface Expected {
  readonly kinds: readonly Kind[];
  readonly agentSession: Buffer;
  resolve(opened: Opened): void;
}

export class LinkConnection {
  private readonly nodeId: string;
  private readonly down: string;
  /** Names this connection in its last will. */
  private readonly connectionId = randomBytes(16);
  private readonly agreement: KeyAgreement;
  /** Key of the cluster that is talked to: the pinned one, or a join token's during enrolment. */
  private clusterKey: Uint8Array | undefined;
  private sharedKey: Uint8Array = new Uint8Array(0);
  private client: MqttClient | undefined;
  private agreed: Agreed | undefined;
  private expected: Expected | undefined;
  /** Set while a session is up: ends it, so that another is agreed. */
  private renew: (() => void) | undefined;

  constructor(private readonly options: LinkConnectionOptions) {
    this.nodeId = options.keys.nodeId;
    this.down = options.topics.down(this.nodeId);
    this.agreement = new KeyAgreement(options.keys.pair.secretKey);
    if (options.keys.clusterKey !== undefined) this.talkTo(options.keys.clusterKey);
  }

  /** Runs until the connection is lost (rejects with the reason) or `signal` is aborted (resolves after a goodbye). */
  async run(signal: AbortSignal): Promise<void> {
    let token: string | undefined;
    if (this.clusterKey === undefined) {
      // Before connecting, because the last will is sealed for the cluster that the token names.
      token = await this.options.joinToken.read();
      this.talkTo(parseJoinToken(token).clusterKey);
    }
    const lost = new AbortController();
    const client = this.connect(lost);
    const stop = AbortSignal.any([signal, lost.signal]);
    try {
      await this.ready(client, stop);
      if (token !== undefined) await this.enroll(token, stop);
      while (true) {
        await this.agree(stop);
        await this.untilRenewed(stop);
      }
    } catch (error) {
      if (!signal.aborted) throw lost.signal.aborted ? lost.signal.reason : error;
    } finally {
      if (signal.aborted && this.agreed !== undefined) this.goodbye(client, this.agreed);
      this.sessionOver(new RemoteError("unreachable", "the link to the servers is down"));
      await endClient(client);
    }
  }

  private connect(lost: AbortController): MqttClient {
    const { topics, url, login } = this.options;
    const status = topics.status(this.nodeId);
    const header = {
      kind: Kind.will,
      agentSession: this.connectionId,
      serverSession: NO_SESSION,
      counter: 0,
    };
    const will = sealBox(this.sharedKey, status, header, Buffer.alloc(0));
    const client = openClient(url, login, {
      clientId: this.nodeId,
      will: { topic: status, payload: will, qos: 1, retain: true },
    });
    this.client = client;
    client.on("error", (error) => {
      const code = (error as NodeJS.ErrnoException).code;
      lost.abort(new Error(error.message || (code === undefined ? "connection failed" : String(code))));
    });
    client.on("close", () => lost.abort(new Error("the broker closed the connection")));
    client.on("message", (topic, payload, packet) => this.receive(topic, payload, packet));
    return client;
  }

  private async ready(client: MqttClient, stop: AbortSignal): Promise<void> {
    await until<void>(stop, (resolve) => client.once("connect", () => resolve()));
    await until<void>(stop, (resolve, reject) => {
      client.subscribe(this.down, { qos: 1 }, (error, granted) => {
        if (error) reject(error);
        else if (granted?.some((grant) => grant.qos === 128)) {
          reject(
            new Error(`the broker doesn't let this node subscribe to ${this.down}: check its access list`),
          );
        } else resolve();
      });
    });
  }

  private talkTo(clusterKey: Uint8Array): void {
    if (this.clusterKey !== undefined && Buffer.compare(this.clusterKey, clusterKey) === 0) return;
    this.clusterKey = Uint8Array.from(clusterKey);
    this.sharedKey = this.agreement.sharedKey(clusterKey);
  }

  /** Shows the join token until a server answers; rejects when it is refused. */
  private async enroll(token: string, stop: AbortSignal): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.tryToEnroll(token, timeoutOf(attempt), stop);
      if (outcome === null) return;
      if (outcome === undefined) continue;
      this.options.log.error({ node: this.nodeId, code: outcome.code }, howToEnroll(outcome.message));
      await sleep(REFUSED_RETRY_MS, stop);
      throw new Error(`enrolment was refused: ${outcome.message}`);
    }
  }

  /** Null for success, the server's error, or undefined without an answer. */
  private async tryToEnroll(
    token: string,
    timeout: number,
    stop: AbortSignal,
  ): Promise<{ code: string; message: string } | null | undefined> {
    const { clusterKey, secret } = parseJoinToken(token);
    const { keys, log, save } = this.options;
    const { publicKey } = keys.pair;
    this.talkTo(clusterKey);
    const topic = this.options.topics.enroll(this.nodeId);
    const agentSession = randomBytes(SESSION_ID_BYTES);
    const header = { kind: Kind.enroll, agentSession, serverSession: NO_SESSION, counter: 0 };
    const body = pack({
      nodeId: this.nodeId,
      publicKey,
      joinSecret: secret,
      protocol: AGENT_PROTOCOL_VERSION,
      time: Date.now(),
    });
    const sealed = sealIntroduction(this.sharedKey, publicKey, topic, header, body);
    const opened = await this.ask(topic, sealed, [Kind.enrolled], agentSession, timeout, stop);
    if (opened === undefined) return undefined;
    const { error } = decodeBody(OutcomeBody, opened.body);
    if (error !== null) return error;
    await save({ ...keys, clusterKey: Uint8Array.from(clusterKey) });
    log.info({ node: this.nodeId }, "enrolled; the cluster's key is pinned");
    return null;
  }

  /** Agrees on a session; goes on until a server answers. */
  private async agree(stop: AbortSignal): Promise<void> {
    const topic = this.options.topics.up(this.nodeId);
    // Kept for the repetitions, so that a late answer to the first still counts.
    const agentSession = randomBytes(SESSION_ID_BYTES);
    const body = pack({
      versions: [AGENT_PROTOCOL_VERSION],
      software: this.options.software,
      connection: this.connectionId,
    });
    for (let attempt = 0; ; attempt++) {
      const header = { kind: Kind.hello, agentSession, serverSession: NO_SESSION, counter: 0 };
      const sealed = sealBox(this.sharedKey, topic, header, body);
      const kinds = [Kind.welcome, Kind.refused];
      const opened = await this.ask(topic, sealed, kinds, agentSession, timeoutOf(attempt), stop);
      if (opened?.header.kind === Kind.welcome) {
        decodeBody(WelcomeBody, opened.body);
        this.begin(agentSession, Uint8Array.from(opened.header.serverSession));
        return;
      }
      if (opened !== undefined) {
        const { error } = decodeBody(OutcomeBody, opened.body);
        this.options.log.error({ node: this.nodeId, code: error?.code }, `refused: ${error?.message}`);
        await sleep(REFUSED_RETRY_MS, stop);
      } else if (attempt + 1 >= STRANGER_AFTER) await this.enrollAgain(attempt, stop);
    }
  }

  /** No server answers: all are away, or they lost this node. A token heals the second. */
  private async enrollAgain(attempt: number, stop: AbortSignal): Promise<void> {
    const pinned = this.clusterKey!;
    const token = await this.tokenIfAny();
    let outcome: { code: string; message: string } | null | undefined;
    if (token !== undefined) outcome = await this.tryToEnroll(token, timeoutOf(attempt), stop);
    if (outcome === null) {
      if (Buffer.compare(pinned, this.clusterKey!) === 0) return;
      throw new Error("enrolled in another cluster: connecting again with its key");
    }
    this.talkTo(pinned);
    if (attempt + 1 === STRANGER_AFTER || outcome !== undefined) {
      const why = outcome === undefined ? "no server answers this node" : outcome.message;
      this.options.log.warn(
        { node: this.nodeId },
        `${why}: either no server is running, or its data was wiped and it doesn't know this node; ${howToEnroll("in that case")}`,
      );
    }
    if (outcome !== undefined) await sleep(REFUSED_RETRY_MS, stop);
  }

  private async tokenIfAny(): Promise<string | undefined> {
    if (!this.options.joinToken.available) return undefined;
    try {
      return await this.options.joinToken.read();
    } catch (error) {
      // An enrolled node needs none as a rule, and its file may be gone for good.
      this.options.log.debug({ error: (error as Error).message }, "no join token");
      return undefined;
    }
  }

  private begin(agentSession: Uint8Array, serverSession: Uint8Array): void {
    const { topics, log } = this.options;
    const session = new Session(this.sharedKey, "up", agentSession, serverSession);
    const up = topics.up(this.nodeId);
    const conversation = new Conversation({
      ...this.options.conversation,
      log,
      send: (bytes, streamId) => {
        const topic = streamId === undefined ? up : topics.stream(this.nodeId, streamId);
        this.publish(topic, session.seal(topic, Kind.frame, bytes), false);
      },
      onTimeout: (silent) => {
        if (!silent) return;
        log.debug({}, "no sign of life from the servers: agreeing on a new session");
        this.renew?.();
      },
    });
    const status = topics.status(this.nodeId);
    this.publish(status, session.seal(status, Kind.online, Buffer.alloc(0)), true);
    this.agreed = { session, conversation };
    this.options.changed(conversation);
  }

  private async untilRenewed(stop: AbortSignal): Promise<void> {
    try {
      await until<void>(stop, (resolve) => {
        this.renew = resolve;
      });
    } finally {
      this.renew = undefined;
    }
    this.sessionOver(new RemoteError("unreachable", "the session with the servers is being agreed anew"));
  }

  private sessionOver(error: RemoteError): void {
    const { agreed } = this;
    if (agreed === undefined) return;
    this.agreed = undefined;
    agreed.conversation.end(error);
    this.options.changed(undefined);
  }

  private goodbye(client: MqttClient, agreed: Agreed): void {
    if (!client.connected) return;
    const status = this.options.topics.status(this.nodeId);
    this.publish(status, agreed.session.seal(status, Kind.offline, Buffer.alloc(0)), true);
  }

  /** Publishes and waits for the answer of one of `kinds` to `agentSession`; undefined when none comes in time. */
  private async ask(
    topic: string,
    sealed: Buffer,
    kinds: readonly Kind[],
    agentSession: Buffer,
    timeout: number,
    stop: AbortSignal,
  ): Promise<Opened | undefined> {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await until<Opened | undefined>(stop, (resolve) => {
        this.expected = { kinds, agentSession, resolve };
        timer = setTimeout(() => resolve(undefined), timeout);
        this.publish(topic, sealed, false);
      });
    } finally {
      clearTimeout(timer);
      this.expected = undefined;
    }
  }

  private publish(topic: string, payload: Buffer, retain: boolean): void {
    const { client } = this;
    if (!client?.connected) throw new RemoteError("unreachable", "the link to the servers is down");
    client.publish(topic, payload, { qos: 1, retain }, (error) => {
      if (error) this.options.log.debug({ topic, error: error.message }, "MQTT publish failed");
    });
  }

  /** Takes a payload off the broker; nothing that is in it makes this throw. */
  private receive(topic: string, payload: Buffer, packet: IPublishPacket): void {
    try {
      if (topic !== this.down) throw new RefusedPayload("malformed", "not this node's topic");
      if (packet.retain) throw new RefusedPayload("malformed", "servers don't send retained messages");
      if (payload.length > MAX_PAYLOAD_BYTES)
        throw new RefusedPayload("oversized", `${payload.length} bytes`);
      this.take(openPayload(this.sharedKey, "down", topic, payload));
    } catch (error) {
      if (error instanceof RefusedPayload)
        this.options.refusals.refuse(error.reason, this.nodeId, error.message);
      else
        this.options.log.error({ error: (error as Error).stack }, "a message of the servers was not handled");
    }
  }

  private take(opened: Opened): void {
    const { header } = opened;
    switch (header.kind) {
      case Kind.frame: {
        const { agreed } = this;
        if (agreed === undefined || !agreed.session.matches(header)) {
          throw new RefusedPayload("replayed", "payload of another session");
        }
        if (agreed.session.accept(header)) agreed.conversation.receive(opened.body);
        else this.options.refusals.count("duplicates");
        return;
      }
      case Kind.unknownSession:
        if (this.agreed?.session.matches(header)) this.renew?.();
        else this.options.refusals.count("duplicates");
        return;
      case Kind.enrolled:
      case Kind.welcome:
      case Kind.refused: {
        const { expected } = this;
        if (expected?.kinds.includes(header.kind) && expected.agentSession.equals(header.agentSession)) {
          expected.resolve(opened);
        } else this.options.refusals.count("duplicates");
        return;
      }
      default:
        throw new RefusedPayload("malformed", `kind ${header.kind} from a server`);
    }
  }
}

function howToEnroll(why: string): string {
  return (
    `${why}: make one with "drover node join-token" at a server and give it to this node with ` +
    'join_token_file in plugin "mqtt" { config { … } } or in DROVER_JOIN_TOKEN'
  );
}

function timeoutOf(attempt: number): number {
  return ANSWER_TIMEOUTS_MS[Math.min(attempt, ANSWER_TIMEOUTS_MS.length - 1)]!;
}

/** A promise that is also rejected when `stop` is aborted. */
async function until<T>(
  stop: AbortSignal,
  run: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  stop.throwIfAborted();
  let aborted: (() => void) | undefined;
  try {
    return await new Promise<T>((resolve, reject) => {
      aborted = () => reject(stop.reason as Error);
      stop.addEventListener("abort", aborted, { once: true });
      run(resolve, reject);
    });
  } finally {
    if (aborted !== undefined) stop.removeEventListener("abort", aborted);
  }
}

async function sleep(ms: number, stop: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await until<void>(stop, (resolve) => {
      timer = setTimeout(resolve, ms);
    });
  } finally {
    clearTimeout(timer);
  }
}
