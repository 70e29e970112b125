import {
  AgentInfo,
  AgentLink,
  ClientStatus,
  definePlugin,
  Logger,
  Metrics,
  type PluginContainer,
  TaskDriver,
} from "@drover/plugin-sdk";
import { instanceCachingFactory } from "tsyringe";
import { ClientAgent } from "./agent.js";

/** The binding behind `ClientStatus`, with the parts that only this plugin calls. */
function agentOf(container: PluginContainer): ClientAgent {
  return container.resolve<ClientStatus>(ClientStatus) as ClientAgent;
}

export default definePlugin({
  name: "client-agent",
  description: "Runs allocations on this node: fingerprint, task runners, state on disk, files and logs",
  requires: [Logger, Metrics, AgentInfo, AgentLink],
  optional: [TaskDriver],
  provides: [ClientStatus],
  stopTimeout: 10_000,
  register(container) {
    container.register<ClientStatus>(ClientStatus, {
      useFactory: instanceCachingFactory(
        (scope) =>
          new ClientAgent({
            log: scope.resolve<Logger>(Logger),
            metrics: scope.resolve<Metrics>(Metrics),
            agent: scope.resolve<AgentInfo>(AgentInfo),
            link: scope.resolve<AgentLink>(AgentLink),
            drivers: scope.isRegistered<TaskDriver>(TaskDriver, true)
              ? scope.resolveAll<TaskDriver>(TaskDriver)
              : [],
          }),
      ),
    });
  },
  start: ({ container }) => agentOf(container).start(),
  stop: ({ container }) => agentOf(container).stop(),
});
