import { AgentInfo, AgentLink, AgentTransport, definePlugin, Logger, Metrics } from "@drover/plugin-sdk";
import { MqttConfig } from "./config.js";
import { MqttService } from "./service.js";

export default definePlugin({
  name: "mqtt",
  description:
    "Servers and client agents talk over MQTT, sealed end to end; brings a broker along or uses yours",
  config: MqttConfig,
  requires: [Logger, Metrics, AgentInfo],
  provides: [AgentTransport, AgentLink],
  register(container) {
    container.registerSingleton(MqttService);
    container.register<AgentTransport>(AgentTransport, {
      useFactory: (scope) => scope.resolve(MqttService).transport,
    });
    container.register<AgentLink>(AgentLink, { useFactory: (scope) => scope.resolve(MqttService).link });
  },
  start: (context) => context.container.resolve(MqttService).start(context),
  stop: ({ container }) => container.resolve(MqttService).stop(),
});
