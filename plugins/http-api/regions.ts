/**
 * Requests for other regions (`?region=`): the request is carried as HTTP over a stream to a server of that region, and its
 * HTTP API answers there. So reads, writes and endless answers cross in one way, with their back-pressure.
 */
import { request as httpRequest, type IncomingMessage, type Server } from "node:http";
import { Server as HttpsServer } from "node:https";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  type AgentMember,
  HttpError,
  RpcError,
  type RpcStreamHandler,
  type ServerEndpoints,
  type ServerNetwork,
} from "@drover/plugin-sdk";
import type { Answer } from "./answer.js";
import type { ApiRequest } from "./request.js";

const METHOD = "Http.Request";
/** Milliseconds to open the stream to a server of the other region. */
const OPEN_DEADLINE = 10_000;
/** Milliseconds until the answer begins: a blocking query waits for ten minutes and a sixteenth at most. */
const ANSWER_TIMEOUT = 660_000;
/** Requests of other regions that are answered at a time. */
const MAX_SERVED = 1_000;
const NO_PATH = "No path to region";

/** Headers that belong to one connection (RFC 9110, section 7.6.1) and not to what is carried. */
const OF_CONNECTION: ReadonlySet<string> = new Set([
  "connection",
  "expect",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** This agent's own answers whatever region is named: they are about the agent. */
const OF_AGENT = /^\/v1\/(?:agent\/|metrics$|regions$)/;

export class Regions {
  #served = 0;

  constructor(
    private readonly region: string,
    private readonly endpoints: ServerEndpoints | undefined,
    private readonly network: ServerNetwork | undefined,
  ) {}

  /** Whether the request is for another region. */
  isForeign(request: ApiRequest): boolean {
    const wanted = request.query.get("region");
    return wanted !== null && wanted !== "" && wanted !== this.region && !OF_AGENT.test(request.path);
  }

  /** Has a server of the request's region answer it. Throws HttpError 500 `No path to region` where none is known. */
  async forward(request: ApiRequest, url: string): Promise<Answer> {
    const region = request.query.get("region") ?? "";
    const stream = await this.#open(region, request.signal);
    const answer = await exchange(stream, request, url);
    const { status, headers } = headOf(answer);
    const { "content-type": type = "", ...others } = headers;
    return { status, headers: others, body: { kind: "stream", stream: answer, type } };
  }

  /** Has `server` answer what servers of other regions carry here; returns the end of it. */
  serve(server: Server): () => void {
    const { network } = this;
    if (network === undefined) return () => undefined;
    const handler: RpcStreamHandler = async (stream) => {
      if (this.#served >= MAX_SERVED) {
        throw new RpcError(
          "ERR_RPC_BUSY",
          `${MAX_SERVED} requests of other regions are being answered already`,
        );
      }
      this.#served++;
      stream.once("close", () => this.#served--);
      stream.on("error", () => stream.destroy());
      // An HTTP server takes any duplex stream for a connection; what is carried here is out of its TLS already.
      server.emit(server instanceof HttpsServer ? "secureConnection" : "connection", stream);
    };
    return network.handleStream(METHOD, handler, { otherRegions: true });
  }

  async #open(region: string, signal: AbortSignal): Promise<Duplex> {
    const servers = this.endpoints?.status.members().filter((member) => isServerOf(member, region)) ?? [];
    const { network } = this;
    if (network === undefined || servers.length === 0) throw new HttpError(500, NO_PATH);
    let failure = "";
    for (const member of shuffled(servers)) {
      const address = rpcAddress(member);
      try {
        // One hop: a server of yet another region refuses the call, and does not send it on.
        const options = { deadline: OPEN_DEADLINE, signal, region };
        return await network.stream(address, METHOD, new Uint8Array(), options);
      } catch (error) {
        failure = `${address}: ${error instanceof Error ? error.message : String(error)}`;
      }
    }
    throw new HttpError(500, `no server of region "${region}" could be asked; the last one, ${failure}`);
  }
}

function isServerOf(member: AgentMember, region: string): boolean {
  return member.Status === "alive" && member.Tags.region === region && member.Tags.port !== undefined;
}

function rpcAddress({ Addr, Tags }: AgentMember): string {
  const host = Tags.rpc_addr ?? Addr;
  return `${host.includes(":") ? `[${host}]` : host}:${Tags.port}`;
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, key: Math.random() }))
    .sort((one, other) => one.key - other.key)
    .map(({ item }) => item);
}

/** One request and the head of its answer over the stream, which lives as long as the answer does. */
function exchange(stream: Duplex, request: ApiRequest, url: string): Promise<IncomingMessage> {
  const headers = Object.fromEntries(
    Object.entries(request.headers).filter(
      ([name, value]) => value !== undefined && !OF_CONNECTION.has(name),
    ),
  );
  // A body that is passed on as it comes has the length that it was announced with, if any.
  const { body, rawBody = new Uint8Array(0) } = request;
  const length = body === undefined ? rawBody.length : headers["content-length"];
  return new Promise((resolve, reject) => {
    // A stream knows no timeouts of its own.
    const timer = setTimeout(() => fail(new Error("no answer in time")), ANSWER_TIMEOUT);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      stream.destroy();
      reject(new HttpError(500, `the server of the other region did not answer: ${error.message}`));
    };
    const outgoing = httpRequest({
      method: request.method,
      path: url,
      headers: {
        ...headers,
        host: "region",
        connection: "close",
        ...(length === undefined ? {} : { "content-length": String(length) }),
      },
      // In the place of an agent and its pool: the stream is the connection, and there is no other.
      createConnection: () => stream,
    });
    outgoing.on("error", fail);
    outgoing.once("response", (answer) => {
      clearTimeout(timer);
      outgoing.off("error", fail);
      outgoing.on("error", (error) => answer.destroy(error));
      answer.once("close", () => stream.destroy());
      resolve(answer);
    });
    request.signal.addEventListener("abort", () => stream.destroy(), { once: true });
    if (body === undefined) outgoing.end(rawBody);
    else pipeline(body, outgoing).catch(fail);
  });
}

function headOf(answer: IncomingMessage): { status: number; headers: Record<string, string> } {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(answer.headers)) {
    if (value !== undefined && !OF_CONNECTION.has(name)) headers[name] = String(value);
  }
  return { status: answer.statusCode ?? 500, headers };
}
