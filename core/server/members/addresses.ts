/** Addresses of servers: as operators write them, and as servers call them. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type AgentMember, EndpointError } from "@drover/plugin-sdk";
import { AddressError, joinHostPort, splitHostPort } from "../../config/addresses.js";
import { DEFAULT_PORTS } from "../../config/index.js";

/** `host:port` of a member's RPC listener. */
export function rpcAddress({ Addr, Tags }: Pick<AgentMember, "Addr" | "Tags">): string {
  return joinHostPort(Tags.rpc_addr || Addr, Number(Tags.port ?? DEFAULT_PORTS.rpc));
}

/**
 * Every `host:port` that a written `host[:port]` stands for; a name may stand for several. Rejects where it stands for none,
 * and with `EndpointError` (400) for what is no address.
 */
export async function resolveAddress(address: string): Promise<string[]> {
  const { host, port } = split(address);
  if (isIP(host) !== 0) return [joinHostPort(host, port)];
  try {
    const found = await lookup(host, { all: true });
    return [...new Set(found.map((each) => joinHostPort(each.address, port)))];
  } catch (error) {
    throw new Error(`the name ${host} could not be resolved (${(error as NodeJS.ErrnoException).code})`, {
      cause: error,
    });
  }
}

function split(address: string): ReturnType<typeof splitHostPort> {
  try {
    return splitHostPort(address, DEFAULT_PORTS.rpc);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    throw new EndpointError(
      400,
      `${error.message}, of the server's RPC port (${DEFAULT_PORTS.rpc} by default)`,
    );
  }
}
