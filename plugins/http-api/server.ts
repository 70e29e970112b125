/** The HTTP listener: limits, routing, encoding, errors. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Server as TlsServer } from "node:tls";
import {
  AgentInfo,
  AgentTls,
  ClientStatus,
  Consensus,
  HttpError,
  HttpRoutes,
  Logger,
  Metrics,
  ServerEndpoints,
  ServerNetwork,
  StateReader,
} from "@drover/plugin-sdk";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { inject, injectAll, injectable } from "tsyringe";
import { type Answer, PLAIN_TEXT } from "./answer.js";
import { Connections } from "./connections.js";
import { acceptsGzip, encode } from "./encode.js";
import { problemOf } from "./errors.js";
import { pluginRoutes } from "./plugin-routes.js";
import { Regions } from "./regions.js";
import { ApiRequest } from "./request.js";
import type { Handler, Route } from "./route.js";
import { agentRoutes } from "./routes/agent.js";
import { allocationRoutes } from "./routes/allocations.js";
import { autopilotRoutes } from "./routes/autopilot.js";
import { clientRoutes } from "./routes/client.js";
import { deploymentRoutes } from "./routes/deployments.js";
import { evaluationRoutes } from "./routes/evaluations.js";
import { jobRoutes } from "./routes/jobs.js";
import { nodeRoutes } from "./routes/nodes.js";
import { operatorRoutes } from "./routes/operator.js";
import { raftRoutes } from "./routes/raft.js";
import { searchRoutes } from "./routes/search.js";
import { snapshotRoutes } from "./routes/snapshot.js";
import type { Services } from "./services.js";
import { WatchLimit } from "./watch-limit.js";

declare module "fastify" {
  interface FastifyContextConfig {
    /** As in `Route`. */
    readonly streamed?: boolean;
  }
}

export interface HttpApiOptions {
  readonly maxBlockingQueries: number;
  readonly maxBodyBytes: number;
}

/** Time a client has to send its request's head, and its body. Milliseconds. */
const HEADERS_TIMEOUT = 10_000;
const REQUEST_TIMEOUT = 60_000;
/** Idle connections stay open this long: pooled clients reuse them. Milliseconds. */
const KEEP_ALIVE_TIMEOUT = 75_000;
/** Running answers get this long at a stop. Milliseconds. */
const STOP_GRACE = 2_000;

@injectable()
export class HttpApi {
  #app: FastifyInstance | undefined;
  #connections: Connections | undefined;
  /** Ends the answering of other regions. */
  #unserve: () => void = () => undefined;
  /** One controller a request that wants to know when its client is gone. */
  readonly #running = new Set<AbortController>();
  readonly #gone = new WeakMap<IncomingMessage, AbortController>();
  #stopping = false;
  #forgetTls: (() => void) | undefined;

  constructor(
    @inject(Logger) private readonly log: Logger,
    @inject(Metrics) private readonly metrics: Metrics,
    @inject(AgentInfo) private readonly agent: AgentInfo,
    @inject(StateReader, { isOptional: true }) private readonly state: StateReader | undefined,
    @inject(ServerEndpoints, { isOptional: true }) private readonly endpoints: ServerEndpoints | undefined,
    @inject(Consensus, { isOptional: true }) private readonly consensus: Consensus | undefined,
    @inject(ClientStatus, { isOptional: true }) private readonly client: ClientStatus | undefined,
    @inject(ServerNetwork, { isOptional: true }) private readonly network: ServerNetwork | undefined,
    @inject(AgentTls, { isOptional: true }) private readonly tls: AgentTls | undefined,
    @injectAll(HttpRoutes, { isOptional: true }) private readonly others: readonly HttpRoutes[],
  ) {}

  /** Where it listens; undefined while it does not. */
  address(): AddressInfo | undefined {
    const address = this.#app?.server.address();
    return typeof address === "object" && address !== null ? address : undefined;
  }

