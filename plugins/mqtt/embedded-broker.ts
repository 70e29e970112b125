/** The MQTT broker inside a server's process: aedes behind limits and an access list. */
import { createHash, timingSafeEqual } from "node:crypto";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { type Logger, RemoteError } from "@drover/plugin-sdk";
import { Aedes, type Client } from "aedes";
import type { Carrier, CarrierEvents } from "./carrier.js";
import { type BrokerConfig, formatAddress, readPassword, readTls } from "./config.js";
import { PacketGuard } from "./packet-guard.js";
import type { Refusals } from "./refusals.js";
import { TokenBucket } from "./token-bucket.js";
import { isNodeId, type Topics } from "./topics.js";

const MAX_WILL_BYTES = 1_024;
const CONNECT_TIMEOUT_MS = 10_000;
/** A client that takes nothing for so long is disconnected, because what it is sent is kept in memory. */
const DRAIN_TIMEOUT_MS = 15_000;

export interface EmbeddedBrokerOptions {
  readonly host: string;
  readonly port: number;
  /** Host that agents elsewhere use, where `host` is a wildcard. */
  readonly advertiseHost: string;
  readonly config: BrokerConfig;
  readonly topics: Topics;
  readonly log: Logger;
  readonly refusals: Refusals;
}

export class EmbeddedBroker implements Carrier {
  readonly shared = false;
  private readonly broker: Aedes;
  private readonly sockets = new Set<Socket>();
  private readonly clients = new Map<string, Client>();
  private readonly buckets = new WeakMap<Client, TokenBucket>();
  /** CONNECTs that came before the server was ready to answer. */
  private waiting: (() => void)[] | undefined = [];
  private listener: Server | undefined;
  private events: CarrierEvents | undefined;
  private subscribed = false;
  private passwordHash: Buffer | undefined;
  private scheme = "mqtt";
  private port = 0;

  constructor(private readonly options: EmbeddedBrokerOptions) {
    this.broker = new Aedes({
      // Unlimited: what is bounded is each client's socket, by the drain timeout; a shared bound would let one frozen client
      // hold up all the others.
      concurrency: 0,
      connectTimeout: CONNECT_TIMEOUT_MS,
      drainTimeout: DRAIN_TIMEOUT_MS,
      keepaliveLimit: 600,
      maxTopicLevels: 8,
      preConnect: (_client, packet, done) => {
        const refused = this.refuseConnect(packet);
        if (refused !== undefined) {
          done(new Error(refused), false);
          return;
        }
        // Sessions that outlive a connection would keep queues in memory for whoever asks for them.
        packet.clean = true;
        if (this.waiting === undefined) done(null, true);
        else this.waiting.push(() => done(null, true));
      },
      authenticate: (client, _username, password, done) => {
        const shown = createHash("sha256")
          .update(password ?? "")
          .digest();
        if (this.passwordHash === undefined || timingSafeEqual(shown, this.passwordHash)) {
          done(null, true);
          return;
        }
        options.refusals.refuse("bad_password", client.id, "wrong or missing broker password");
        done(Object.assign(new Error("bad user name or password"), { returnCode: 4 }), false);
      },
      authorizePublish: (client, packet, done) => this.authorizePublish(client, packet, done),
      authorizeSubscribe: (client, subscription, done) => {
        if (subscription.topic === options.topics.down(client.id)) {
          done(null, { ...subscription, qos: subscription.qos === 2 ? 1 : subscription.qos });
          return;
        }
        options.refusals.refuse("denied", client.id, "it may subscribe to its own down topic only");
        done(null, null);
      },
    });
    this.broker.on("client", (client) => this.clients.set(client.id, client));
    this.broker.on("clientDisconnect", (client) => {
      if (this.clients.get(client.id) === client) this.clients.delete(client.id);
      this.events?.disconnected(client.id);
    });
    this.broker.on("clientError", (client, error) => this.clientFailed(client, error));
    this.broker.on("connectionError", (client, error) => this.clientFailed(client, error));
    // aedes declares no "error" event, but emits one when its persistence fails.
    (this.broker as NodeJS.EventEmitter).on("error", (error: Error) => {
      options.log.error({ error: error.message }, `MQTT broker: ${error.message}`);
    });
  }

  /** Binds the port. Rejects naming the address and what to set when it can't. */
  async listen(): Promise<void> {
    const { config, host, port } = this.options;
    const password = await readPassword(config);
    if (password !== undefined) this.passwordHash = createHash("sha256").update(password).digest();
    const tls = await readTls(config);
    if (tls !== undefined && (tls.cert === undefined || tls.key === undefined)) {
      throw new Error('plugin "mqtt": broker.tls of an embedded broker needs cert_file and key_file');
    }
    if (tls !== undefined) this.scheme = "mqtts";
    await this.broker.listen();
    const accept = (socket: Socket): void => this.accept(socket);
    const listener =
      tls === undefined
        ? createServer({ noDelay: true }, accept)
        : createTlsServer(
            { ...tls, noDelay: true, requestCert: tls.ca !== undefined, minVersion: "TLSv1.2" },
            accept,
          );
    listener.maxConnections = config.max_connections;
    listener.on("drop", (dropped) => {
      const from = dropped?.remoteAddress ?? "unknown";
      this.options.refusals.refuse(
        "too_many_connections",
        from,
        `max_connections is ${config.max_connections}`,
      );
    });
    listener.on("tlsClientError", (error: Error, socket: Socket) => {
      this.options.refusals.refuse("tls", socket.remoteAddress ?? "unknown", error.message);
    });
    this.listener = listener;
    try {
      await new Promise<void>((resolve, reject) => {
        listener.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
        listener.listen({ host, port, backlog: 4_096 }, resolve);
      });
    } catch (error) {
      await this.close();
      throw error;
    }
    listener.on("error", (error) => this.options.log.error({ error: error.message }, "MQTT listener failed"));
    this.port = (listener.address() as AddressInfo).port;
    this.options.log.info({ address: formatAddress(host, this.port) }, "MQTT broker listens");
  }

