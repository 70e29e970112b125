import { type ConsensusUnderTest, consensusClusterConformance } from "@drover/plugin-sdk/testing";
import { openNetwork } from "../../core/rpc/network/support.js";
import { QUICK, server, temporaryFolder } from "./support.js";

consensusClusterConformance("consensus-raft over HTTP/2", async () => {
  const servers = await Promise.all(
    [1, 2, 3, 4].map(async (): Promise<ConsensusUnderTest> => {
      const folder = await temporaryFolder();
      const { network, address, stop } = await openNetwork();
      const agent = {
        dataDir: folder.path,
        devMode: false,
        region: "global",
        advertise: { http: "", rpc: address, serf: "" },
      };
      return {
        address,
        open: async () => (await server(folder.path, QUICK, { agent, network })).consensus,
        close: async () => {
          await stop();
          await folder.remove();
        },
      };
    }),
  );
  return { servers, close: () => undefined };
});
