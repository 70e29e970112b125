import {
  type ConsensusUnderTest,
  consensusClusterConformance,
  consensusConformance,
  MemoryNetwork,
} from "@drover/plugin-sdk/testing";
import { ADDRESS, QUICK, server, temporaryFolder } from "./support.js";

consensusConformance("consensus-raft", async () => {
  const folder = await temporaryFolder();
  return {
    address: ADDRESS,
    open: async () => (await server(folder.path)).consensus,
    close: folder.remove,
  };
});

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
          (await server(folder.path, QUICK, { agent, network: network.join(address) })).consensus,
        close: folder.remove,
      };
    }),
  );
  return { servers, close: () => undefined };
});
