/** Requests over TLS with certificates of one's own, which the built-in `fetch` can't be given. */
import { readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as WebStream } from "node:stream/web";
import { rootCertificates } from "node:tls";

/** As the flags and variables of Nomad's command line; paths of PEM files. */
export interface ClientTls {
  readonly caCert?: string;
  /** Folder of certificates. */
  readonly caPath?: string;
  readonly clientCert?: string;
  readonly clientKey?: string;
  /** Name that the agent's certificate must have; default the host of the address. */
  readonly serverName?: string;
  readonly skipVerify?: boolean;
}

/** Material for `node:https`. Throws an Error that names the flag. */
export function tlsOptions(tls: ClientTls): object {
  const { caCert, caPath, clientCert, clientKey, serverName, skipVerify } = tls;
  if ((clientCert === undefined) !== (clientKey === undefined)) {
    throw new Error("-client-cert and -client-key must be given together");
  }
  const read = (path: string, flag: string): string => {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw new Error(`${flag}: ${(error as Error).message}`, { cause: error });
    }
  };
  const authorities = [
    ...(caCert === undefined ? [] : [read(caCert, "-ca-cert")]),
    ...(caPath === undefined ? [] : folder(caPath).map((path) => read(path, "-ca-path"))),
  ];
  return {
    ca: authorities.length > 0 ? authorities : [...rootCertificates],
    ...(clientCert === undefined ? {} : { cert: read(clientCert, "-client-cert") }),
    ...(clientKey === undefined ? {} : { key: read(clientKey, "-client-key") }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(skipVerify === true ? { rejectUnauthorized: false } : {}),
  };
}

function folder(path: string): string[] {
  try {
    return readdirSync(path).map((name) => join(path, name));
  } catch (error) {
    throw new Error(`-ca-path: ${(error as Error).message}`, { cause: error });
  }
}

export function httpsFetch(
  url: URL,
  init: {
    method: string;
    headers: Record<string, string>;
    body?: string | ReadableStream | undefined;
    signal?: AbortSignal | undefined;
  },
  options: object,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { method, headers, body, signal } = init;
    const sent = request(
      url,
      {
        ...options,
        method,
        headers:
          typeof body === "string"
            ? { ...headers, "content-length": String(Buffer.byteLength(body)) }
            : headers,
        agent: false,
        ...(signal === undefined ? {} : { signal }),
      },
      (answer) => resolve(asResponse(answer)),
    );
    sent.once("error", reject);
    if (body instanceof ReadableStream) pipeline(Readable.fromWeb(body as WebStream), sent).catch(reject);
    else sent.end(body);
  });
}

function asResponse(answer: IncomingMessage): Response {
  const status = answer.statusCode ?? 0;
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers)) {
    for (const one of [value].flat()) if (one !== undefined) headers.append(name, one);
  }
  const empty = status === 204 || status === 304;
  if (empty) answer.resume();
  return new Response(empty ? null : (Readable.toWeb(answer) as ReadableStream), { status, headers });
}
