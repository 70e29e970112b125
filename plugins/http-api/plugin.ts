/** Nomad's HTTP API on `addresses.http:ports.http`. */
import {
  AgentInfo,
  AgentTls,
  ClientStatus,
  Consensus,
  definePlugin,
  HttpRoutes,
  Logger,
  Metrics,
  ServerEndpoints,
  ServerNetwork,
  StateReader,
} from "@drover/plugin-sdk";
import { z } from "zod";
import { HttpApi } from "./server.js";

const Config = z.strictObject({
  /** Blocking queries that may wait at a time; more are answered 429. */
  max_blocking_queries: z.int().min(1).max(1_000_000).default(10_000),
  /** Largest request body, bytes. */
  max_body_bytes: z
    .int()
    .min(1024)
    .max(256 * 1024 * 1024)
    .default(8 * 1024 * 1024),
});

export default definePlugin({
  name: "http-api",
  description: "Nomad's HTTP API: jobs, allocations, nodes, logs and files, blocking queries, metrics",
  config: Config,
  requires: [Logger, Metrics, AgentInfo],
  optional: [AgentTls, StateReader, ServerEndpoints, ServerNetwork, Consensus, ClientStatus, HttpRoutes],
  register(container) {
    container.registerSingleton(HttpApi);
  },
  async start({ container, config, fatal }) {
    const options = { maxBlockingQueries: config.max_blocking_queries, maxBodyBytes: config.max_body_bytes };
    await container.resolve(HttpApi).start(options, fatal);
  },
  async stop({ container }) {
    await container.resolve(HttpApi).stop();
  },
});
