import { serverNetworkConformance } from "@drover/plugin-sdk/testing";
import { openNetwork } from "./support.js";

serverNetworkConformance("Http2Network", {
  open: (region) => openNetwork(region === undefined ? {} : { region }),
});
