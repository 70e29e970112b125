import {
  AgentInfo,
  AgentTls,
  definePlugin,
  Logger,
  Metrics,
  type Plugin,
  ServerNetwork,
} from "@drover/plugin-sdk";
import { Http2Network } from "./http2-network.js";

export { Http2Network } from "./http2-network.js";

/** The network between servers, in the shape of a plugin: it listens before consensus starts. */
export function networkComponent(): Plugin {
  let network: Http2Network | undefined;
  return definePlugin({
    name: "server-network",
    description: "calls and streams between servers, on ports.rpc",
    requires: [AgentInfo, AgentTls, Logger, Metrics],
    provides: [ServerNetwork],
    register(container) {
      container.register(ServerNetwork, {
        useFactory: () => {
          if (network === undefined) {
            throw new Error(
              "the network between servers has not started: require its token to be started after it",
            );
          }
          return network;
        },
      });
    },
    async start({ container, log, fatal }) {
      const { config, region } = container.resolve<AgentInfo>(AgentInfo);
      network = new Http2Network({
        host: config.addresses.rpc || config.bind_addr,
        port: config.ports.rpc,
        region,
        maxConnections: config.limits.rpc_max_conns_per_client,
        handshakeTimeout: config.limits.rpc_handshake_timeout,
        tls: container.resolve<AgentTls>(AgentTls),
        log,
        metrics: container.resolve<Metrics>(Metrics),
        onFatal: fatal,
      });
      await network.start();
      const { address, port } = network.address()!;
      log.info({ address, port }, "listening for other servers");
    },
    stop: () => network?.stop(),
  }) as unknown as Plugin;
}
