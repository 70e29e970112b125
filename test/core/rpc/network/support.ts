import { quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { Http2Network, type NetworkOptions } from "../../../../core/rpc/network/http2-network.js";

/** A network on a free port of the loopback interface. */
export async function openNetwork(
  options: Partial<NetworkOptions> = {},
): Promise<{ network: Http2Network; address: string; stop(): Promise<void> }> {
  const network = new Http2Network({
    host: "127.0.0.1",
    port: 0,
    region: "global",
    maxConnections: 100,
    handshakeTimeout: 5_000,
    log: quietLogger,
    metrics: quietMetrics,
    onFatal: (error) => {
      throw error;
    },
    ...options,
  });
  await network.start();
  return { network, address: `127.0.0.1:${network.address()!.port}`, stop: () => network.stop() };
}
