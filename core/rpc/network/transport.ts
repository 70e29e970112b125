/** What lies under a session: plain TCP, or TLS with both ends' certificates. */
import type { Socket } from "node:net";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { RpcError } from "@drover/plugin-sdk";

/** A connection that is established; `refusal` says why it must not be used, after the other end was told. */
export interface Dialled {
  readonly socket: Duplex;
  readonly refusal?: string;
}

/** `host` and `port` of `host:port` or `[v6]:port`. Throws an `RpcError`. */
export function splitAddress(address: string): { host: string; port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw new RpcError(
      "ERR_RPC_UNREACHABLE",
      `"${address}" is not an address: it should look like 10.0.0.1:4647`,
    );
  }
  return { host, port: Number(port) };
}

/** Connects within `timeout` milliseconds. Rejects with an `RpcError`. */
export function dialTcp(address: string, timeout: number): Promise<Socket> {
  const { host, port } = splitAddress(address);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const fail = (why: string, cause?: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(new RpcError("ERR_RPC_UNREACHABLE", `no connection to ${address}: ${why}`, { cause }));
    };
    const timer = setTimeout(() => fail(`no answer within ${timeout} ms`), timeout);
    const onError = (error: NodeJS.ErrnoException) => fail(reasonOf(error), error);
    socket.once("error", onError);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", onError);
      resolve(socket);
    });
  });
}

function reasonOf(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case "ECONNREFUSED":
      return "connection refused (does a server run there?)";
    case "ENOTFOUND":
      return "no such host";
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return "there is no route to it";
    case "ECONNRESET":
      return "it closed the connection";
    default:
      return error.message || String(error.code);
  }
}
