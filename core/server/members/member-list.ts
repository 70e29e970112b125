import { EndpointError, type Gossip } from "@drover/plugin-sdk";
import { AddressError, joinHostPort, splitHostPort } from "../../config/addresses.js";
import { DEFAULT_PORTS } from "../../config/index.js";

/** Who the servers are: what the server needs of a gossip plugin, or of `Members` where there is none. */
export type MemberList = Pick<Gossip, "members" | "join" | "leave" | "forceLeave" | "setTags" | "subscribe">;

/** A gossip plugin as the list. Addresses without a port are at Nomad's gossip port there. */
export function gossipList(gossip: Gossip): MemberList {
  return {
    members: () => gossip.members(),
    join: async (addresses) => gossip.join(addresses.map(withPort)),
    leave: () => gossip.leave(),
    forceLeave: (name) => gossip.forceLeave(name),
    setTags: (tags) => gossip.setTags(tags),
    subscribe: (listener) => gossip.subscribe(listener),
  };
}

function withPort(address: string): string {
  try {
    const { host, port } = splitHostPort(address, DEFAULT_PORTS.serf);
    return joinHostPort(host, port);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    throw new EndpointError(400, error.message);
  }
}
