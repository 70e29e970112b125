import { join } from "node:path";
import {
  AdmissionHook,
  AgentInfo,
  AgentTransport,
  Consensus,
  definePlugin,
  EventSink,
  JoinTokens,
  Logger,
  Metrics,
  type Plugin,
  ReplicatedState,
  resolveAll,
  resolveOptional,
  ServerEndpoints,
  ServerNetwork,
  StateReader,
} from "@drover/plugin-sdk";
import { StateStore } from "../state/index.js";
import type { SchedulerCatalog } from "./scheduler-catalog.js";
import { Server } from "./server.js";

export { SchedulerCatalog } from "./scheduler-catalog.js";

export interface ServerComponentOptions {
  /** Scheduler plugins, verified; the pool's threads load them. */
  readonly schedulers: SchedulerCatalog;
  /** Job types that they handle and that are not switched off. */
  readonly types: readonly string[];
}

/** The core's server, in the shape of a plugin: ordered, started and stopped by the kernel between the plugins. */
export function serverComponent(options: ServerComponentOptions): Plugin {
  let server: Server | undefined;
  let state: StateStore | undefined;
  const started = <T>(value: T | undefined): T => {
    if (value === undefined)
      throw new Error("the server has not started: require its token to be started after it");
    return value;
  };
  return definePlugin({
    name: "server",
    description: "state, scheduling and the endpoints of a server",
    requires: [Consensus, AgentTransport, Logger, Metrics, AgentInfo],
    optional: [ServerNetwork, AdmissionHook, EventSink],
    provides: [StateReader, ServerEndpoints, JoinTokens, ReplicatedState],
    startTimeout: 60_000,
    register(container) {
      container.register(StateReader, { useFactory: () => started(state) });
      container.register(ServerEndpoints, { useFactory: () => started(server).endpoints });
      container.register(JoinTokens, { useFactory: () => started(server).joinTokens });
      container.register(ReplicatedState, { useFactory: () => started(server).tables });
    },
    async start({ container, log, fatal }) {
      const agent = container.resolve<AgentInfo>(AgentInfo);
      state = await StateStore.open({
        path: join(agent.dataDir, "server", "state"),
        region: agent.region,
        log,
      });
      const network = resolveOptional(container, ServerNetwork);
      server = new Server({
        agent,
        ...(network === undefined ? {} : { network }),
        consensus: container.resolve<Consensus>(Consensus),
        transport: container.resolve<AgentTransport>(AgentTransport),
        state,
        hooks: resolveAll(container, AdmissionHook),
        sinks: resolveAll(container, EventSink),
        schedulers: options.schedulers,
        types: options.types,
        log,
        metrics: container.resolve<Metrics>(Metrics),
        fatal,
      });
      await server.start();
    },
    async stop() {
      if (server !== undefined) await server.stop();
      else await state?.close();
    },
  }) as unknown as Plugin;
}
