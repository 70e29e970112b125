import type {
  AgentMember,
  AutopilotSettings,
  OperatorHealthReply,
  Peer,
  PeerProgress,
  ServerHealth,
} from "@drover/plugin-sdk";
import { formatDuration } from "../../jobspec/duration.js";
import { milliseconds } from "./settings.js";

/** What is known of the servers at one time. */
export interface ServersSeen {
  readonly peers: readonly Peer[];
  readonly progress: readonly PeerProgress[];
  /** Members of the region. */
  readonly members: readonly AgentMember[];
  readonly settings: AutopilotSettings;
}

interface Known {
  healthy: boolean;
  /** `performance.now()` since when; stability is counted on a clock that nobody sets. */
  since: number;
  /** The same as wall time, for people. */
  readonly date: Date;
}

/**
 * Health of each server as the leader sees it, and since when. A server is healthy that is alive, was heard of within
 * LastContactThreshold, is in the leader's term, and lacks no more than MaxTrailingLogs entries.
 */
export class ServerHealths {
  readonly #known = new Map<string, Known>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Takes in what is seen now. */
  observe({ peers, progress, members, settings }: ServersSeen): void {
    const leader = progress.find(({ id }) => peers.some((peer) => peer.id === id && peer.leader));
    for (const peer of peers) {
      const healthy =
        memberOf(members, peer)?.Status === "alive" &&
        isCurrent(
          progress.find(({ id }) => id === peer.id),
          leader,
          settings,
        );
      if (this.#known.get(peer.id)?.healthy !== healthy) {
        this.#known.set(peer.id, { healthy, since: this.now(), date: new Date() });
      }
    }
    for (const id of this.#known.keys()) {
      if (!peers.some((peer) => peer.id === id)) this.#known.delete(id);
    }
  }

  /** Milliseconds for which the server has been healthy (or, with `healthy` false, has not been); 0 where it is otherwise. */
  stableFor(id: string, healthy = true): number {
    const known = this.#known.get(id);
    return known === undefined || known.healthy !== healthy ? 0 : this.now() - known.since;
  }

  clear(): void {
    this.#known.clear();
  }

  /** The shape of `GET /v1/operator/autopilot/health`; call `observe` before. */
  report({ peers, progress, members }: ServersSeen): OperatorHealthReply {
    const servers = peers.map((peer): ServerHealth => {
      const member = memberOf(members, peer);
      const logs = progress.find(({ id }) => id === peer.id);
      const known = this.#known.get(peer.id);
      return {
        ID: peer.id,
        Name: member?.Name ?? "(unknown)",
        Address: peer.address,
        SerfStatus: member?.Status ?? "none",
        Version: member?.Tags.build ?? "",
        Leader: peer.leader,
        LastContact: contactText(logs?.lastContact ?? null),
        LastTerm: logs?.lastTerm ?? 0,
        LastIndex: logs?.lastIndex ?? 0,
        Healthy: known?.healthy ?? false,
        Voter: peer.voter,
        StableSince: (known?.date ?? new Date()).toISOString(),
      };
    });
    const voters = servers.filter(({ Voter }) => Voter);
    const quorum = Math.floor(voters.length / 2) + 1;
    const healthy = voters.filter(({ Healthy }) => Healthy).length;
    return {
      FailureTolerance: Math.max(0, healthy - quorum),
      Healthy: servers.length > 0 && servers.every(({ Healthy }) => Healthy),
      Servers: servers,
    };
  }
}

/** The member that a server of consensus is. One that left and came back may be there twice. */
export function memberOf(members: readonly AgentMember[], peer: Pick<Peer, "id">): AgentMember | undefined {
  const found = members.filter(({ Tags }) => Tags.id === peer.id);
  return found.find(({ Status }) => Status === "alive") ?? found[0];
}

function isCurrent(
  server: PeerProgress | undefined,
  leader: PeerProgress | undefined,
  settings: AutopilotSettings,
): boolean {
  if (server === undefined || leader === undefined || server.lastContact === null) return false;
  return (
    server.lastContact <= milliseconds(settings.LastContactThreshold) &&
    server.lastTerm === leader.lastTerm &&
    leader.lastIndex - server.lastIndex <= settings.MaxTrailingLogs
  );
}

function contactText(lastContact: number | null): string {
  return lastContact === null ? "never" : formatDuration(Math.round(lastContact * 1e6));
}
