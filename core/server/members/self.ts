import type { AgentInfo } from "@drover/plugin-sdk";
import { splitHostPort } from "../../config/addresses.js";
import { DEFAULT_PORTS } from "../../config/index.js";
import type { SelfRecord } from "./members.js";

/** Protocol versions that Nomad 1.1's tools look for. */
const VSN = "1";
const RAFT_VSN = "3";

/** What this server says of itself, with the tags of a Nomad server. */
export function selfRecord(agent: AgentInfo, id: string): SelfRecord {
  const { bootstrap_expect } = agent.config.server;
  const serf = splitHostPort(agent.advertise.serf, DEFAULT_PORTS.serf);
  const rpc = splitHostPort(agent.advertise.rpc, DEFAULT_PORTS.rpc);
  return {
    name: serverName(agent),
    addr: serf.host,
    port: serf.port,
    tags: {
      ...(bootstrap_expect === 1 ? { bootstrap: "1" } : {}),
      build: agent.version,
      dc: agent.datacenter,
      expect: String(bootstrap_expect),
      id,
      mvn: VSN,
      port: String(rpc.port),
      raft_vsn: RAFT_VSN,
      region: agent.region,
      role: "nomad",
      rpc_addr: rpc.host,
      vsn: VSN,
    },
  };
}

/** `<node>.<region>`. */
export function serverName({ nodeName, region }: Pick<AgentInfo, "nodeName" | "region">): string {
  return `${nodeName}.${region}`;
}
