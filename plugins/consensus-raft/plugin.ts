import { AgentInfo, Consensus, definePlugin, Logger, Metrics, ServerNetwork } from "@drover/plugin-sdk";
import { instanceCachingFactory } from "tsyringe";
import { RaftConfig } from "./config.js";
import { RaftConsensus } from "./consensus.js";

export default definePlugin({
  name: "consensus-raft",
  description: "The replicated log: Raft with a durable LMDB log, in memory for -dev.",
  config: RaftConfig,
  requires: [Logger, Metrics, AgentInfo, ServerNetwork],
  provides: [Consensus],
  register(container, config) {
    container.register(Consensus, {
      useFactory: instanceCachingFactory(
        (inner) =>
          new RaftConsensus({
            agent: inner.resolve<AgentInfo>(AgentInfo),
            log: inner.resolve<Logger>(Logger),
            metrics: inner.resolve<Metrics>(Metrics),
            config,
            network: inner.resolve<ServerNetwork>(ServerNetwork),
          }),
      ),
    });
  },
  async start(context) {
    const consensus = context.container.resolve<RaftConsensus>(Consensus);
    await consensus.prepare((error) => context.fatal(error));
  },
  async stop(context) {
    await context.container.resolve<RaftConsensus>(Consensus).stop();
  },
});
