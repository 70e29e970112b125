/** The form on the wire of what a handler of `ServerNetwork` throws; both ends of every implementation go through it. */
import { RemoteError } from "./agent-transport.js";
import { NotLeaderError, type Peer } from "./consensus.js";
import { EndpointError } from "./endpoints.js";
import { HttpError } from "./http.js";
import { RpcError, type RpcErrorCode } from "./server-network.js";

/** An error as bytes can carry it. Texts are cut at 16,384 characters. */
export interface WireError {
  /** Name of the class; `Error` for every class that has no form here. */
  readonly name: string;
  readonly message: string;
  /** Of `EndpointError` and `HttpError`. */
  readonly status?: number;
  /** Of `RpcError` and `RemoteError`; of other errors, where they have one. */
  readonly code?: string;
  /** Of `HttpError`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Of `NotLeaderError`. */
  readonly leader?: Peer;
}

const MAX_TEXT = 16_384;

export function errorToWire(error: unknown): WireError {
  const text = error instanceof Error ? error.message : String(error);
  const message = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
  if (error instanceof EndpointError) return { name: error.name, message, status: error.status };
  if (error instanceof HttpError) {
    return { name: error.name, message, status: error.status, headers: error.headers };
  }
  if (error instanceof NotLeaderError) {
    return { name: error.name, message, ...(error.leader === undefined ? {} : { leader: error.leader }) };
  }
  if (error instanceof RpcError || error instanceof RemoteError) {
    return { name: error.name, message, code: error.code };
  }
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return { name: "Error", message, ...(typeof code === "string" ? { code } : {}) };
}

/**
 * The error at the caller: of the class it was thrown as. One of another class is an `RpcError` `ERR_RPC_REMOTE`, and so is what
 * can't be read; its cause is an Error with the `code` of the thrown one, where that had one.
 */
export function errorFromWire(wire: unknown): Error {
  const { name, message, status, headers, code, leader } = (wire ?? {}) as Record<keyof WireError, unknown>;
  const text = typeof message === "string" ? message : "the other server gave an error that can't be read";
  if (name === "EndpointError" && isStatus(status)) return new EndpointError(status, text);
  if (name === "HttpError" && isStatus(status))
    return new HttpError(status, text, isTexts(headers) ? headers : {});
  if (name === "NotLeaderError") return new NotLeaderError(isPeer(leader) ? leader : undefined);
  if (name === "RpcError" && typeof code === "string") return new RpcError(code as RpcErrorCode, text);
  if (name === "RemoteError" && typeof code === "string") return new RemoteError(code, text);
  if (typeof code !== "string") return new RpcError("ERR_RPC_REMOTE", text);
  return new RpcError("ERR_RPC_REMOTE", text, { cause: Object.assign(new Error(text), { code }) });
}

const isStatus = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 100 && (value as number) <= 599;

const isTexts = (value: unknown): value is Record<string, string> =>
  typeof value === "object" && value !== null && Object.values(value).every((one) => typeof one === "string");

function isPeer(value: unknown): value is Peer {
  const peer = value as Peer | null | undefined;
  return typeof peer?.id === "string" && typeof peer.address === "string";
}
