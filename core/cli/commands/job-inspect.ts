import type { Job } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { printJson } from "../format.js";
import { findJob } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface InspectFlags {
  readonly version?: string;
}

export function defineInspect(parent: Command): void {
  const command = parent
    .command("inspect <job>")
    .summary("print a job as it was submitted")
    .description("Prints the specification of a job as JSON; it can be changed and given to job run again.")
    .option("--version <number>", "an earlier version of the job")
    .option("--json", "always the case; taken for scripts")
    .action((id: string, _flags: unknown, self: Command) => inspect(openSession(self), id, self.opts()));
  withExamples(
    withApiFlags(command),
    ["drover job inspect web > web.json", "the job as it runs"],
    ["drover job inspect -version 0 web", "as it was first"],
  );
}

async function inspect(session: Session, id: string, flags: InspectFlags): Promise<void> {
  const found = await findJob(session, id);
  const job = await load(session, found.ID, found.Namespace, flags.version);
  // Job-wide Migrate and Reschedule are read from files but never stored: shown as Nomad's client shows them.
  session.io.out(printJson({ Job: { ...job, Migrate: null, Reschedule: null } }));
}

async function load(
  { client }: Session,
  id: string,
  namespace: string,
  version: string | undefined,
): Promise<Job> {
  const path = `/v1/job/${encodeURIComponent(id)}`;
  if (version === undefined) {
    return (await attempt("Error inspecting job", client.get<Job>(path, { namespace }))).value;
  }
  const kept = client.get<{ Versions: Job[] }>(`${path}/versions`, { namespace });
  const { value } = await attempt("Error retrieving versions", kept);
  const found = value.Versions.find((candidate) => String(candidate.Version) === version);
  if (found === undefined) {
    const known = value.Versions.map((candidate) => candidate.Version).join(", ");
    throw new ExitError(1, `Job "${id}" has no version ${version}; kept are ${known}`);
  }
  return found;
}
