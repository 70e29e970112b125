import type { NodeDrainUpdateResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { HOUR, parseDuration } from "../../jobspec/duration.js";
import { DrainMonitor, type DrainMonitorOptions } from "../drain-monitor.js";
import { ExitError } from "../exit.js";
import { gather } from "./deployment.js";
import { resolveNode } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface DrainFlags {
  readonly enable?: boolean;
  readonly disable?: boolean;
  readonly deadline?: string;
  readonly force?: boolean;
  readonly noDeadline?: boolean;
  readonly ignoreSystem?: boolean;
  readonly keepIneligible?: boolean;
  readonly message?: string;
  readonly meta: readonly string[];
  readonly self?: boolean;
  readonly detach?: boolean;
  readonly monitor?: boolean;
  readonly yes?: boolean;
}

export function defineDrain(parent: Command): void {
  const command = parent
    .command("drain [node]")
    .summary("move everything off a node")
    .description(
      "Takes a node out of scheduling and moves what runs there to others, as many at once as the migrate block of each\n" +
        "group allows, the next ones when the replacements are healthy. Batch jobs may finish until the deadline, system jobs\n" +
        "leave last. Then it follows the drain until the node is empty; the node stays ineligible.",
    )
    .option("--enable", "drain the node")
    .option("--disable", "end the drain, and let the node take allocations again")
    .option("--deadline <duration>", "when what is left is forced off (default 1h)")
    .option("--force", "force everything off at once")
    .option("--no-deadline", "wait as long as it takes")
    .option("--ignore-system", "leave system jobs running")
    .option("--keep-ineligible", "with -disable: the node still takes nothing new")
    .option("-m, --message <text>", "why, for the record of the drain")
    .option("--meta <key=value>", "more for that record; may be given again", gather, [])
    .option("--self", "the node of the agent that is asked")
    .option("--detach", "don't follow the drain")
    .option("--monitor", "follow a drain that is under way, change nothing")
    .option("--yes", "also where only the beginning of the node's id was given")
    .action((id: string | undefined, _flags: unknown, self: Command) => {
      // To commander, -no-deadline is the opposite of -deadline.
      const { deadline, ...flags } = self.opts<
        Omit<DrainFlags, "deadline"> & { deadline?: string | boolean }
      >();
      return drain(openSession(self), id, {
        ...flags,
        ...(typeof deadline === "string" ? { deadline } : {}),
        noDeadline: deadline === false,
      });
    });
  withExamples(
    withApiFlags(command),
    ["drover node drain -enable -m 'new disk' c1fe0aab", "empty the node, and follow that"],
    ["drover node drain -enable -deadline 10m -self", "this machine's node, ten minutes for everything"],
    ["drover node drain -disable c1fe0aab-ae22-a84f-64cf-0a0a63ac126a", "it takes allocations again"],
  );
}

async function drain(session: Session, id: string | undefined, flags: DrainFlags): Promise<void> {
  checkFlags(id, flags);
  const { client, io } = session;
  const nodeId = await resolveNode(session, id, flags.self === true);
  if (flags.monitor === true) {
    await monitor(session, nodeId, { since: 0, ignoreSystem: flags.ignoreSystem === true });
    return;
  }
  const verb = flags.enable === true ? "enable" : "disable";
  if (flags.self !== true && nodeId !== id && flags.yes !== true) {
    throw new ExitError(
      1,
      `"${id}" is only the beginning of node "${nodeId}". Give the whole id, or -yes to ${verb} its drain mode.`,
    );
  }
  const DrainSpec =
    flags.enable === true
      ? { Deadline: deadlineOf(flags), IgnoreSystemJobs: flags.ignoreSystem === true }
      : null;
  const answer = client.put<NodeDrainUpdateResponse>(`/v1/node/${nodeId}/drain`, {
    NodeID: nodeId,
    DrainSpec,
    MarkEligible: flags.disable === true && flags.keepIneligible !== true,
    Meta: metaOf(flags),
  });
  const { value } = await attempt("Error updating drain specification", answer);
  if (flags.disable === true) {
    io.out(`Node "${nodeId}" drain strategy unset`);
    return;
  }
  if (flags.detach === true) {
    io.out(`Node "${nodeId}" drain strategy set`);
    return;
  }
  await monitor(session, nodeId, { since: value.NodeModifyIndex, ignoreSystem: flags.ignoreSystem === true });
}

async function monitor({ client, io }: Session, nodeId: string, options: DrainMonitorOptions): Promise<void> {
  await attempt("Error monitoring drain", new DrainMonitor(client, io, nodeId, options).follow());
}

function checkFlags(id: string | undefined, flags: DrainFlags): void {
  const modes = [flags.enable, flags.disable, flags.monitor].filter((flag) => flag === true);
  if (modes.length !== 1) {
    throw new ExitError(1, "Exactly one of the '-enable', '-disable' or '-monitor' flags must be set");
  }
  if (id === undefined && flags.self !== true)
    throw new ExitError(1, "Node ID must be specified if -self isn't being used");
  if (id !== undefined && flags.self === true) throw new ExitError(1, "Name a node or give -self, not both");
  const limits = [flags.deadline !== undefined, flags.force === true, flags.noDeadline === true];
  if (limits.filter(Boolean).length > 1) {
    throw new ExitError(1, "-deadline, -force and -no-deadline exclude one another");
  }
  if (flags.disable === true && (limits.some(Boolean) || flags.ignoreSystem === true)) {
    throw new ExitError(1, "-disable can't be used with -deadline, -force, -no-deadline or -ignore-system");
  }
}

/** Nanoseconds; 0: none, negative: at once. */
function deadlineOf(flags: DrainFlags): number {
  if (flags.force === true) return -1e9;
  if (flags.noDeadline === true) return 0;
  if (flags.deadline === undefined) return HOUR;
  const deadline = parseDuration(flags.deadline);
  if (deadline === undefined || deadline <= 0) {
    throw new ExitError(
      1,
      `Failed to parse deadline "${flags.deadline}": it must be a duration above zero, like "30m"; -no-deadline is none, -force is at once`,
    );
  }
  return deadline;
}

function metaOf(flags: DrainFlags): Record<string, string> | null {
  const meta: Record<string, string> = flags.message === undefined ? {} : { message: flags.message };
  for (const pair of flags.meta) {
    const at = pair.indexOf("=");
    if (at < 1) throw new ExitError(1, `-meta "${pair}" is no key=value pair`);
    meta[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return Object.keys(meta).length === 0 ? null : meta;
}
