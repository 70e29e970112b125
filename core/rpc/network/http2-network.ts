import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import {
  type AgentTls,
  type Logger,
  type Metrics,
  RpcError,
  type RpcHandler,
  type RpcMethodOptions,
  type RpcOptions,
  type RpcStreamHandler,
  type ServerNetwork,
} from "@drover/plugin-sdk";
import { Budget } from "./budget.js";
import { Incoming } from "./incoming.js";
import { Listener } from "./listener.js";
import { Methods } from "./methods.js";
import { Outgoing } from "./outgoing.js";
import { Peer } from "./peer.js";
import { PeerSession, type SessionTimes } from "./peer-session.js";
import { dialTls } from "./secure.js";
import { type Dialled, dialTcp } from "./transport.js";
import { LIMITS } from "./wire.js";

export interface NetworkOptions {
  /** Where to listen; port 0: any free one. */
  readonly host: string;
  readonly port: number;
  readonly region: string;
  /** `limits.rpc_max_conns_per_client`; 0: any number. */
  readonly maxConnections: number;
  readonly tls: AgentTls;
  /** `limits.rpc_handshake_timeout`, milliseconds; of both ends. */
  readonly handshakeTimeout: number;
  readonly log: Logger;
  readonly metrics: Metrics;
  onFatal(error: Error): void;
  /** For tests. */
  readonly times?: SessionTimes;
  /** For tests: bytes that may be under way. */
  readonly inFlight?: number;
}

const TIMES: SessionTimes = { ping: 5_000, idle: 120_000 };
/** What is under way gets this long at a stop, milliseconds. */
const STOP_GRACE = 250;
/** Addresses whose back-off is remembered. */
const MAX_PEERS = 4096;

/** `ServerNetwork` over HTTP/2, on one port. */
export class Http2Network implements ServerNetwork {
  readonly #methods: Methods;
  readonly #listener: Listener;
  readonly #outgoing: Outgoing;
  readonly #budget: Budget;
  /** By region and address. */
  readonly #peers = new Map<string, Peer>();
  /** Every session that is open, those that only finish what is under way among them. */
  readonly #sessions = new Set<PeerSession>();
  #stopped = false;
  readonly #forget: (() => void)[];

  constructor(private readonly options: NetworkOptions) {
    const { region, log, metrics } = options;
    this.#budget = new Budget(options.inFlight ?? LIMITS.inFlight);
    this.#methods = new Methods(region);
    const incoming = new Incoming({ methods: this.#methods, budget: this.#budget, log, metrics });
    this.#listener = new Listener({
      ...options,
      tls: () => options.tls.current(),
      onStream: (stream, headers, connection) => incoming.accept(stream, headers, connection),
    });
    this.#outgoing = new Outgoing({
      region,
      budget: this.#budget,
      session: (address, of) => this.#peer(address, of).session(),
    });
    const forgetGauges = metrics.onCollect(() => {
      metrics.gauge("nomad.rpc.sessions", this.#listener.sessions, { direction: "in" });
      metrics.gauge("nomad.rpc.sessions", this.outgoingSessions, { direction: "out" });
      metrics.gauge("nomad.rpc.bytes_in_flight", this.#budget.held);
    });
    this.#forget = [forgetGauges, options.tls.onChange(() => this.#renewTls())];
  }

  /** Sessions to other servers that are open. */
  get outgoingSessions(): number {
    return this.#sessions.size;
  }

  /** Bytes of bodies and answers that are held now. */
  get bytesInFlight(): number {
    return this.#budget.held;
  }

  /** Where it listens; undefined while it does not. */
  address(): AddressInfo | undefined {
    return this.#listener.address();
  }

  start(): Promise<void> {
    return this.#listener.start();
  }

  /** What is under way here is interrupted. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const forget of this.#forget) forget();
    for (const session of this.#sessions) session.destroy();
    this.#peers.clear();
    await this.#listener.stop(STOP_GRACE);
  }

  call(address: string, method: string, body: Uint8Array, options: RpcOptions): Promise<Uint8Array> {
    return this.#outgoing.call(address, method, body, options);
  }

  stream(address: string, method: string, body: Uint8Array, options: RpcOptions): Promise<Duplex> {
    return this.#outgoing.stream(address, method, body, options);
  }

  handle(method: string, handler: RpcHandler, options?: RpcMethodOptions): () => void {
    return this.#methods.add(method, { kind: "call", handler }, options);
  }

  handleStream(method: string, handler: RpcStreamHandler, options?: RpcMethodOptions): () => void {
    return this.#methods.add(method, { kind: "stream", handler }, options);
  }

  #peer(address: string, region: string): Peer {
    const key = `${region} ${address}`;
    const known = this.#peers.get(key);
    if (known !== undefined) return known;
    const peer = new Peer(() => this.#open(address, region));
    this.#peers.set(key, peer);
    if (this.#peers.size > MAX_PEERS) {
      for (const [old, { current }] of this.#peers) {
        if (current !== undefined || old === key) continue;
        this.#peers.delete(old);
        break;
      }
    }
    return peer;
  }

  /** New connections use the new certificates; what is under way on old ones goes on to its end. */
  #renewTls(): void {
    this.#listener.renewTls();
    for (const peer of this.#peers.values()) peer.retire();
  }

  async #open(address: string, region: string): Promise<PeerSession> {
    const { handshakeTimeout, times = TIMES, log } = this.options;
    const dialled = await this.#dial(address, region);
    const session = await PeerSession.open(address, dialled, times, handshakeTimeout, (closed) => {
      this.#sessions.delete(closed);
      log.debug({ peer: address }, "session to a server ended");
    });
    this.#sessions.add(session);
    if (this.#stopped) {
      session.destroy();
      throw new RpcError("ERR_RPC_UNREACHABLE", "this server's network has stopped");
    }
    log.debug({ peer: address }, "session to a server opened");
    return session;
  }

  async #dial(address: string, region: string): Promise<Dialled> {
    const timeout = this.options.handshakeTimeout;
    const tls = this.options.tls.current();
    if (!tls.config.rpc) return { socket: await dialTcp(address, timeout) };
    try {
      return await dialTls(address, { tls, timeout, region });
    } catch (error) {
      // While a cluster moves to TLS, those that have not yet are reached without.
      if (!tls.config.rpc_upgrade_mode) throw error;
      this.options.log.warn(
        { peer: address },
        "no TLS there; connecting without, as rpc_upgrade_mode allows",
      );
      return { socket: await dialTcp(address, timeout) };
    }
  }
}
