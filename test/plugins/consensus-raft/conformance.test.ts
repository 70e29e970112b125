import {
  type ConsensusUnderTest,
  consensusClusterConformance,
  consensusConformance,
  MemoryNetwork,
} from "@drover/plugin-sdk/testing";
import { ADDRESS, server, temporaryFolder } from "./support.js";

consensusConformance("consensus-raft", async () => {
  const folder = await temporaryFolder();
  return {
    address: ADDRESS,
    open: async () => (await server(folder.path)).consensus,
    close: folder.remove,
  };
});

/** Ticks of 20 ms: an election takes a fifth of a second instead of a whole one. */
const CONFIG = { tick_interval: 20, snapshot_threshold: 50, snapshot_interval: 0, trailing_logs: 20 };

consensusClusterConformance("consensus-raft", async () => {
  const network = new MemoryNetwork();
  const servers = await Promise.all(
    [1, 2, 3, 4].map(async (number): Promise<ConsensusUnderTest> => {
      const folder = await temporaryFolder();
      const address = `10.0.0.${number}:4647`;
      const agent = {
        dataDir: folder.path,
        devMode: false,
        region: "global",
        advertise: { http: "", rpc: address, serf: "" },
      };
      return {
        address,
        open: async () =>
          (await server(folder.path, CONFIG, { agent, network: network.join(address) })).consensus,
        close: folder.remove,
      };
    }),
  );
  return { servers, close: () => undefined };
});
