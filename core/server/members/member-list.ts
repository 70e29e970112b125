import type { Gossip } from "@drover/plugin-sdk";

/** Who the servers are: what the server needs of a gossip plugin, or of `Members` where there is none. */
export type MemberList = Pick<Gossip, "members" | "join" | "leave" | "forceLeave" | "setTags" | "subscribe">;
