import type { AgentMember, AutopilotSettings, Peer } from "@drover/plugin-sdk";
import { memberOf } from "./server-health.js";

export interface DeadServers {
  /** Servers to remove now. */
  readonly removable: readonly Peer[];
  /** Why dead servers stay, where they do. */
  readonly kept: string | undefined;
}

/**
 * Which failed servers may go. Those without a vote may; voters only while they are fewer than half of the voters (rounded
 * down, as Nomad counts: of three servers a dead one goes when a fourth has its vote) and MinQuorum voters stay.
 * `isSilent` tells that consensus has not heard of a server for long, where no member list knows it.
 */
export function deadServers(
  peers: readonly Peer[],
  members: readonly AgentMember[],
  settings: AutopilotSettings,
  isSilent: (id: string) => boolean,
): DeadServers {
  const dead = peers.filter((peer) => {
    if (peer.leader) return false;
    const member = memberOf(members, peer);
    return isSilent(peer.id) && (member === undefined || member.Status === "failed");
  });
  const voters = peers.filter(({ voter }) => voter).length;
  const deadVoters = dead.filter(({ voter }) => voter);
  const others = dead.filter(({ voter }) => !voter);
  if (deadVoters.length === 0) return { removable: others, kept: undefined };
  const left = voters - deadVoters.length;
  if (left < settings.MinQuorum) {
    return {
      removable: others,
      kept: `${left} voters would be left, and MinQuorum is ${settings.MinQuorum}`,
    };
  }
  if (deadVoters.length >= Math.floor(voters / 2)) {
    return {
      removable: others,
      kept: `${deadVoters.length} of ${voters} voters failed: only less than half are removed`,
    };
  }
  return { removable: dead, kept: undefined };
}
