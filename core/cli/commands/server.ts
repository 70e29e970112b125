import type { AgentJoinResponse, AgentMember, AgentMembersResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { columns, printJson } from "../format.js";
import { attempt, messageOf, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface MembersFlags {
  readonly detailed?: boolean;
  readonly json?: boolean;
}

/** `server members`, `server join` and `server force-leave` */
export function register(program: Command): void {
  const server = program
    .command("server")
    .summary("look at servers")
    .description("Everything about servers.");
  const members = server
    .command("members")
    .summary("the servers and who leads")
    .description("Lists the servers that the agent knows, and which of them leads its region.")
    .option("--detailed", "each server's tags")
    .option("--json", "the API's answer instead of a table")
    .action((_flags: unknown, self: Command) => serverMembers(openSession(self), self.opts()));
  withExamples(withApiFlags(members), ["drover server members", "who is there, who leads"]);
  const join = server
    .command("join")
    .summary("have the agent join other servers")
    .description(
      "Has the agent, a server, join others: from one of them it learns of all. Addresses are host or host:port, of the\n" +
        "servers' RPC port (4647 by default; Nomad's is that of its gossip, 4648).",
    )
    .argument("<address...>")
    .action((addresses: string[], _flags: unknown, self: Command) =>
      joinServers(openSession(self), addresses),
    );
  withExamples(withApiFlags(join), [
    "drover server join 10.0.0.2 10.0.0.3:4647",
    "until one of them answers",
  ]);
  const leave = server
    .command("force-leave")
    .summary("declare a failed server as left")
    .description(
      "Declares a server that failed as left: it is removed from its cluster. One that is alive is refused. The name is that\n" +
        "of server members, <name>.<region>; of the agent's own region the name alone is enough.",
    )
    .argument("<node>")
    .action(async (node: string, _flags: unknown, self: Command) => {
      const { client } = openSession(self);
      await attempt(
        `Error force-leaving server ${node}`,
        client.put(`/v1/agent/force-leave?node=${encodeURIComponent(node)}`, {}),
      );
    });
  withExamples(withApiFlags(leave), ["drover server force-leave server-3.global", "it will not come back"]);
}

async function joinServers({ client, io }: Session, addresses: readonly string[]): Promise<void> {
  const query = addresses.map((address) => `address=${encodeURIComponent(address)}`).join("&");
  const { value } = await attempt(
    "Error joining",
    client.put<AgentJoinResponse>(`/v1/agent/join?${query}`, {}),
  );
  if (value.error !== "") throw new ExitError(1, `Error joining: ${value.error}`);
  io.out(`Joined ${value.num_joined} servers successfully`);
}

async function serverMembers(session: Session, flags: MembersFlags): Promise<void> {
  const { client, io } = session;
  const { value } = await attempt(
    "Error querying servers",
    client.get<AgentMembersResponse>("/v1/agent/members"),
  );
  const members = value.Members.toSorted((a, b) => (a.Name < b.Name ? -1 : 1));
  if (flags.json === true) {
    io.out(printJson(members));
    return;
  }
  if (members.length === 0) {
    io.out("The agent doesn't know about server members");
    return;
  }
  if (flags.detailed === true) io.out(detailedTable(members));
  else io.out(memberTable(members, await leaders(session, members)));
}

/** Leaders' addresses by region; a region that does not answer is told on standard error. */
async function leaders({ client, io }: Session, members: readonly AgentMember[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (const region of new Set(members.map((member) => member.Tags.region ?? ""))) {
    try {
      found.add((await client.get<string>("/v1/status/leader", { region })).value);
    } catch (error) {
      io.err(`Error determining the leader of region "${region}": ${messageOf(error)}`);
    }
  }
  return found;
}

function memberTable(members: readonly AgentMember[], leading: ReadonlySet<string>): string {
  return columns([
    ["Name", "Address", "Port", "Status", "Leader", "Protocol", "Build", "Datacenter", "Region"],
    ...members.map((member) => [
      member.Name,
      member.Addr,
      String(member.Port),
      member.Status,
      String(leading.has(`${member.Tags.rpc_addr ?? member.Addr}:${member.Tags.port ?? ""}`)),
      String(member.ProtocolCur),
      member.Tags.build ?? "",
      member.Tags.dc ?? "",
      member.Tags.region ?? "",
    ]),
  ]);
}

function detailedTable(members: readonly AgentMember[]): string {
  return columns([
    ["Name", "Address", "Port", "Tags"],
    ...members.map((member) => [
      member.Name,
      member.Addr,
      String(member.Port),
      Object.entries(member.Tags)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, tag]) => `${name}=${tag}`)
        .join(","),
    ]),
  ]);
}
