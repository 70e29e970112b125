import type { Allocation, AllocResourceUsage, HostStats, Node, NodeListStub } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { printJson } from "../format.js";
import { findNode } from "./lookup.js";
import { defineDrain } from "./node-drain.js";
import { nodeTable } from "./node-table.js";
import { nodeText } from "./node-text.js";
import { attempt, messageOf, openSession, type Session, withApiFlags, withExamples } from "./session.js";

export interface NodeStatusFlags {
  readonly self?: boolean;
  readonly stats?: boolean;
  readonly allocs?: boolean;
  readonly short?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

/** `node status|eligibility|drain|join-token` */
export function register(program: Command): void {
  const node = program
    .command("node")
    .summary("look at, drain and admit nodes")
    .description("Everything about nodes.");
  const status = node
    .command("status [node]")
    .summary("how nodes do")
    .description("Lists the nodes, or shows one: what it has, what of that is taken, and what runs on it.")
    .option("--self", "the node of the agent that is asked")
    .option("--stats", "usage of each CPU, memory and each disk")
    .option("--allocs", "in the list: how many allocations each node runs")
    .option("--short", "only what the node is, and its allocations")
    .option("--quiet", "in the list: ids only")
    .option("--verbose", "whole ids, drivers, attributes")
    .option("--json", "the API's answer instead of tables")
    .action((id: string | undefined, _flags: unknown, self: Command) =>
      nodeStatus(openSession(self), id, self.opts()),
    );
  withExamples(
    withApiFlags(status),
    ["drover node status", "all nodes"],
    ["drover node status -self", "the node of this machine"],
    ["drover node status -verbose c1fe0aab", "the node whose id begins so, with its attributes"],
  );
  const eligibility = node
    .command("eligibility [node]")
    .summary("let a node take new allocations, or not")
    .description(
      "Says whether schedulers may place new allocations on a node. What runs there goes on running.",
    )
    .option("--enable", "it may")
    .option("--disable", "it may not")
    .option("--self", "the node of the agent that is asked")
    .action((id: string | undefined, _flags: unknown, self: Command) =>
      setEligibility(openSession(self), id, self.opts()),
    );
  withExamples(withApiFlags(eligibility), [
    "drover node eligibility -disable c1fe",
    "nothing new on that node",
  ]);
  defineDrain(node);
  const token = node
    .command("join-token")
    .summary("make a token with which one new node can join")
    .description(
      "Prints a one-time token. Give it to the new node in DROVER_JOIN_TOKEN or its configuration: it carries the\n" +
        "cluster's public key, so that the node knows its servers, and a secret by which they know the node.",
    )
    .option("--ttl <duration>", "how long it can be used", "15m")
    .action((_flags: unknown, self: Command) => joinToken(openSession(self), self.opts()));
  withExamples(withApiFlags(token), [
    'DROVER_JOIN_TOKEN="$(drover node join-token -ttl 1h)"',
    "a token for the next hour, kept off the screen",
  ]);
}

export async function nodeStatus(
  session: Session,
  id: string | undefined,
  flags: NodeStatusFlags,
): Promise<void> {
  const { client, io } = session;
  if (id === undefined && flags.self !== true) {
    const { value } = await attempt("Error querying node status", client.get<NodeListStub[]>("/v1/nodes"));
    if (flags.json === true) io.out(printJson(value));
    else if (flags.quiet === true) for (const node of value) io.out(node.ID);
    else if (value.length > 0) {
      const running = flags.allocs === true ? await runningPerNode(session, value) : undefined;
      io.out(nodeTable(value, { verbose: flags.verbose === true, running }));
    }
    return;
  }
  const nodeId = await resolveNode(session, id, flags.self === true);
  const { value: node } = await attempt("Error querying node info", client.get<Node>(`/v1/node/${nodeId}`));
  if (flags.json === true) {
    io.out(printJson(node));
    return;
  }
  const allocations = await allocationsOf(session, nodeId);
  const options = {
    verbose: flags.verbose === true,
    short: flags.short === true,
    stats: flags.stats === true,
  };
  const measured = options.short ? { host: undefined, hostError: "" } : await hostStats(session, nodeId);
  const usage = measured.host === undefined ? [] : await usageOf(session, allocations);
  io.out(nodeText({ node, allocations, usage, ...measured }, options, io));
}

export async function resolveNode(session: Session, id: string | undefined, self: boolean): Promise<string> {
  if (!self) return (await findNode(session, id!)).ID;
  const answer = session.client.get<{ stats?: { client?: { node_id?: string } } }>("/v1/agent/self");
  const { value } = await attempt("Error querying agent info", answer);
  const own = value.stats?.client?.node_id;
  if (own === undefined || own === "") {
    throw new ExitError(
      1,
      "The agent that was asked runs no client: name a node, or ask another agent with -address",
    );
  }
  return own;
}

async function allocationsOf({ client }: Session, nodeId: string): Promise<Allocation[]> {
  const answer = client.get<Allocation[]>(`/v1/node/${nodeId}/allocations`);
  return (await attempt("Error querying node allocations", answer)).value;
}

async function runningPerNode(
  session: Session,
  nodes: readonly NodeListStub[],
): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const node of nodes) {
    const allocations = await allocationsOf(session, node.ID);
    counts.set(node.ID, allocations.filter((alloc) => alloc.ClientStatus === "running").length);
  }
  return counts;
}

async function hostStats(
  { client }: Session,
  nodeId: string,
): Promise<{ host: HostStats | undefined; hostError: string }> {
  try {
    return {
      host: (await client.get<HostStats>("/v1/client/stats", { node_id: nodeId })).value,
      hostError: "",
    };
  } catch (error) {
    // A node that is down or cut off is shown all the same, without what only it knows.
    return { host: undefined, hostError: messageOf(error) };
  }
}

/** Allocations end while they are asked: those that don't answer are left out. */
async function usageOf(
  { client }: Session,
  allocations: readonly Allocation[],
): Promise<AllocResourceUsage[]> {
  const running = allocations.filter((alloc) => alloc.ClientStatus === "running");
  const answers = await Promise.allSettled(
    running.map((alloc) => client.get<AllocResourceUsage>(`/v1/client/allocation/${alloc.ID}/stats`)),
  );
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value.value] : []));
}

async function setEligibility(
  session: Session,
  id: string | undefined,
  flags: { readonly enable?: boolean; readonly disable?: boolean; readonly self?: boolean },
): Promise<void> {
  if ((flags.enable === true) === (flags.disable === true)) {
    throw new ExitError(1, "Either the '-enable' or '-disable' flag must be set");
  }
  if (id === undefined && flags.self !== true)
    throw new ExitError(1, "Node ID must be specified if -self isn't being used");
  const nodeId = await resolveNode(session, id, flags.self === true);
  const Eligibility = flags.enable === true ? "eligible" : "ineligible";
  const answer = session.client.put(`/v1/node/${nodeId}/eligibility`, { NodeID: nodeId, Eligibility });
  await attempt("Error updating scheduling eligibility", answer);
  session.io.out(`Node "${nodeId}" scheduling eligibility set: ${Eligibility} for scheduling`);
}

async function joinToken({ client, io }: Session, flags: { readonly ttl: string }): Promise<void> {
  const answer = client.put<{ JoinToken: string }>("/v1/operator/join-token", { TTL: flags.ttl });
  io.out((await attempt("Error making a join token", answer)).value.JoinToken);
}
