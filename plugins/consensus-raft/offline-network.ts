import { RpcError, type ServerNetwork } from "@drover/plugin-sdk";

const unreachable = (address: string): Promise<never> =>
  Promise.reject(
    new RpcError("ERR_RPC_UNREACHABLE", `${address} can't be reached: this agent has no network of servers`),
  );

/** What a server without a network sees: nobody. A cluster of one needs no more. */
export const OFFLINE_NETWORK: ServerNetwork = {
  call: unreachable,
  stream: unreachable,
  handle: () => () => undefined,
  handleStream: () => () => undefined,
};
