/** A client of the HTTP API, as the commands use it. */
import { Readable } from "node:stream";
import { type ClientTls, httpsFetch, tlsOptions } from "./https-fetch.js";

/** The agent answered with an error. The wording is that of Nomad's own client, which scripts look for. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    /** Text of the answer. */
    readonly body: string,
  ) {
    super(`Unexpected response code: ${status} (${body.trim()})`);
  }
}

/** The agent could not be reached. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

export interface ClientOptions {
  /** For example `http://127.0.0.1:4646`. */
  readonly address: string;
  readonly region?: string;
  readonly namespace?: string;
  readonly token?: string;
  /** Certificates, for an address with `https:`. */
  readonly tls?: ClientTls;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Answer<T> {
  readonly value: T;
  /** `X-Nomad-Index`; 0 where the answer has none. */
  readonly index: number;
}

/** A body that is still on its way. */
export interface Download {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** `X-Nomad-Index`; 0 where the answer has none. */
  readonly index: number;
  readonly size: number | undefined;
  /** `Digest`, for example `sha-256=…` in base64. */
  readonly digest: string | undefined;
}

export const DEFAULT_ADDRESS = "http://127.0.0.1:4646";

export class ApiClient {
  readonly #base: URL;
  /** Set where requests need certificates that the built-in `fetch` doesn't know. */
  readonly #tls: object | undefined;

  /** Throws an Error for an address that is none, and for certificates that can't be read. */
  constructor(readonly options: ClientOptions) {
    const address = /^[a-z+]+:\/\//i.test(options.address) ? options.address : `http://${options.address}`;
    const base = URL.canParse(address) ? new URL(address) : undefined;
    if (base === undefined || !/^https?:$/.test(base.protocol)) {
      throw new Error(
        `"${options.address}" is not an address of an agent: it should look like ${DEFAULT_ADDRESS}`,
      );
    }
    this.#base = base;
    const asked = Object.values(options.tls ?? {}).some((one) => one !== undefined);
    this.#tls = base.protocol === "https:" && asked ? tlsOptions(options.tls!) : undefined;
  }

  async get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<Answer<T>> {
    return this.#answer<T>(await this.#fetch("GET", path, query, undefined, signal));
  }

  async put<T>(path: string, body: unknown, query: Query = {}): Promise<Answer<T>> {
    return this.#answer<T>(await this.#fetch("PUT", path, query, body));
  }

  async delete<T>(path: string, query: Query = {}): Promise<Answer<T>> {
    return this.#answer<T>(await this.#fetch("DELETE", path, query));
  }

  /** An answer whose body is read as it comes; `digest` and `size` are the headers' where they are there. */
  async download(path: string, query: Query = {}, signal?: AbortSignal): Promise<Download> {
    const response = await this.#fetch("GET", path, query, undefined, signal);
    const length = response.headers.get("content-length");
    return {
      bytes: this.#bytes(response, signal),
      index: Number(response.headers.get("x-nomad-index") ?? 0),
      size: length === null ? undefined : Number(length),
      digest: response.headers.get("digest") ?? undefined,
    };
  }

  /** Sends bytes as they come; gives the answer's index. */
  async upload(path: string, bytes: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<number> {
    const body = Readable.toWeb(Readable.from(bytes, { objectMode: false })) as ReadableStream;
    const response = await this.#fetch("PUT", path, {}, body, signal);
    await response.arrayBuffer();
    return Number(response.headers.get("x-nomad-index") ?? 0);
  }

  /** Bytes of an answer as they come. */
  async *stream(path: string, query: Query = {}, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    yield* this.#bytes(await this.#fetch("GET", path, query, undefined, signal), signal);
  }

  async *#bytes(response: Response, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    if (response.body === null) return;
    try {
      for await (const chunk of response.body) yield chunk as Uint8Array;
    } catch (error) {
      if (signal?.aborted === true) return;
      throw new ConnectionError(
        `the agent at ${this.#base.origin} ended the stream early: ${reasonOf(error)}`,
      );
    }
  }

  async #answer<T>(response: Response): Promise<Answer<T>> {
    const text = await response.text();
    const index = Number(response.headers.get("x-nomad-index") ?? 0);
    if (text === "") return { value: undefined as T, index };
    try {
      return { value: JSON.parse(text) as T, index };
    } catch (error) {
      throw new ConnectionError(
        `what answers at ${this.#base.origin} does not speak the HTTP API: ${reasonOf(error)}. Check -address.`,
      );
    }
  }

  async #fetch(
    method: string,
    path: string,
    query: Query,
    body?: unknown,
    signal?: AbortSignal,
  ): Promise<Response> {
    const url = new URL(path, this.#base);
    const { region, namespace, token } = this.options;
    for (const [name, value] of Object.entries({ region, namespace, ...query })) {
      if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
    }
    const headers: Record<string, string> = token === undefined ? {} : { "X-Nomad-Token": token };
    let response: Response;
    try {
      const streamed = body instanceof ReadableStream;
      const sent = streamed || body === undefined ? body : JSON.stringify(body);
      const init = { method, headers, signal, body: sent };
      response = await (this.#tls === undefined
        ? fetch(url, streamed ? { ...init, duplex: "half" } : init)
        : httpsFetch(url, init, this.#tls));
    } catch (error) {
      if (signal?.aborted === true) throw error;
      throw new ConnectionError(this.#unreachable(error));
    }
    if (!response.ok) throw new ApiError(response.status, await response.text());
    return response;
  }

  #unreachable(error: unknown): string {
    return (
      `can't reach the agent at ${this.#base.origin}: ${reasonOf(error)}\n` +
      'Is it running? "drover agent -dev" starts one on this machine; -address or NOMAD_ADDR (DROVER_ADDR) names another.'
    );
  }
}

/** What went wrong beneath a failed fetch, in words. */
function reasonOf(error: unknown): string {
  const cause = (error as { cause?: unknown }).cause ?? error;
  const code = (cause as { code?: unknown }).code;
  switch (code) {
    case "ECONNREFUSED":
      return "connection refused";
    case "ENOTFOUND":
      return "no such host";
    case "ECONNRESET":
    case "UND_ERR_SOCKET":
      return "the connection was closed (does the agent have tls.http on? then the address begins with https://)";
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return `the agent's certificate is signed by a CA that isn't known here (${code}); -ca-cert or NOMAD_CACERT names its file`;
    case "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED":
      return "the agent asks for a certificate; -client-cert and -client-key (NOMAD_CLIENT_CERT, NOMAD_CLIENT_KEY) name one";
    case "EPROTO":
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return "what answers there does not speak TLS: try http://";
    default:
      return cause instanceof Error && cause.message !== "" ? cause.message : String(code ?? cause);
  }
}
