import { consensusConformance } from "@drover/plugin-sdk/testing";
import { server, temporaryFolder } from "./support.js";

consensusConformance("consensus-raft", async () => {
  const folder = await temporaryFolder();
  return {
    open: async () => (await server(folder.path)).consensus,
    close: folder.remove,
  };
});
