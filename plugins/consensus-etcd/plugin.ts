import { AgentInfo, Consensus, definePlugin, Logger, Metrics, ServerNetwork } from "@drover/plugin-sdk";
import { instanceCachingFactory } from "tsyringe";
import { EtcdConfig } from "./config.js";
import { EtcdConsensus } from "./consensus.js";

export default definePlugin({
  name: "consensus-etcd",
  description: "The replicated log in an etcd cluster that you run.",
  config: EtcdConfig,
  requires: [Logger, Metrics, AgentInfo],
  optional: [ServerNetwork],
  provides: [Consensus],
  stopTimeout: 15_000,
  register(container, config) {
    container.register(Consensus, {
      useFactory: instanceCachingFactory(
        (inner) =>
          new EtcdConsensus({
            agent: inner.resolve<AgentInfo>(AgentInfo),
            log: inner.resolve<Logger>(Logger),
            metrics: inner.resolve<Metrics>(Metrics),
            network: inner.isRegistered(ServerNetwork, true)
              ? inner.resolve<ServerNetwork>(ServerNetwork)
              : undefined,
            config,
          }),
      ),
    });
  },
  async start(context) {
    const consensus = context.container.resolve<EtcdConsensus>(Consensus);
    await consensus.prepare((error) => context.fatal(error));
  },
  async stop(context) {
    await context.container.resolve<EtcdConsensus>(Consensus).stop();
  },
});
