/** A server's connection to a broker that somebody else runs (mosquitto, EMQX). */
import { randomBytes } from "node:crypto";
import { type Logger, RemoteError } from "@drover/plugin-sdk";
import type { MqttClient } from "mqtt";
import type { Carrier, CarrierEvents } from "./carrier.js";
import type { BrokerConfig } from "./config.js";
import { brokerLogin, endClient, openClient } from "./mqtt-client.js";
import type { Topics } from "./topics.js";

const RECONNECT_MS = 500;

export interface ExternalBrokerOptions {
  readonly url: string;
  readonly config: BrokerConfig;
  readonly topics: Topics;
  readonly log: Logger;
}

export class ExternalBroker implements Carrier {
  readonly shared = true;
  private client: MqttClient | undefined;

  constructor(private readonly options: ExternalBrokerOptions) {}

  /** Connects in the background: a broker that is away for a while must not keep a server from starting. */
  async serve(events: CarrierEvents): Promise<void> {
    const { config, log, topics, url } = this.options;
    const client = openClient(url, await brokerLogin(config), {
      clientId: `drover-server-${randomBytes(8).toString("hex")}`,
      reconnectPeriod: RECONNECT_MS,
      reconnectOnConnackError: true,
    });
    this.client = client;
    let lastError = "";
    client.on("connect", () => {
      lastError = "";
      client.subscribe(topics.serverFilters(), { qos: 1 }, (error, granted) => {
        const denied = granted?.filter((grant) => grant.qos === 128).map((grant) => grant.topic) ?? [];
        if (error === null && denied.length === 0) {
          log.info({ url }, "connected to the MQTT broker");
          return;
        }
        const why = denied.length > 0 ? `not allowed: ${denied.join(", ")}` : error?.message;
        log.error(
          { url, error: why },
          `the MQTT broker ${url} refused a subscription (${why}): check its access list`,
        );
      });
    });
    client.on("message", (topic, payload, packet) => {
      // A client that is being ended may still deliver.
      if (this.client === client) events.message(topic, payload, packet.retain);
    });
    client.on("close", () => {
      if (!client.disconnecting && lastError === "")
        log.warn({ url }, `lost the MQTT broker ${url}; connecting again`);
    });
    client.on("error", (error) => {
      const message = error.message || (error as NodeJS.ErrnoException).code || "unknown error";
      if (message === lastError) return;
      lastError = message;
      log.error({ url, error: message }, `can't connect to the MQTT broker ${url}: ${message}; trying on`);
    });
  }

  publish(nodeId: string, payload: Buffer): void {
    const { client } = this;
    if (client === undefined || !client.connected) {
      throw new RemoteError("unreachable", `no connection to the MQTT broker ${this.options.url}`);
    }
    client.publish(this.options.topics.down(nodeId), payload, { qos: 1 }, (error) => {
      if (error) this.options.log.debug({ node: nodeId, error: error.message }, "MQTT publish failed");
    });
  }

  urls(): readonly string[] {
    return [this.options.url];
  }

  async unserve(): Promise<void> {
    const { client } = this;
    this.client = undefined;
    if (client !== undefined) await endClient(client);
  }

  close(): Promise<void> {
    return this.unserve();
  }
}
