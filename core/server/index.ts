import { join } from "node:path";
import {
  AdmissionHook,
  AgentInfo,
  AgentTransport,
  Consensus,
  definePlugin,
  EventSink,
  Gossip,
  JoinTokens,
  Logger,
  Metrics,
  type Plugin,
  ReplicatedState,
  resolveAll,
  resolveOptional,
  ServerDiscovery,
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

export interface ServerComponent {
  /** The core's server, in the shape of a plugin: ordered, started and stopped by the kernel between the plugins. */
  readonly plugin: Plugin;
  /** Has the server leave its cluster for good; before it stops, and only while it runs. */
  leave(): Promise<void>;
}

export function serverComponent(options: ServerComponentOptions): ServerComponent {
  let server: Server | undefined;
  let state: StateStore | undefined;
  const started = <T>(value: T | undefined): T => {
    if (value === undefined)
      throw new Error("the server has not started: require its token to be started after it");
    return value;
  };
  const plugin = definePlugin({
    name: "server",
    description: "state, scheduling and the endpoints of a server",
    requires: [Consensus, AgentTransport, ServerNetwork, Logger, Metrics, AgentInfo],
    optional: [AdmissionHook, EventSink, Gossip, ServerDiscovery],
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
      server = new Server({
        agent,
        consensus: container.resolve<Consensus>(Consensus),
        transport: container.resolve<AgentTransport>(AgentTransport),
        network: container.resolve<ServerNetwork>(ServerNetwork),
        gossip: resolveOptional<Gossip>(container, Gossip),
        discoveries: resolveAll(container, ServerDiscovery),
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
  return { plugin, leave: () => started(server).leave() };
}
