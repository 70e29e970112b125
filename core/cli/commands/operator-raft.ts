import type { LeadershipTransfer, RaftConfiguration } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { columns, printJson } from "../format.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface ListFlags {
  readonly stale?: boolean;
  readonly json?: boolean;
}

interface PeerFlags {
  readonly peerId?: string;
  readonly peerAddress?: string;
}

/** `operator raft list-peers`, `remove-peer` and `transfer-leadership` */
export function defineRaft(operator: Command): void {
  const raft = operator
    .command("raft")
    .summary("the servers that decide together")
    .description(
      "The servers of the Raft group: they keep the cluster's log together, and more than half of those with a vote must be\n" +
        "there for anything to change.",
    );
  const list = raft
    .command("list-peers")
    .summary("who takes part, and who leads")
    .description("Lists the servers of the Raft group.")
    .option("--stale", "ask the server at hand alone, also while none leads")
    .option("--json", "the API's answer instead of a table")
    .action((_flags: unknown, self: Command) => listPeers(openSession(self), self.opts()));
  withExamples(
    withApiFlags(list),
    ["drover operator raft list-peers", "ids and addresses of the servers, as the other commands take them"],
    [
      "drover operator raft list-peers -stale",
      "what this server knows, when the cluster has lost its quorum",
    ],
  );

  const remove = raft
    .command("remove-peer")
    .summary("take a server out")
    .description(
      "Takes a server out of the Raft group that will not come back: it counts no more when the others vote. A server that\n" +
        "runs leaves better by itself, and one that failed is removed by autopilot where it may.",
    )
    .option("--peer-id <id>", "the server's id")
    .option("--peer-address <address>", "the server's address, host:port")
    .action((_flags: unknown, self: Command) => removePeer(openSession(self), self.opts()));
  withExamples(withApiFlags(remove), [
    "drover operator raft remove-peer -peer-id=c13f9998-a0f3-d765-0b52-55a0b3ce5f88",
    "the server with that id in list-peers",
  ]);

  const transfer = raft
    .command("transfer-leadership")
    .summary("let another server lead")
    .description(
      "Hands leadership to another server with a vote, without the pause of an election: before the leader's machine is\n" +
        "maintained, or to the first server that was upgraded.",
    )
    .option("--peer-id <id>", "id of the server that shall lead")
    .option("--peer-address <address>", "its address, host:port")
    .action((_flags: unknown, self: Command) => transferLeadership(openSession(self), self.opts()));
  withExamples(withApiFlags(transfer), [
    "drover operator raft transfer-leadership -peer-address=10.0.0.2:4647",
    "the server at that address in list-peers",
  ]);
}

async function listPeers({ client, io }: Session, flags: ListFlags): Promise<void> {
  const query = flags.stale === true ? { stale: true } : {};
  const { value } = await attempt(
    "Error retrieving peers",
    client.get<RaftConfiguration>("/v1/operator/raft/configuration", query),
  );
  if (flags.json === true) {
    io.out(printJson(value));
    return;
  }
  io.out(
    columns([
      ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"],
      ...value.Servers.map((server) => [
        server.Node,
        server.ID,
        server.Address,
        server.Leader ? "leader" : "follower",
        String(server.Voter),
        server.RaftProtocol,
      ]),
    ]),
  );
}

async function removePeer({ client, io }: Session, flags: PeerFlags): Promise<void> {
  const peer = peerOf(flags, "remove");
  await attempt("Error removing peer", client.delete("/v1/operator/raft/peer", peer.query));
  io.out(`Removed peer with ${peer.text}`);
}

async function transferLeadership({ client, io }: Session, flags: PeerFlags): Promise<void> {
  const peer = peerOf(flags, "transfer leadership to");
  const { value } = await attempt(
    "Error transferring leadership",
    client.put<LeadershipTransfer>("/v1/operator/raft/transfer-leadership", {}, peer.query),
  );
  const nameOf = ({ Node, ID, Address }: LeadershipTransfer["To"]): string => `${Node} (${ID} at ${Address})`;
  io.out(
    value.Noop
      ? `Peer with ${peer.text} leads already: ${nameOf(value.To)}`
      : `Transferred leadership from ${nameOf(value.From)} to ${nameOf(value.To)}`,
  );
}

/** Throws ExitError 1 unless exactly one of the flags is given. */
function peerOf(
  { peerId, peerAddress }: PeerFlags,
  what: string,
): { query: Record<string, string>; text: string } {
  if (peerId && peerAddress) throw new ExitError(1, "Give -peer-id or -peer-address, not both.");
  if (peerId) return { query: { id: peerId }, text: `id "${peerId}"` };
  if (peerAddress) return { query: { address: peerAddress }, text: `address "${peerAddress}"` };
  throw new ExitError(
    1,
    `Name the server to ${what} by -peer-id or -peer-address: drover operator raft list-peers shows both.`,
  );
}
