import type {
  AgentMember,
  Consensus,
  LeadershipTransfer,
  Peer,
  RaftConfiguration,
  RaftPeerName,
  RaftServer,
} from "@drover/plugin-sdk";
import { EndpointError, NotLeaderError } from "@drover/plugin-sdk";

/** `Operator.Raft*`: who takes part in consensus, and who leads. */
export class OperatorRaft {
  constructor(
    private readonly consensus: Consensus,
    private readonly members: () => readonly AgentMember[],
  ) {}

  raftConfiguration(): RaftConfiguration {
    const index = Number(this.consensus.stats().latest_configuration_index ?? 0);
    const nameOf = this.#names();
    return { Index: index, Servers: this.consensus.peers().map((peer) => serverOf(peer, nameOf)) };
  }

  async removeRaftPeer(name: RaftPeerName): Promise<void> {
    const { consensus } = this;
    const { membership } = consensus;
    if (membership === undefined) {
      throw new EndpointError(
        400,
        "the consensus engine of this cluster keeps its own members: remove the server there, with the engine's tools",
      );
    }
    exactlyOne(name, "remove");
    if (!consensus.isLeader()) throw new NotLeaderError(consensus.leader());
    const peer = this.#find(name);
    const voters = consensus.peers().filter((each) => each.voter);
    if (peer.voter && voters.length === 1) {
      throw new EndpointError(
        400,
        `${peer.id} at ${peer.address} is the only server with a vote: without it the cluster could decide nothing. Add another server before you remove it`,
      );
    }
    await membership.remove(peer.id);
  }

  async transferLeadership(name: RaftPeerName): Promise<LeadershipTransfer> {
    const { consensus } = this;
    exactlyOne(name, "transfer leadership to");
    if (!consensus.isLeader()) throw new NotLeaderError(consensus.leader());
    const peer = this.#find(name);
    const nameOf = this.#names();
    const from = serverOf(consensus.peers().find((each) => each.id === consensus.id) ?? peer, nameOf);
    if (peer.id === consensus.id) return { From: from, To: from, Noop: true };
    if (!peer.voter) {
      throw new EndpointError(
        400,
        `${peer.id} at ${peer.address} has no vote, and only a server with a vote can lead: wait until autopilot has promoted it`,
      );
    }
    await consensus.transferLeadership(peer.id);
    const to = serverOf({ ...peer, leader: true }, nameOf);
    return { From: { ...from, Leader: false }, To: to, Noop: false };
  }

  /** Throws an EndpointError, with Nomad's text, for a server that takes no part. */
  #find({ id, address }: RaftPeerName): Peer {
    const peers = this.consensus.peers();
    const peer = peers.find((each) => (id === undefined ? each.address === address : each.id === id));
    if (peer === undefined) {
      const what = id === undefined ? `address ${JSON.stringify(address)}` : `id ${JSON.stringify(id)}`;
      throw new EndpointError(500, `${what} was not found in the Raft configuration`);
    }
    return peer;
  }

  /** Names and protocols of the servers, by id and by address. */
  #names(): ReadonlyMap<string, AgentMember> {
    const found = new Map<string, AgentMember>();
    for (const member of this.members()) {
      found.set(`${member.Tags.rpc_addr ?? member.Addr}:${member.Tags.port ?? ""}`, member);
    }
    for (const member of this.members()) if (member.Tags.id !== undefined) found.set(member.Tags.id, member);
    return found;
  }
}

function exactlyOne({ id, address }: RaftPeerName, what: string): void {
  if (!id && !address) {
    throw new EndpointError(
      400,
      `Must specify either ?id with the server's ID or ?address with IP:port of peer to ${what}`,
    );
  }
  if (id && address) throw new EndpointError(400, "Must specify only one of ?id or ?address");
}

function serverOf(peer: Peer, members: ReadonlyMap<string, AgentMember>): RaftServer {
  const member = members.get(peer.id) ?? members.get(peer.address);
  return {
    Address: peer.address,
    ID: peer.id,
    Leader: peer.leader,
    Node: member?.Name ?? "(unknown)",
    RaftProtocol: member?.Tags.raft_vsn ?? "3",
    Voter: peer.voter,
  };
}
