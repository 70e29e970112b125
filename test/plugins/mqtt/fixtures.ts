/** A server and agents of the MQTT plugin without the rest of Drover. */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatJoinToken, type Logger, type Metrics } from "@drover/plugin-sdk";
import { eventually, MemoryAgentClient, MemoryAgentServer } from "@drover/plugin-sdk/testing";
import { MqttAgentLink } from "../../../plugins/mqtt/agent-link.js";
import type { Carrier, CarrierEvents } from "../../../plugins/mqtt/carrier.js";
import { ClusterKeys } from "../../../plugins/mqtt/cluster-keys.js";
import { type BrokerConfig, MqttConfig } from "../../../plugins/mqtt/config.js";
import { EmbeddedBroker } from "../../../plugins/mqtt/embedded-broker.js";
import type { KeyPair } from "../../../plugins/mqtt/envelope.js";
import { ExternalBroker } from "../../../plugins/mqtt/external-broker.js";
import { Gateway } from "../../../plugins/mqtt/gateway.js";
import { createKeyPair } from "../../../plugins/mqtt/keys.js";
import { Refusals } from "../../../plugins/mqtt/refusals.js";
import { Topics } from "../../../plugins/mqtt/topics.js";

export const topics: Topics = new Topics("global");

export interface LogLine {
  readonly level: string;
  readonly fields: Record<string, unknown>;
  readonly message: string;
}

/** Keeps its lines. */
export function recordingLog(lines: LogLine[] = []): Logger & { readonly lines: LogLine[] } {
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields: fields as Record<string, unknown>, message });
  };
  return {
    lines,
    trace: at("trace"),
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => recordingLog(lines),
  };
}

export const noMetrics: Metrics = {
  increment() {},
  gauge() {},
  sample() {},
  onCollect: () => () => undefined,
  toJSON: () => ({ Counters: [], Gauges: [], Points: [], Samples: [], Timestamp: "" }),
  toPrometheus: async () => "",
};