  async serve(events: CarrierEvents): Promise<void> {
    this.events = events;
    if (!this.subscribed) {
      this.subscribed = true;
      await new Promise<void>((resolve) => {
        this.broker.subscribe(
          `${this.options.topics.prefix}#`,
          (packet, done) => {
            this.events?.message(packet.topic, asBuffer(packet.payload), false);
            done();
          },
          resolve,
        );
      });
    }
    const waiting = this.waiting ?? [];
    this.waiting = undefined;
    for (const go of waiting) go();
  }

  async unserve(): Promise<void> {
    this.events = undefined;
    this.waiting ??= [];
    for (const client of this.clients.values()) client.close();
  }

  publish(nodeId: string, payload: Buffer): void {
    const client = this.clients.get(nodeId);
    if (client === undefined || client.closed) {
      throw new RemoteError("unreachable", `node ${nodeId} has no connection to this server's MQTT broker`);
    }
    // Straight to the one client that may read the topic, past the matching of topics.
    client.publish(
      { cmd: "publish", topic: this.options.topics.down(nodeId), payload, qos: 1, dup: false, retain: false },
      (error) => {
        if (error) this.options.log.debug({ node: nodeId, error: error.message }, "MQTT publish failed");
      },
    );
  }

  urls(): readonly string[] {
    const { host, advertiseHost } = this.options;
    const reachable = host === "0.0.0.0" || host === "::" ? advertiseHost : host;
    return [`${this.scheme}://${formatAddress(reachable, this.port)}`];
  }

  /** For the agent of this process. */
  localUrl(): string {
    const { host } = this.options;
    const local = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
    return `${this.scheme}://${formatAddress(local, this.port)}`;
  }

  async close(): Promise<void> {
    this.events = undefined;
    this.waiting = undefined;
    const { listener } = this;
    const closed = listener?.listening
      ? new Promise<void>((resolve) => listener.close(() => resolve()))
      : Promise.resolve();
    await new Promise<void>((resolve) => this.broker.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private accept(socket: Socket): void {
    this.sockets.add(socket);
    socket.once("close", () => this.sockets.delete(socket));
    this.broker.handle(socket);
    // After aedes: its "readable" listener keeps the stream from flowing, and each read shows its bytes here first.
    const guard = new PacketGuard("client", this.options.config.max_payload);
    socket.on("data", (chunk: Buffer) => {
      const problem = guard.push(chunk);
      if (problem !== undefined && !socket.destroyed) socket.destroy(new Error(problem));
    });
  }

  private refuseConnect(packet: {
    clientId: string;
    will?: { topic: string; payload: unknown } | undefined;
  }): string | undefined {
    const { clientId, will } = packet;
    if (!isNodeId(clientId)) return "the client id must be a node id";
    if (will === undefined || will === null) return undefined;
    if (will.topic !== this.options.topics.status(clientId))
      return "the last will must be on the node's status topic";
    return asBuffer(will.payload).length > MAX_WILL_BYTES
      ? `the last will is above ${MAX_WILL_BYTES} bytes`
      : undefined;
  }

  private authorizePublish(
    client: Client | null,
    packet: { topic: string; qos: number; retain: boolean },
    done: (error?: Error | null) => void,
  ): void {
    if (client === null) {
      done();
      return;
    }
    const parsed = this.options.topics.parse(packet.topic);
    if (parsed === undefined || parsed.nodeId !== client.id || parsed.kind === "down") {
      done(new Error("it may publish on its own topics only"));
      return;
    }
    if (packet.qos > 1) {
      done(new Error("QoS 2 is not served"));
      return;
    }
    // The gateway lives exactly as long as this broker, so nothing needs keeping, and nobody can fill the memory.
    packet.retain = false;
    const wait = this.bucket(client).take();
    if (wait === 0) {
      done();
      return;
    }
    this.options.refusals.count("slowed_down");
    setTimeout(done, wait).unref();
  }

  private bucket(client: Client): TokenBucket {
    let bucket = this.buckets.get(client);
    if (bucket === undefined) {
      const rate = this.options.config.max_messages_per_second;
      bucket = new TokenBucket(rate, 2 * rate);
      this.buckets.set(client, bucket);
    }
    return bucket;
  }

  private clientFailed(client: Client, error: Error): void {
    const address = (client.conn as Socket).remoteAddress ?? "unknown";
    const who = client.id ?? address;
    if ((error as NodeJS.ErrnoException).code !== undefined || error.message === "keep alive timeout") {
      this.options.log.debug({ from: who, error: error.message }, "MQTT connection ended");
      return;
    }
    this.options.refusals.refuse(
      client.id === null ? "not_mqtt" : "denied",
      who,
      `connection closed: ${error.message}`,
    );
  }
}

function asBuffer(payload: unknown): Buffer {
  return Buffer.isBuffer(payload) ? payload : Buffer.from(String(payload ?? ""));
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const address = formatAddress(host, port);
  const why =
    error.code === "EADDRINUSE"
      ? "the address is in use; stop what listens there"
      : error.code === "EACCES"
        ? "this user may not listen on that port"
        : error.message;
  return new Error(
    `plugin "mqtt": the broker can't listen on ${address}: ${why}, or set another one: ` +
      `plugin "mqtt" { config { broker { listen = "${formatAddress(host, port === 0 ? 0 : port + 1)}" } } }`,
  );
}
