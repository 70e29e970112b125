/** The HTTP API plugin on a free port, with what a test gives it. */
import "reflect-metadata";
import type { AddressInfo } from "node:net";
import {
  type AgentConfiguration,
  AgentInfo,
  ClientStatus,
  EndpointError,
  HttpRoutes,
  Logger,
  Metrics,
  ServerEndpoints,
  ServerNetwork,
  StateReader,
} from "@drover/plugin-sdk";
import { container } from "tsyringe";
import httpApi from "../../../plugins/http-api/plugin.js";
import { HttpApi } from "../../../plugins/http-api/server.js";
import { FakeState } from "./fake-state.js";

type DeepPartial<T> = {
  [K in keyof T]?: T[K] extends (...args: never[]) => unknown ? T[K] : DeepPartial<T[K]>;
};

export interface ApiOptions {
  readonly state?: FakeState;
  /** In place of `state`: a store of its own. */
  readonly reader?: StateReader;
  readonly endpoints?: DeepPartial<ServerEndpoints>;
  readonly client?: ClientStatus;
  readonly routes?: HttpRoutes;
  readonly region?: string;
  readonly network?: ServerNetwork;
  /** No server in this process. */
  readonly clientOnly?: boolean;
  readonly config?: DeepPartial<AgentConfiguration>;
  readonly plugin?: Record<string, unknown>;
}

export interface Api extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly state: FakeState;
  readonly logged: { readonly level: string; readonly message: string; readonly fields: object }[];
  readonly fatal: Error[];
  get(path: string, init?: RequestInit): Promise<Response>;
  send(method: string, path: string, body?: unknown): Promise<Response>;
}

export function agentInfo(config: DeepPartial<AgentConfiguration> = {}): AgentInfo {
  const full = {
    region: "global",
    datacenter: "dc1",
    name: "host-1",
    data_dir: "",
    bind_addr: "127.0.0.1",
    log_level: "INFO",
    log_json: false,
    log_file: "",
    enable_debug: false,
    leave_on_interrupt: false,
    leave_on_terminate: false,
    disable_update_check: true,
    files: [],
    plugins: {},
    http_api_response_headers: {},
    telemetry: { collection_interval: 1000 },
    server: { enabled: true, enabled_schedulers: [] },
    tls: { http: false },
    ...config,
    ports: { http: 0, rpc: 4647, serf: 4648, ...config.ports },
    addresses: { http: "127.0.0.1", rpc: "127.0.0.1", serf: "127.0.0.1", ...config.addresses },
    limits: {
      http_max_conns_per_client: 100,
      rpc_max_conns_per_client: 100,
      https_handshake_timeout: 5_000,
      rpc_handshake_timeout: 5_000,
      ...config.limits,
    },
    client: {
      enabled: true,
      host_volumes: {},
      meta: {},
      options: {},
      servers: [],
      reserved: {},
      ...config.client,
    },
  } as unknown as AgentConfiguration;
  return {
    nodeName: "host-1",
    region: "global",
    datacenter: "dc1",
    version: "0.1.0",
    devMode: true,
    dataDir: "",
    serverEnabled: true,
    clientEnabled: true,
    config: full,
    selfConfig: { Region: "global" },
    advertise: { http: "127.0.0.1:4646", rpc: "127.0.0.1:4647", serf: "127.0.0.1:4648" },
  };
}

const metrics: Metrics = {
  increment: () => undefined,
  gauge: () => undefined,
  sample: () => undefined,
  onCollect: () => () => undefined,
  toJSON: () => ({
    Counters: [],
    Gauges: [],
    Points: [],
    Samples: [],
    Timestamp: "2026-11-23 14:49:20 +0000 UTC",
  }),
  toPrometheus: async () => "# TYPE nomad_up gauge\nnomad_up 1\n",
};

export async function startApi(options: ApiOptions = {}): Promise<Api> {
  const state = options.state ?? new FakeState();
  const logged: { level: string; message: string; fields: object }[] = [];
  const fatal: Error[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void logged.push({ level, message, fields });
  const log: Logger = {
    trace: at("trace"),
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => log,
  };
  const child = container.createChildContainer();
  child.register(Logger, { useValue: log });
  child.register(Metrics, { useValue: metrics });
  const info = agentInfo(options.config);
  child.register(AgentInfo, { useValue: { ...info, region: options.region ?? info.region } });
  if (options.network !== undefined) child.register(ServerNetwork, { useValue: options.network });
  if (options.clientOnly !== true) {
    const endpoints = {
      ...options.endpoints,
      status: {
        leader: () => "127.0.0.1:4647",
        lastContact: () => 0,
        catchUp: async () => {
          if (options.endpoints?.status?.leader?.() === "") throw new EndpointError(500, "No cluster leader");
        },
        peers: () => ["127.0.0.1:4647"],
        members: () => [],
        health: () => ({ ok: true, message: "ok" }),
        stats: () => ({}),
        ...options.endpoints?.status,
      },
    };
    child.register(StateReader, { useValue: options.reader ?? state });
    child.register(ServerEndpoints, { useValue: endpoints });
  }
  if (options.client !== undefined) child.register(ClientStatus, { useValue: options.client });
  if (options.routes !== undefined) child.register(HttpRoutes, { useValue: options.routes });
  const config = httpApi.config.parse(options.plugin ?? {});
  httpApi.register(child, config);
  const context = {
    name: httpApi.name,
    config,
    container: child,
    log,
    signal: new AbortController().signal,
    fatal: (error: Error) => void fatal.push(error),
  };
  const stop = async () => {
    await httpApi.stop?.(context);
    await child.dispose();
  };
  try {
    await httpApi.start?.(context);
  } catch (error) {
    await stop();
    throw error;
  }
  const { port } = child.resolve(HttpApi).address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    state,
    logged,
    fatal,
    get: (path, init) => fetch(url + path, init),
    send: (method, path, body) =>
      fetch(url + path, { method, body: typeof body === "string" ? body : JSON.stringify(body) }),
    [Symbol.asyncDispose]: stop,
  };
}

/** Resolves once `condition` holds; throws after ten seconds, naming what was waited for. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited 10 s for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
