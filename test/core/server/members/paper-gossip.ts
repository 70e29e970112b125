/** Gossip of servers inside one process: everybody knows everybody's tags at once. */
import type { AgentMember, Gossip, MembershipEvent } from "@drover/plugin-sdk";
import { toAgentMember } from "../../../../core/server/members/member-record.js";

export interface GossipHub {
  /** The gossip of one more server. */
  join(): Gossip;
}

export function gossips(): GossipHub {
  const members: AgentMember[] = [];
  const listeners = new Set<(event: MembershipEvent) => void>();
  const tell = (event: MembershipEvent) => {
    for (const listener of listeners) listener(event);
  };
  return {
    join() {
      let own: AgentMember | undefined;
      return {
        members: () => members,
        join: async (addresses) => addresses.length,
        leave: async () => {
          if (own === undefined) return;
          own.Status = "left";
          tell({ type: "leave", member: own });
        },
        forceLeave: async (name) => {
          const member = members.find(({ Name }) => Name === name)!;
          member.Status = "left";
          tell({ type: "leave", member });
        },
        setTags: async (tags) => {
          own = toAgentMember({
            name: `gossip-${members.length + 1}.${tags.region}`,
            addr: tags.rpc_addr!,
            port: 4648,
            tags: { ...tags },
            status: "alive",
          });
          members.push(own);
          tell({ type: "join", member: own });
        },
        broadcast: async () => undefined,
        subscribe: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
        keys: () => [],
      };
    },
  };
}