  /** Rejects with the address and the setting to change when the port can't be had. */
  async start(options: HttpApiOptions, fatal: (error: Error) => void): Promise<void> {
    const { config } = this.agent;
    const services: Services = {
      agent: this.agent,
      log: this.log,
      metrics: this.metrics,
      state: this.state,
      endpoints: this.endpoints,
      consensus: this.consensus,
      client: this.client,
      watches: new WatchLimit(options.maxBlockingQueries),
    };
    const app = this.#createApp(options);
    this.#app = app;
    const connections = new Connections(config.limits.http_max_conns_per_client);
    this.#connections = connections;
    connections.watch(app.server);
    app.addHook("onRequest", async (request, reply) => {
      const work = connections.begin(request.raw.socket);
      reply.raw.once("close", () => work.done());
      if (!connections.refuses(request.raw.socket)) return;
      void reply.header("Connection", "close");
      await this.#sendProblem(request, reply, tooManyConnections(connections.limit));
    });
    const builtin = [
      ...jobRoutes(services),
      ...allocationRoutes(services),
      ...evaluationRoutes(services),
      ...deploymentRoutes(services),
      ...nodeRoutes(services),
      ...clientRoutes(services),
      ...agentRoutes(services),
      ...operatorRoutes(services),
      ...raftRoutes(services),
      ...autopilotRoutes(services),
      ...snapshotRoutes(services),
      ...searchRoutes(services),
    ];
    const regions = new Regions(this.agent.region, this.endpoints, this.network);
    for (const route of [...builtin, ...pluginRoutes(this.others, builtin)]) this.#mount(app, route, regions);
    // Another region's servers may know paths that this one does not.
    app.setNotFoundHandler((request, reply) => this.#answer(request, reply, regions, unknownPath));
    await app.ready();
    this.#unserve = regions.serve(app.server);

    const host = config.addresses.http || config.bind_addr;
    const port = config.ports.http;
    try {
      await app.listen({ host, port, backlog: 1024 });
    } catch (error) {
      throw listenError(error as NodeJS.ErrnoException, host, port);
    }
    app.server.on("error", (error) => {
      if (!this.#stopping)
        fatal(new Error(`the HTTP API's listener on ${host}:${port} failed: ${error.message}`));
    });
    app.server.on("close", () => {
      if (!this.#stopping) fatal(new Error(`the HTTP API's listener on ${host}:${port} closed by itself`));
    });
    if (config.tls.http) this.#watchTls(app.server);
    this.log.info(
      { address: host, port: this.address()?.port, tls: config.tls.http === true },
      "HTTP API is listening",
    );
  }

  /** Changed certificates are those of connections that begin from then on. */
  #watchTls(server: unknown): void {
    const { tls } = this;
    this.#forgetTls = tls?.onChange(() => {
      const { material } = tls.current();
      if (material !== undefined) (server as TlsServer).setSecureContext(material);
    });
    (server as TlsServer).on("tlsClientError", (error, socket) => {
      this.log.debug({ peer: socket.remoteAddress, error: error.message }, "TLS handshake failed");
      socket.destroy();
    });
  }

  /** Lets blocking queries answer with what they have, ends streams, then closes what is left. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#unserve();
    this.#forgetTls?.();
    const app = this.#app;
    if (app === undefined) return;
    for (const controller of this.#running) controller.abort();
    this.#connections?.closeIdle();
    const cut = setTimeout(() => app.server.closeAllConnections(), STOP_GRACE);
    try {
      await app.close();
    } finally {
      clearTimeout(cut);
      this.#app = undefined;
    }
  }

  #createApp(options: HttpApiOptions): FastifyInstance {
    const app = fastify({
      ...this.#https(),
      logger: false,
      bodyLimit: options.maxBodyBytes,
      exposeHeadRoutes: false,
      forceCloseConnections: "idle",
      return503OnClosing: false,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT,
      // Bodies have a deadline of their own, which depends on the route.
      requestTimeout: 0,
      http: { headersTimeout: HEADERS_TIMEOUT, maxHeaderSize: 16 * 1024 },
      clientErrorHandler: refuseGarbage,
      routerOptions: { maxParamLength: 4096 },
      frameworkErrors: (error, request, reply) => void this.#sendProblem(request, reply, error),
    });
    // Nomad takes JSON whatever the content type says (curl's default included).
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
    app.addHook("preParsing", async (request, _reply, payload) => {
      if (request.routeOptions.config.streamed !== true) limitBody(request.raw);
      return payload;
    });
    app.setErrorHandler((error, request, reply) => this.#sendProblem(request, reply, error));
    const headers = Object.entries(this.agent.config.http_api_response_headers);
    app.addHook("onRequest", async (_request, reply) => {
      for (const [name, value] of headers) void reply.header(name, value);
    });
    app.addHook("onResponse", async (request, reply) => {
      const labels = { method: request.method, code: String(reply.statusCode) };
      this.metrics.sample("nomad.http.request", reply.elapsedTime, labels);
      this.log.debug(
        {
          method: request.method,
          path: pathOf(request),
          status: reply.statusCode,
          duration: reply.elapsedTime,
        },
        "request complete",
      );
    });
    return app;
  }

  /** Nothing where the API is plain HTTP. */
  #https(): object {
    const { tls, limits } = this.agent.config;
    if (!tls.http) return {};
    const material = this.tls?.current().material;
    if (material === undefined) throw new Error("tls.http is on, and no certificates were loaded");
    return {
      https: {
        ...material,
        requestCert: tls.verify_https_client,
        rejectUnauthorized: tls.verify_https_client,
        handshakeTimeout: limits.https_handshake_timeout,
      },
    };
  }

  #mount(app: FastifyInstance, { path, handle, streamed = false }: Route, regions: Regions): void {
    const mountIn = (scope: FastifyInstance): void => {
      scope.all(path, { config: { streamed } }, (request, reply) =>
        this.#answer(request, reply, regions, handle),
      );
    };
    if (!streamed) {
      mountIn(app);
      return;
    }
    void app.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
      mountIn(scope as FastifyInstance);
    });
  }

  /** Answers by `handle`, or has a server of the region answer that the request names. */
  async #answer(
    request: FastifyRequest,
    reply: FastifyReply,
    regions: Regions,
    handle: Handler,
  ): Promise<FastifyReply> {
    const url = request.raw.url ?? "";
    const query = new URLSearchParams(url.split("?", 2)[1] ?? "");
    const streamed = request.routeOptions.config.streamed === true;
    const apiRequest = new ApiRequest(
      request.method,
      pathOf(request),
      request.params as Record<string, string>,
      query,
      request.headers,
      streamed ? undefined : (request.body as Uint8Array | undefined),
      this.#signalOf(request.raw, reply.raw),
      streamed ? request.raw.iterator({ destroyOnReturn: false }) : undefined,
    );
    let answer: Answer;
    try {
      answer = regions.isForeign(apiRequest)
        ? await regions.forward(apiRequest, url)
        : await handle(apiRequest);
    } finally {
      // What the handler left of a body is thrown away as it comes, and that must end some time.
      if (streamed) limitBody(request.raw);
    }
    await this.#send(request, reply, answer, query);
    return reply;
  }

  /** A signal that aborts when the connection ends before the answer does, or when the API stops. */
  #signalOf(request: IncomingMessage, response: ServerResponse): AbortSignal {
    const controller = new AbortController();
    this.#running.add(controller);
    this.#gone.set(request, controller);
    if (this.#stopping) controller.abort();
    response.once("close", () => {
      this.#running.delete(controller);
      if (!response.writableFinished) controller.abort();
    });
    return controller.signal;
  }

  async #send(
    request: FastifyRequest,
    reply: FastifyReply,
    answer: Answer,
    query: URLSearchParams,
  ): Promise<void> {
    const pretty = query.has("pretty") && query.get("pretty") !== "false";
    const gzip = acceptsGzip(request.headers["accept-encoding"]);
    const { payload, type = "", gzipped } = await encode(answer.body, { pretty, gzip });
    void reply.code(answer.status ?? 200).headers({ ...answer.headers });
    if (type !== "") void reply.header("Content-Type", type).header("Vary", "Accept-Encoding");
    if (gzipped) void reply.header("Content-Encoding", "gzip");
    if (this.#stopping) void reply.header("Connection", "close");
    await reply.send(payload);
  }

  async #sendProblem(request: FastifyRequest, reply: FastifyReply, error: unknown): Promise<void> {
    const problem = problemOf(error);
    const gone = this.#gone.get(request.raw)?.signal.aborted === true;
    if (problem.unexpected && !gone) {
      this.log.error({ err: error, method: request.method, path: pathOf(request) }, "request failed");
    }
    void reply.code(problem.status).headers({ ...problem.headers });
    if (problem.message === "") {
      await reply.send();
      return;
    }
    const message =
      problem.status === 413 && (error as { code?: unknown }).code === "FST_ERR_CTP_BODY_TOO_LARGE"
        ? `Request body is too large: at most ${request.server.initialConfig.bodyLimit} bytes are taken`
        : problem.message;
    await reply.type(PLAIN_TEXT).send(message);
  }
}

