import type { AgentInfo, AgentMember, Consensus, StatusEndpoint } from "@drover/plugin-sdk";
import type { BlockedEvals } from "../../server/evaluations/blocked-evals.js";
import type { EvalBroker } from "../../server/evaluations/eval-broker.js";
import type { Consistency } from "../forwarding/consistency.js";

/** `Status.*`: who leads, who is there, and whether this server can serve. */
export class Status implements StatusEndpoint {
  constructor(
    private readonly consensus: Consensus,
    private readonly broker: EvalBroker,
    private readonly blocked: BlockedEvals,
    private readonly agent: AgentInfo,
    private readonly consistency: Consistency,
  ) {}

  leader(): string {
    return this.consensus.leader()?.address ?? "";
  }

  peers(): readonly string[] {
    return this.consensus.peers().map((peer) => peer.address);
  }

  /** This server alone, in the shape that gossip gives; a gossip plugin adds the others. */
  members(): readonly AgentMember[] {
    const [host = "", serf = "0"] = splitAddress(this.agent.advertise.serf);
    const [rpcHost = "", rpc = "0"] = splitAddress(this.agent.advertise.rpc);
    return [
      {
        Name: `${this.agent.nodeName}.${this.agent.region}`,
        Addr: host,
        Port: Number(serf),
        Status: "alive",
        ProtocolMin: 1,
        ProtocolMax: 5,
        ProtocolCur: 2,
        DelegateMin: 2,
        DelegateMax: 5,
        DelegateCur: 4,
        Tags: {
          bootstrap: "1",
          build: this.agent.version,
          dc: this.agent.datacenter,
          expect: String(this.agent.config.server.bootstrap_expect),
          id: this.consensus.id,
          port: rpc,
          region: this.agent.region,
          role: "nomad",
          rpc_addr: rpcHost,
          vsn: "1",
        },
      },
    ];
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
        known_regions: "1",
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

function splitAddress(address: string): [string, string] {
  const colon = address.lastIndexOf(":");
  return [address.slice(0, colon).replace(/^\[|\]$/g, ""), address.slice(colon + 1)];
}

function texts(values: Readonly<Record<string, string | number | boolean>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, String(value)]));
}
