import type { AgentInfo } from "@drover/plugin-sdk";
import { joinHostPort } from "../config/addresses.js";

/** What an agent says of itself before its log, in Nomad's layout. */
export function agentBanner(info: AgentInfo): string {
  const { addresses, ports, log_level } = info.config;
  const facts = new Map([
    [
      "Advertise Addrs",
      `HTTP: ${info.advertise.http}; RPC: ${info.advertise.rpc}; Serf: ${info.advertise.serf}`,
    ],
    [
      "Bind Addrs",
      `HTTP: ${joinHostPort(addresses.http, ports.http)}; RPC: ${joinHostPort(addresses.rpc, ports.rpc)}`,
    ],
    ["Client", String(info.clientEnabled)],
    ["Log Level", log_level],
    ["Region", `${info.region} (DC: ${info.datacenter})`],
    ["Server", String(info.serverEnabled)],
    ["Version", info.version],
  ]);
  const width = Math.max(...[...facts.keys()].map((key) => key.length)) + 7;
  const lines = [...facts].map(([key, value]) => `${key.padStart(width)}: ${value}`);
  return `==> Drover agent configuration:\n\n${lines.join("\n")}\n\n`;
}
