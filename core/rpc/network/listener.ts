/** The port of the servers: accepts connections, tells ours from others, bounds them. */

import type { IncomingHttpHeaders } from "node:http2";
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger, Metrics, TlsState } from "@drover/plugin-sdk";
import type { Connection } from "./incoming.js";
import { Repeated } from "./repeated.js";
import { type AcceptedTls, TlsAcceptor } from "./secure.js";
import { LIMITS, SESSION_MEMORY, SETTINGS } from "./wire.js";

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly region: string;
  /** Settings and certificates for connections that begin now. */
  tls(): TlsState;
  /** Connections of each client address; 0: any number. */
  readonly maxConnections: number;
  /** Milliseconds in which a new connection must show what it is. */
  readonly handshakeTimeout: number;
  readonly log: Logger;
  readonly metrics: Metrics;
  onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection): void;
  /** The listener died after it had started. */
  onFatal(error: Error): void;
}

/** How an HTTP/2 connection begins (RFC 9113, section 3.4). */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** The system looks whether a silent peer is still there: a machine that was switched off says no farewell. */
const SOCKETS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000 };
/** Bytes of a peer's reason that are logged. */
const MAX_REASON = 1024;
/** Type of a TLS record with a handshake (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 0x16;

export class Listener {
  readonly #server: Server;
  readonly #sockets = new Map<Socket, string>();
  readonly #perAddress = new Map<string, number>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #repeated = new Repeated();
  #acceptor: TlsAcceptor | undefined;
  #stopping = false;

  constructor(private readonly options: ListenerOptions) {
    this.#server = createServer(SOCKETS, (socket) => this.#accept(socket));
    this.renewTls();
  }

  /** Connections from now on get the present certificates; sessions over older ones end when what is under way is over. */
  renewTls(): void {
    const tls = this.options.tls();
    this.#acceptor =
      tls.config.rpc && tls.material !== undefined
        ? new TlsAcceptor(tls, {
            region: this.options.region,
            handshakeTimeout: this.options.handshakeTimeout,
            onSecure: (accepted) => this.#secured(accepted),
            onFailure: (socket, error) => this.#tlsFailed(addressOf(socket), error.message),
          })
        : undefined;
    for (const session of this.#sessions) session.close();
  }

  /** Sessions that are open. */
  get sessions(): number {
    return this.#sessions.size;
  }

  address(): AddressInfo | undefined {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address : undefined;
  }

  /** Rejects with the address and the setting to change when the port can't be had. */
  async start(): Promise<void> {
    const { host, port, onFatal } = this.options;
    await new Promise<void>((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException) => reject(listenError(error, host, port));
      this.#server.once("error", failed);
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off("error", failed);
        resolve();
      });
    });
    this.#server.on("error", (error) => {
      if (!this.#stopping)
        onFatal(new Error(`the servers' listener on ${host}:${port} failed: ${error.message}`));
    });
  }

  /** Takes no further connections and calls, gives what is under way `grace` milliseconds, then cuts it. */
  async stop(grace: number): Promise<void> {
    this.#stopping = true;
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.close();
    for (const [socket] of this.#sockets) if (socket.listenerCount("readable") > 0) socket.destroy();
    const cut = setTimeout(() => {
      for (const socket of this.#sockets.keys()) socket.destroy();
    }, grace);
    await closed;
    clearTimeout(cut);
  }

  #accept(socket: Socket): void {
    const { remoteAddress = "" } = socket;
    const peer = addressOf(socket);
    socket.on("error", (error) => this.#dropped(peer, error.message));
    if (!this.#count(socket, remoteAddress)) {
      this.#warn(
        remoteAddress,
        { peer, limit: this.options.maxConnections },
        "connection refused: its address has too many open; the limit is limits.rpc_max_conns_per_client",
      );
      socket.destroy();
      return;
    }
    const late = setTimeout(() => {
      this.#dropped(peer, "it said nothing");
      socket.destroy();
    }, this.options.handshakeTimeout);
    socket.once("close", () => clearTimeout(late));
    const look = () => {
      const bytes = socket.read() as Buffer | null;
      if (bytes === null) return;
      socket.unshift(bytes);
      const beginsLikeOurs = PREFACE.subarray(0, bytes.length).equals(bytes.subarray(0, PREFACE.length));
      // Somebody may send a byte at a time.
      if (beginsLikeOurs && bytes.length < PREFACE.length) return;
      socket.off("readable", look);
      clearTimeout(late);
      if (beginsLikeOurs) this.#plain(socket, peer);
      else if (bytes[0] === TLS_HANDSHAKE) this.#beginTls(socket, peer);
      else {
        this.#dropped(peer, "it is none of a server of Drover");
        socket.destroy();
      }
    };
    socket.on("readable", look);
  }

  /** Served where plain TCP is allowed; else told that it is not. */
  #plain(socket: Socket, peer: string): void {
    const refused = this.#acceptor !== undefined && !this.options.tls().config.rpc_upgrade_mode;
    this.#serve(socket, {
      caller: { address: peer },
      openStreams: 0,
      ...(refused
        ? { refusal: "this server takes TLS only (tls.rpc), and the connection came without" }
        : {}),
    });
  }

  #beginTls(socket: Socket, peer: string): void {
    if (this.#acceptor !== undefined) {
      this.#acceptor.accept(socket);
      return;
    }
    this.#warn(
      socket.remoteAddress ?? "",
      { peer },
      "connection refused: it speaks TLS, and tls.rpc is off here",
    );
    socket.destroy();
  }

  #secured({ socket, identity, refusal }: AcceptedTls): void {
    const peer = addressOf(socket);
    socket.on("error", (error) => this.#dropped(peer, error.message));
    if (refusal !== undefined)
      this.#warn(socket.remoteAddress ?? "", { peer, reason: refusal }, "connection refused");
    this.#serve(socket, {
      caller: { address: peer, ...(identity === undefined ? {} : { identity }) },
      openStreams: 0,
      ...(refusal === undefined ? {} : { refusal }),
    });
  }

  #tlsFailed(peer: string, reason: string): void {
    this.#warn(peer.replace(/:\d+$/, ""), { peer, reason }, "connection refused: the TLS handshake failed");
  }

  #serve(socket: Duplex, connection: Connection): void {
    const { address } = connection.caller;
    const session = performServerHandshake(socket, { settings: SETTINGS, maxSessionMemory: SESSION_MEMORY });
    this.#sessions.add(session);
    this.options.metrics.increment("nomad.rpc.accept_conn");
    session.setLocalWindowSize(LIMITS.sessionWindow);
    session.on("error", (error) => this.#dropped(address, error.message));
    session.once("close", () => this.#sessions.delete(session));
    session.on("goaway", (code, _last, text) => {
      // A peer that refuses us says why in its last frame.
      if (code !== constants.NGHTTP2_INADEQUATE_SECURITY || text === undefined) return;
      const reason = Buffer.from(text).toString("utf8", 0, MAX_REASON);
      this.#warn(address.replace(/:\d+$/, ""), { peer: address, reason }, "a peer refuses this server");
    });
    if (connection.refusal !== undefined) {
      // Long enough to be told.
      const cut = setTimeout(() => session.destroy(), this.options.handshakeTimeout);
      session.once("close", () => clearTimeout(cut));
    }
    session.on("stream", (stream, headers) => this.options.onStream(stream, headers, connection));
  }

  #count(socket: Socket, address: string): boolean {
    const open = this.#perAddress.get(address) ?? 0;
    const { maxConnections } = this.options;
    if (maxConnections > 0 && open >= maxConnections) return false;
    this.#perAddress.set(address, open + 1);
    this.#sockets.set(socket, address);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left === 0) this.#perAddress.delete(address);
      else this.#perAddress.set(address, left);
    });
    return true;
  }

  #dropped(peer: string, reason: string): void {
    this.options.log.debug({ peer, reason }, "connection dropped");
  }

  #warn(address: string, fields: object, message: string): void {
    if (this.#repeated.isDue(`${address} ${message}`)) this.options.log.warn(fields, message);
  }
}

function addressOf({ remoteAddress = "", remotePort = 0 }: Socket): string {
  return `${remoteAddress.includes(":") ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const at = `the servers' network can't listen on ${host}:${port}`;
  switch (error.code) {
    case "EADDRINUSE":
      return new Error(
        `${at}: the port is in use. Stop what uses it (another agent?), or set another ports.rpc in the agent's configuration.`,
      );
    case "EADDRNOTAVAIL":
      return new Error(
        `${at}: this machine does not have that address. Set addresses.rpc or bind_addr to one it has.`,
      );
    case "EACCES":
      return new Error(`${at}: not permitted. Ports below 1024 need privileges; set another ports.rpc.`);
    default:
      return new Error(`${at}: ${error.message}`, { cause: error });
  }
}