export function brokerConfig(broker: object = {}): BrokerConfig {
  return MqttConfig.parse({ broker }).broker;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A broker between gateway and agents that remembers everything and sends what it likes, as a hostile one would. */
export class HostileCarrier implements Carrier {
  readonly up: { readonly topic: string; readonly payload: Buffer }[] = [];
  readonly down: { readonly nodeId: string; readonly payload: Buffer }[] = [];
  private events: CarrierEvents | undefined;

  constructor(private readonly inner: Carrier) {}

  serve(events: CarrierEvents): Promise<void> {
    this.events = events;
    return this.inner.serve({
      message: (topic, payload, retained) => {
        this.up.push({ topic, payload: Buffer.from(payload) });
        events.message(topic, payload, retained);
      },
      disconnected: (nodeId) => events.disconnected(nodeId),
    });
  }

  get shared(): boolean {
    return this.inner.shared;
  }

  unserve(): Promise<void> {
    return this.inner.unserve();
  }

  publish(nodeId: string, payload: Buffer): void {
    this.down.push({ nodeId, payload: Buffer.from(payload) });
    this.inner.publish(nodeId, payload);
  }

  /** To the server, as if an agent had published it. */
  inject(topic: string, payload: Buffer, retained = false): void {
    this.events?.message(topic, payload, retained);
  }

  /** To an agent, as if the server had published it. */
  injectDown(nodeId: string, payload: Buffer): void {
    this.inner.publish(nodeId, payload);
  }

  urls(): readonly string[] {
    return this.inner.urls();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

export interface ServerOptions {
  readonly port?: number;
  readonly broker?: object;
  readonly clusterKey?: KeyPair;
  readonly handler?: MemoryAgentServer;
  readonly log?: ReturnType<typeof recordingLog>;
}

/** A server side over the embedded broker, or over an external one where `broker.url` is set. */
export class TestServer {
  private constructor(
    readonly gateway: Gateway,
    readonly carrier: HostileCarrier,
    readonly handler: MemoryAgentServer,
    readonly clusterKey: KeyPair,
    readonly log: ReturnType<typeof recordingLog>,
  ) {}

  static async start(options: ServerOptions = {}): Promise<TestServer> {
    const server = await TestServer.create(options);
    await server.gateway.serve(server.handler);
    return server;
  }

  static async create(options: ServerOptions = {}): Promise<TestServer> {
    const log = options.log ?? recordingLog();
    const config = brokerConfig(options.broker);
    const refusals = new Refusals(log, noMetrics, "test");
    const clusterKey = options.clusterKey ?? createKeyPair();
    const shared = { config, topics, log };
    const host = "127.0.0.1";
    const embedded = { ...shared, host, port: options.port ?? 0, advertiseHost: host, refusals };
    const broker =
      config.url === undefined
        ? new EmbeddedBroker(embedded)
        : new ExternalBroker({ ...shared, url: config.url });
    if (broker instanceof EmbeddedBroker) await broker.listen();
    const carrier = new HostileCarrier(broker);
    const clusterKeys = ClusterKeys.inMemory(log, clusterKey);
    const gateway = new Gateway({ carrier, topics, clusterKeys, log, metrics: noMetrics, refusals });
    return new TestServer(gateway, carrier, options.handler ?? new MemoryAgentServer(), clusterKey, log);
  }

  get url(): string {
    return this.gateway.brokerUrls()[0]!;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  refused(reason: string): number {
    return this.gateway.stats().refused[reason] ?? 0;
  }

  joinToken(): string {
    return formatJoinToken({
      clusterKey: this.gateway.clusterKeyPair()!.publicKey,
      secret: this.handler.issue(),
    });
  }

  close(): Promise<void> {
    return this.gateway.close();
  }
}

export interface AgentOptions {
  readonly url: string | (() => string);
  readonly token?: string | (() => string);
  readonly nodeId?: string;
  readonly stateDir?: string;
  readonly handler?: MemoryAgentClient;
  readonly broker?: object;
}

export interface TestAgent {
  readonly link: MqttAgentLink;
  readonly handler: MemoryAgentClient;
  readonly nodeId: string;
  readonly stateDir: string;
  readonly log: ReturnType<typeof recordingLog>;
}

/** Makes things and takes all of them away at the end. */
export class Fixtures {
  private readonly undo: (() => Promise<void>)[] = [];

  async folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), "drover-mqtt-"));
    this.undo.push(() => rm(path, { recursive: true, force: true }));
    return path;
  }

  async server(options?: ServerOptions): Promise<TestServer> {
    const server = await TestServer.start(options);
    this.undo.push(() => server.close());
    return server;
  }

  createLink(options: Pick<AgentOptions, "url" | "token" | "broker">, log = recordingLog()): MqttAgentLink {
    const { url, token } = options;
    return new MqttAgentLink({
      config: brokerConfig(options.broker),
      urls: () => [typeof url === "string" ? url : url()],
      joinToken: {
        available: token !== undefined,
        read: async () => (typeof token === "function" ? token() : token!),
      },
      software: "test/1",
      log,
      metrics: noMetrics,
    });
  }

  async agent(options: AgentOptions): Promise<TestAgent> {
    const log = recordingLog();
    const handler = options.handler ?? new MemoryAgentClient();
    const nodeId = options.nodeId ?? randomUUID();
    const stateDir = options.stateDir ?? (await this.folder());
    const link = this.createLink(options, log);
    this.undo.push(() => link.close());
    await link.open({ nodeId, stateDir, region: "global", handler });
    return { link, handler, nodeId, stateDir, log };
  }

  /** An agent whose link is up. */
  async connected(server: TestServer, options: Partial<AgentOptions> = {}): Promise<TestAgent> {
    const agent = await this.agent({ url: server.url, token: server.joinToken(), ...options });
    await eventually("the link", () => agent.handler.connected && server.gateway.isConnected(agent.nodeId));
    return agent;
  }

  defer(undo: () => Promise<void> | void): void {
    this.undo.push(async () => undo());
  }

  async close(): Promise<void> {
    for (const undo of this.undo.splice(0).reverse()) await undo();
  }
}
