/** Connections to a broker as a client, which agents and (to an external broker) servers make. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { type IClientOptions, MqttClient } from "mqtt";
import { type BrokerConfig, DEFAULT_PORT, DEFAULT_TLS_PORT, readPassword, readTls } from "./config.js";
import { PacketGuard } from "./packet-guard.js";

const CLOSE_TIMEOUT_MS = 1_000;

/** Who this process is to the broker, with its files read. */
export interface BrokerLogin {
  readonly username?: string;
  readonly password?: string;
  readonly tls: Awaited<ReturnType<typeof readTls>>;
  /** Seconds. */
  readonly keepalive: number;
  /** Largest packet that is taken from the broker, bytes. */
  readonly maxPacket: number;
}

/** Rejects naming the configuration key and the file that can't be read. */
export async function brokerLogin(config: BrokerConfig): Promise<BrokerLogin> {
  const password = await readPassword(config);
  return {
    ...(config.username === undefined ? {} : { username: config.username }),
    ...(password === undefined ? {} : { password }),
    tls: await readTls(config),
    keepalive: config.keepalive,
    maxPacket: config.max_payload,
  };
}

/** Connects with MQTT 3.1.1 and a clean session; the broker is not trusted with this process's memory. */
export function openClient(url: string, login: BrokerLogin, options: IClientOptions): MqttClient {
  const target = new URL(url);
  const secure = target.protocol === "mqtts:";
  const host = target.hostname.replace(/^\[|\]$/g, "");
  const port = target.port === "" ? (secure ? DEFAULT_TLS_PORT : DEFAULT_PORT) : Number(target.port);
  const build = (): Socket => {
    const socket = secure
      ? connectTls({ host, port, servername: host, ...login.tls })
      : connectTcp({ host, port });
    socket.setNoDelay(true);
    const guard = new PacketGuard("broker", login.maxPacket);
    socket.on("data", (chunk: Buffer) => {
      const problem = guard.push(chunk);
      if (problem !== undefined && !socket.destroyed) socket.destroy(new Error(`broker sent a ${problem}`));
    });
    return socket;
  };
  return new MqttClient(build, {
    protocolVersion: 4,
    clean: true,
    keepalive: login.keepalive,
    connectTimeout: 10_000,
    queueQoSZero: false,
    resubscribe: false,
    reconnectPeriod: 0,
    // MQTT 3.1.1 forbids a password without a user name.
    ...(login.password === undefined ? {} : { password: login.password, username: options.clientId ?? "" }),
    ...(login.username === undefined ? {} : { username: login.username }),
    ...options,
  });
}

/** Disconnects in order, and by force when the broker doesn't take part. */
export async function endClient(client: MqttClient): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => client.end(true, () => resolve()), CLOSE_TIMEOUT_MS);
    client.end(!client.connected, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
