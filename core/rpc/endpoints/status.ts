import type { AgentInfo, AgentMember, Consensus, StatusEndpoint } from "@drover/plugin-sdk";
import { EndpointError } from "@drover/plugin-sdk";
import type { BlockedEvals } from "../../server/evaluations/blocked-evals.js";
import type { EvalBroker } from "../../server/evaluations/eval-broker.js";
import type { MemberList } from "../../server/members/member-list.js";
import type { Consistency } from "../forwarding/consistency.js";

/** `Status.*`: who leads, who is there, and whether this server can serve. */
export class Status implements StatusEndpoint {
  constructor(
    private readonly consensus: Consensus,
    private readonly broker: EvalBroker,
    private readonly blocked: BlockedEvals,
    private readonly agent: AgentInfo,
    private readonly consistency: Consistency,
    private readonly memberList: MemberList,
    /** The identifier of the cluster, empty while there is none. */
    private readonly cluster: () => string,
  ) {}

  leader(): string {
    return this.consensus.leader()?.address ?? "";
  }

  peers(): readonly string[] {
    return this.consensus.peers().map((peer) => peer.address);
  }

  members(): readonly AgentMember[] {
    return this.memberList.members();
  }

  async join(addresses: readonly string[]): Promise<number> {
    if (addresses.length === 0) throw new EndpointError(400, "missing address to join");
    return this.memberList.join(addresses);
  }

  async forceLeave(node: string): Promise<void> {
    if (node === "") throw new EndpointError(400, "missing node to force leave");
    const known = this.members().some(({ Name }) => Name === node);
    await this.memberList.forceLeave(known ? node : `${node}.${this.agent.region}`);
  }

  health(): { readonly ok: boolean; readonly message: string } {
    return this.consensus.leader() === undefined
      ? { ok: false, message: "No cluster leader" }
      : { ok: true, message: "ok" };
  }

  catchUp(confirmed: boolean): Promise<void> {
    return this.consistency.catchUp(confirmed);
  }

  lastContact(): number | null {
    return this.consistency.lastContact();
  }

  stats(): Readonly<Record<string, Readonly<Record<string, string>>>> {
    return {
      nomad: {
        server: "true",
        leader: String(this.consensus.isLeader()),
        leader_addr: this.leader(),
        bootstrap: String(this.agent.config.server.bootstrap_expect === 1),
        cluster_id: this.cluster(),
        known_regions: String(new Set(this.members().map(({ Tags }) => Tags.region)).size),
      },
      raft: texts(this.consensus.stats()),
      broker: texts({ ...this.broker.stats(), enabled: this.broker.enabled }),
      blocked_evals: texts({ ...this.blocked.stats() }),
      runtime: {
        arch: process.arch,
        version: process.version,
        rss_bytes: String(process.memoryUsage.rss()),
      },
    };
  }
}

function texts(values: Readonly<Record<string, string | number | boolean>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, String(value)]));
}
