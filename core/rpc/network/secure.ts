/** TLS between servers: the handshake at both ends, and what a certificate entitles to. */
import { constants, type X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { connect, createServer, type Server, type TLSSocket } from "node:tls";
import { type RpcCaller, RpcError, type TlsState } from "@drover/plugin-sdk";
import { identities, identityOf, subjectOf, whyUntrusted } from "../../tls/index.js";
import { type Dialled, dialTcp } from "./transport.js";

const ALPN = ["h2"];

export interface AcceptedTls {
  readonly socket: TLSSocket;
  readonly identity?: RpcCaller["identity"];
  /** Why nothing is to be served on it. */
  readonly refusal?: string;
}

export interface TlsAcceptorOptions {
  readonly region: string;
  /** Milliseconds. */
  readonly handshakeTimeout: number;
  onSecure(accepted: AcceptedTls): void;
  /** A handshake failed; the socket is closed then. */
  onFailure(socket: TLSSocket, error: Error): void;
}

/** The accepting end. A certificate that is not acceptable is no failed handshake: so its owner can be told why. */
export class TlsAcceptor {
  readonly #server: Server;

  constructor(tls: TlsState, options: TlsAcceptorOptions) {
    this.#server = createServer({
      ...tls.material!,
      ALPNProtocols: ALPN,
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: options.handshakeTimeout,
      // A resumed session would carry over what an earlier certificate was judged by.
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
    this.#server.on("secureConnection", (socket) =>
      options.onSecure({ socket, ...judgeCaller(socket, options.region) }),
    );
    this.#server.on("tlsClientError", (error, socket) => {
      options.onFailure(socket, error);
      socket.destroy();
    });
  }

  /** Begins the handshake on a connection whose first bytes were put back. */
  accept(socket: Socket): void {
    this.#server.emit("connection", socket);
  }
}

function judgeCaller(socket: TLSSocket, region: string): Pick<AcceptedTls, "identity" | "refusal"> {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined)
    return { refusal: "the caller shows no certificate, and tls.rpc asks for one" };
  if (!socket.authorized) {
    return { refusal: whyUntrusted(certificate, codeOf(socket.authorizationError)) };
  }
  const identity = identityOf(certificate, region);
  if (identity === undefined) {
    return {
      refusal:
        `the certificate of ${subjectOf(certificate)} names neither a server nor a client ` +
        `(server.${region}.drover, client.${region}.drover)`,
    };
  }
  if (identity.role === "client" && identity.region !== region) {
    return {
      refusal: `a client of region "${identity.region}" may not speak to servers of region "${region}"`,
    };
  }
  return { identity };
}

export interface DialTlsOptions {
  readonly tls: TlsState;
  readonly timeout: number;
  /** Region that the other end's certificate must name; `*`: any. */
  readonly region: string;
}

/** Connects with TLS. Rejects with an `RpcError`; what is wrong with the certificate is the result's `refusal`. */
export async function dialTls(address: string, { tls, timeout, region }: DialTlsOptions): Promise<Dialled> {
  const begin = performance.now();
  const plain = await dialTcp(address, timeout);
  const left = Math.max(1, timeout - (performance.now() - begin));
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...tls.material!,
      socket: plain,
      servername: `server.${region === "*" ? "any" : region}.drover`,
      ALPNProtocols: ALPN,
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    const fail = (why: string, cause?: Error) => {
      clearTimeout(timer);
      plain.destroy();
      reject(new RpcError("ERR_RPC_UNREACHABLE", `no connection to ${address}: ${why}`, { cause }));
    };
    const timer = setTimeout(() => fail(`no TLS within ${timeout} ms`), left);
    const failed = (error: NodeJS.ErrnoException) =>
      fail(
        error.code === "ECONNRESET"
          ? "it closed the connection in the TLS handshake (is tls.rpc on there too?)"
          : `the TLS handshake failed: ${error.message}`,
        error,
      );
    socket.once("error", failed);
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      socket.off("error", failed);
      const refusal = judgeServer(socket, tls, address, region);
      resolve({ socket, ...(refusal === undefined ? {} : { refusal }) });
    });
  });
}

function judgeServer(
  socket: TLSSocket,
  { config }: TlsState,
  address: string,
  region: string,
): string | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return `${address} shows no certificate`;
  if (!socket.authorized) return whyUntrusted(certificate, codeOf(socket.authorizationError));
  if (!config.verify_server_hostname || isServerOf(certificate, region)) return undefined;
  return (
    `the certificate of ${subjectOf(certificate)} has not the name server.${region === "*" ? "<region>" : region}.drover ` +
    "(or .nomad), which verify_server_hostname asks for"
  );
}

const isServerOf = (certificate: X509Certificate, region: string): boolean =>
  identities(certificate).some((one) => one.role === "server" && (region === "*" || one.region === region));

/** Node gives OpenSSL's code, or an Error with it. */
function codeOf(error: unknown): string {
  return typeof error === "string"
    ? error
    : ((error as { code?: string } | undefined)?.code ?? String(error));
}
