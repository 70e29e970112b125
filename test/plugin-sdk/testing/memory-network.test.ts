import { MemoryNetwork, serverNetworkConformance } from "@drover/plugin-sdk/testing";

const network = new MemoryNetwork();
let servers = 0;
serverNetworkConformance("MemoryNetwork", {
  open(region) {
    const address = `10.0.0.${++servers}:4647`;
    return { network: network.join(address, region), address, stop: () => network.leave(address) };
  },
});