/** Refuses a body that does not arrive in time, and ends its connection. */
function limitBody(request: IncomingMessage): void {
  if (request.complete) return;
  const timer = setTimeout(() => {
    if (!request.complete) refuseGarbage({ code: "ERR_HTTP_REQUEST_TIMEOUT" }, request.socket);
  }, REQUEST_TIMEOUT);
  timer.unref();
  request.once("close", () => clearTimeout(timer));
  request.once("end", () => clearTimeout(timer));
}

function unknownPath(): never {
  throw new HttpError(404, "");
}

function pathOf(request: FastifyRequest): string {
  return (request.raw.url ?? "").split("?", 1)[0]!;
}

function tooManyConnections(limit: number): HttpError {
  return new HttpError(
    429,
    `Your IP has more than ${limit} connections open. Close some or reuse them; the limit is ` +
      "limits.http_max_conns_per_client of the agent's configuration.",
  );
}

/** Answers what is no HTTP, and ends that connection only. */
function refuseGarbage(error: { readonly code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason, message] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? [431, "Request Header Fields Too Large", "Request header is too large: at most 16384 bytes are taken"]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? [408, "Request Timeout", "The request did not arrive in time"]
        : [400, "Bad Request", "Malformed HTTP request"];
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: ${PLAIN_TEXT}\r\nContent-Length: ${message.length}\r\n` +
      `Connection: close\r\n\r\n${message}`,
  );
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const at = `the HTTP API can't listen on ${host}:${port}`;
  switch (error.code) {
    case "EADDRINUSE":
      return new Error(
        `${at}: the port is in use. Stop what uses it (another agent?), or set another ports.http in the agent's ` +
          "configuration.",
      );
    case "EADDRNOTAVAIL":
      return new Error(
        `${at}: this machine does not have that address. Set addresses.http or bind_addr to one it has.`,
      );
    case "EACCES":
      return new Error(`${at}: not permitted. Ports below 1024 need privileges; set another ports.http.`);
    default:
      return new Error(`${at}: ${error.message}`, { cause: error });
  }
}
