/** How the servers of a cluster, and of other regions, speak with each other. */
import type { Duplex } from "node:stream";
import { createToken } from "../kernel/token.js";

/** Who calls, as far as the connection proves it. */
export interface RpcCaller {
  /** `host:port` of the other end of the connection. */
  readonly address: string;
  /** From the certificate's names (`server.<region>.drover`); undefined where the connection has none. */
  readonly identity?: { readonly role: "server" | "client"; readonly region: string };
}

export interface RpcOptions {
  /** Milliseconds after which the call is given up, on both ends. */
  readonly deadline: number;
  readonly signal?: AbortSignal;
  /** Region of the server that is called, `*` for any; default the own one. A server of another region refuses the call. */
  readonly region?: string;
}

/** Who may call a method, and how much it takes. */
export interface RpcMethodOptions {
  /** Whether client agents of this region may call it. Default: servers only. */
  readonly clients?: boolean;
  /** Whether servers of other regions may call it. Default: this region's only. */
  readonly otherRegions?: boolean;
  /** Largest body that is taken, bytes; default 16 MiB. */
  readonly maxBody?: number;
  /** Largest answer that is sent, bytes; default 64 MiB. */
  readonly maxAnswer?: number;
}

/** What went wrong between two servers. Errors of the handler itself arrive as they were thrown: class, text and `status`. */
export type RpcErrorCode =
  /** No connection; nothing was sent. */
  | "ERR_RPC_UNREACHABLE"
  /** The connection broke or was closed after the request was sent: the other may have acted on it. */
  | "ERR_RPC_INTERRUPTED"
  /** No answer in time: the other may have acted on it. */
  | "ERR_RPC_DEADLINE"
  /** Queues are full, here or there; nothing was done. */
  | "ERR_RPC_BUSY"
  /** The certificate, the region or the protocol is not acceptable; the text says which. */
  | "ERR_RPC_REFUSED"
  /** The other serves no such method: it is of another version, or not ready. */
  | "ERR_RPC_NO_METHOD"
  /** A body that is larger than the method takes. */
  | "ERR_RPC_TOO_LARGE"
  /** The handler threw something that has no form on the wire; the text is its message. */
  | "ERR_RPC_REMOTE";

export class RpcError extends Error {
  override readonly name = "RpcError";
  constructor(
    readonly code: RpcErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
  /** Whether the other end may have acted on the call. */
  get outcomeUnknown(): boolean {
    return this.code === "ERR_RPC_INTERRUPTED" || this.code === "ERR_RPC_DEADLINE";
  }
}

export type RpcHandler = (
  body: Uint8Array,
  caller: RpcCaller,
  /** Aborted when the caller is gone or the deadline has passed. */
  signal: AbortSignal,
) => Promise<Uint8Array>;

/**
 * Owns the stream: ends or destroys it. The caller's `stream` resolves with the first byte that the handler writes, with the
 * stream's end, or when the handler's promise resolves; an error before that reaches the caller as the error of `stream`.
 */
export type RpcStreamHandler = (stream: Duplex, body: Uint8Array, caller: RpcCaller) => Promise<void>;

/**
 * Unary calls and streams between servers, over pooled connections. Methods are named `Service.Method`. Streams carry
 * back-pressure both ways.
 */
export interface ServerNetwork {
  call(address: string, method: string, body: Uint8Array, options: RpcOptions): Promise<Uint8Array>;
  /** Opens a stream; `body` is what the handler gets first. The deadline is that of opening. */
  stream(address: string, method: string, body: Uint8Array, options: RpcOptions): Promise<Duplex>;
  /** Answers a method from now on; a second handler of one name is an error. Returns its removal. */
  handle(method: string, handler: RpcHandler, options?: RpcMethodOptions): () => void;
  handleStream(method: string, handler: RpcStreamHandler, options?: RpcMethodOptions): () => void;
}
export const ServerNetwork = createToken<ServerNetwork>("ServerNetwork");
