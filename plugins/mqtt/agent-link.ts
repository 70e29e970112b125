/** The agent's side of the agent protocol: one link to the servers that keeps itself up until it is closed. */
import { join } from "node:path";
import {
  type AgentClientHandler,
  type AgentLink,
  type AgentLinkOptions,
  type AgentMethods,
  type AgentStreams,
  type Logger,
  type Metrics,
  RemoteError,
  type ServerMethods,
} from "@drover/plugin-sdk";
import { Backoff } from "./backoff.js";
import type { BrokerConfig } from "./config.js";
import type { Conversation } from "./conversation.js";
import type { JoinTokenSource } from "./join-token.js";
import { type AgentKeys, createKeyPair, loadAgentKeys, saveAgentKeys } from "./keys.js";
import { LinkConnection } from "./link-connection.js";
import { agentMethods, agentStreams, checkRequest } from "./methods.js";
import { brokerLogin } from "./mqtt-client.js";
import { Refusals } from "./refusals.js";
import { isNodeId, Topics } from "./topics.js";

const KEY_FILE = "agent-key.json";
const MAX_REQUESTS = 256;
/** A session that held so long makes the next attempt a prompt one. */
const STABLE_MS = 5_000;
/** Between looks whether the servers of this process are ready. */
const NOT_READY_MS = 50;

export interface MqttAgentLinkOptions {
  readonly config: BrokerConfig;
  /** Brokers to try, in turn; asked before every attempt. */
  urls(): readonly string[];
  readonly joinToken: JoinTokenSource;
  /** Name and version for the server's logs, for example `drover/0.1.0`. */
  readonly software: string;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class MqttAgentLink implements AgentLink {
  private readonly closing = new AbortController();
  private readonly refusals: Refusals;
  private conversation: Conversation | undefined;
  private running: Promise<void> | undefined;

  constructor(private readonly options: MqttAgentLinkOptions) {
    this.refusals = new Refusals(options.log, options.metrics, "drover.mqtt.link_refused");
  }

  async open(options: AgentLinkOptions): Promise<void> {
    if (this.running !== undefined) throw new Error("the agent link is open already");
    if (!isNodeId(options.nodeId)) throw new Error(`node id "${options.nodeId}" can't be an MQTT client id`);
    const topics = new Topics(options.region);
    const file = join(options.stateDir, KEY_FILE);
    const keys = await this.loadKeys(file, options.nodeId);
    const login = await brokerLogin(this.options.config);
    if (this.options.urls().length === 0) {
      throw new Error(
        'no MQTT broker is known: set broker { url = "mqtt://HOST:1883" } in plugin "mqtt" { config { … } }',
      );
    }
    this.running = this.run(options, topics, keys, login, file);
  }

  async call<M extends keyof ServerMethods>(
    method: M,
    request: ServerMethods[M]["request"],
    options?: { readonly timeout?: number; readonly signal?: AbortSignal },
  ): Promise<ServerMethods[M]["answer"]> {
    const { conversation } = this;
    if (conversation === undefined) throw new RemoteError("unreachable", "the link to the servers is down");
    return (await conversation.call(method, request, options)) as ServerMethods[M]["answer"];
  }

  /** Payloads from the broker that were refused, by reason. */
  refused(): Readonly<Record<string, number>> {
    return this.refusals.toJSON();
  }

  async close(): Promise<void> {
    this.closing.abort(new RemoteError("unreachable", "the link is closed"));
    await this.running;
  }

  /** The node's keys, made where there are none; throws when they are missing and nothing says how to enrol. */
  private async loadKeys(file: string, nodeId: string): Promise<AgentKeys> {
    const { joinToken, log } = this.options;
    const known = await loadAgentKeys(file, log);
    if (known !== undefined && known.nodeId !== nodeId) {
      throw new Error(
        `${file} belongs to node ${known.nodeId}, not ${nodeId}: remove it to enrol as ${nodeId}`,
      );
    }
    if (known?.clusterKey !== undefined) return known;
    if (!joinToken.available) {
      throw new Error(
        `node ${nodeId} is not enrolled and has no join token: make one with "drover node join-token" at a server and ` +
          'set join_token_file in plugin "mqtt" { config { … } } or DROVER_JOIN_TOKEN',
      );
    }
    if (known !== undefined) return known;
    // Saved before it is shown: when the answer to the enrolment is lost, the same key asks again.
    const pair = createKeyPair();
    const keys: AgentKeys = { nodeId, pair, clusterKey: undefined };
    await saveAgentKeys(file, keys);
    return keys;
  }

  private async run(
    { nodeId, handler }: AgentLinkOptions,
    topics: Topics,
    keys: AgentKeys,
    login: Awaited<ReturnType<typeof brokerLogin>>,
    file: string,
  ): Promise<void> {
    const log = this.options.log.child({ node: nodeId });
    const backoff = new Backoff();
    const { signal } = this.closing;
    let current = keys;
    let lastProblem = "";
    // Agents that know the same brokers don't all begin with the same one.
    const first = Math.floor(Math.random() * this.options.urls().length);
    for (let attempt = first; !signal.aborted; attempt++) {
      const urls = this.options.urls();
      const url = urls[attempt % urls.length]!;
      let upSince: number | undefined;
      const connection = new LinkConnection({
        url,
        login,
        topics,
        keys: current,
        software: this.options.software,
        log,
        refusals: this.refusals,
        joinToken: this.options.joinToken,
        save: async (enrolled) => {
          await saveAgentKeys(file, enrolled);
          current = enrolled;
        },
        conversation: conversationOf(handler),
        changed: (conversation) => {
          this.conversation = conversation;
          if (conversation !== undefined) {
            upSince ??= performance.now();
            lastProblem = "";
            log.info({ url }, "link to the servers is up");
          }
          handler.connection(conversation !== undefined);
        },
      });
      try {
        await connection.run(signal);
      } catch (error) {
        if (error instanceof RemoteError && error.code === "not_ready") {
          log.debug({ error: error.message }, "waiting for the servers of this process");
          await pause(NOT_READY_MS, signal);
          continue;
        }
        const problem = (error as Error).message;
        // The same problem again and again is one line.
        if (problem !== lastProblem)
          log.warn({ url, error: problem }, `no link to the servers at ${url}: ${problem}`);
        lastProblem = problem;
      }
      if (upSince !== undefined && performance.now() - upSince > STABLE_MS) backoff.reset();
      await pause(backoff.next(), signal);
    }
  }
}

function conversationOf(handler: AgentClientHandler) {
  return {
    maxConcurrent: MAX_REQUESTS,
    handle: async (method: string, body: object): Promise<unknown> => {
      const known = checkRequest(agentMethods, method, body);
      return handler.handle(known, body as AgentMethods[typeof known]["request"]);
    },
    stream: (method: string, body: object, signal: AbortSignal) => {
      const known = checkRequest(agentStreams, method, body);
      return handler.stream(known, body as AgentStreams[typeof known]["request"], signal);
    },
  };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
