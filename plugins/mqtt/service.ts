/** Puts the parts together for one agent: the servers' side, the client's side, or both. */
import { join } from "node:path";
import {
  AgentInfo,
  type AgentLink,
  type AgentTransport,
  JoinTokens,
  Logger,
  Metrics,
  type PluginContext,
} from "@drover/plugin-sdk";
import { MqttAgentLink } from "./agent-link.js";
import { ClusterKeys } from "./cluster-keys.js";
import { DEFAULT_PORT, DEFAULT_TLS_PORT, formatAddress, type MqttConfig, parseListen } from "./config.js";
import { disabledLink, disabledTransport } from "./disabled.js";
import { EmbeddedBroker } from "./embedded-broker.js";
import { ExternalBroker } from "./external-broker.js";
import { Gateway } from "./gateway.js";
import { joinTokenSource } from "./join-token.js";
import { Refusals } from "./refusals.js";
import { Topics } from "./topics.js";

export class MqttService {
  private gateway: Gateway | undefined;
  private broker: EmbeddedBroker | undefined;
  private mqttLink: MqttAgentLink | undefined;
  private started = false;

  /** Resolved by consumers, which start after this plugin. */
  get transport(): AgentTransport {
    this.mustBeStarted();
    return this.gateway ?? disabledTransport;
  }

  get link(): AgentLink {
    this.mustBeStarted();
    return this.mqttLink ?? disabledLink;
  }

  async start({ config, container, log }: PluginContext<MqttConfig>): Promise<void> {
    const agent = container.resolve<AgentInfo>(AgentInfo);
    const metrics = container.resolve<Metrics>(Metrics);
    if (agent.serverEnabled) await this.startServer(agent, config, log, metrics);
    if (agent.clientEnabled) {
      this.mqttLink = new MqttAgentLink({
        config: config.broker,
        urls: () => this.agentUrls(agent, config),
        joinToken: joinTokenSource({
          file: config.join_token_file,
          environment: process.env.DROVER_JOIN_TOKEN,
          // Not among `optional`: the server that makes tokens requires this plugin, so it is asked when it is needed.
          own: {
            present: container.isRegistered<JoinTokens>(JoinTokens, true),
            resolve: () => container.resolve<JoinTokens>(JoinTokens),
          },
        }),
        software: `drover/${agent.version}`,
        log,
        metrics,
      });
    }
    this.started = true;
  }

  async stop(): Promise<void> {
    await this.mqttLink?.close();
    if (this.gateway !== undefined) await this.gateway.close();
    else await this.broker?.close();
  }

  private async startServer(
    agent: AgentInfo,
    config: MqttConfig,
    log: Logger,
    metrics: Metrics,
  ): Promise<void> {
    const topics = new Topics(agent.region);
    const refusals = new Refusals(log, metrics, "drover.mqtt.refused");
    const clusterKeys = agent.devMode
      ? ClusterKeys.inMemory(log)
      : await ClusterKeys.open(join(agent.dataDir, "server", "cluster-key"), log);
    const { broker } = config;
    if (broker.embedded) {
      const listen =
        broker.listen === undefined
          ? agent.devMode
            ? { host: "127.0.0.1", port: 0 }
            : { host: agent.config.bind_addr, port: DEFAULT_PORT }
          : parseListen(broker.listen)!;
      this.broker = new EmbeddedBroker({
        ...listen,
        advertiseHost: hostOf(agent.advertise.rpc),
        config: broker,
        topics,
        log,
        refusals,
      });
      await this.broker.listen();
    }
    const carrier = this.broker ?? new ExternalBroker({ url: broker.url!, config: broker, topics, log });
    this.gateway = new Gateway({ carrier, topics, clusterKeys, log, metrics, refusals });
  }

  private agentUrls(agent: AgentInfo, { broker }: MqttConfig): readonly string[] {
    if (broker.url !== undefined) return [broker.url];
    if (broker.urls.length > 0 && this.broker === undefined) return broker.urls;
    if (this.broker !== undefined) return [this.broker.localUrl()];
    const scheme = broker.tls === undefined ? "mqtt" : "mqtts";
    const port = broker.tls === undefined ? DEFAULT_PORT : DEFAULT_TLS_PORT;
    return agent.config.client.servers.map((server) => `${scheme}://${formatAddress(hostOf(server), port)}`);
  }

  private mustBeStarted(): void {
    if (!this.started)
      throw new Error('plugin "mqtt" has not started: require its token to be started after it');
  }
}

/** The host of `host:port`, or of a host alone. */
function hostOf(address: string): string {
  return parseListen(address)?.host ?? address.replace(/^\[|\]$/g, "");
}
