import type { Job, JobDiff, JobVersionsResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { formatUnixNano, keyValues, printJson } from "../format.js";
import type { CommandIo } from "../io.js";
import { diffText } from "./diff-text.js";
import { findJob } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface HistoryFlags {
  readonly p?: boolean;
  readonly full?: boolean;
  readonly version?: string;
  readonly json?: boolean;
}

export function defineHistory(parent: Command): void {
  const command = parent
    .command("history <job>")
    .summary("versions of a job")
    .description(
      "Lists the kept versions of a job, newest first, and how each differs from the one before it.",
    )
    .option("-p", "show the differences of each version from the one before it")
    .option("--full", "show each version as JSON")
    .option("--version <number>", "only this version")
    .option("--json", "the versions as the API answers them")
    .action((id: string, _flags: unknown, self: Command) => history(openSession(self), id, self.opts()));
  withExamples(
    withApiFlags(command),
    ["drover job history web", "when it was changed"],
    ["drover job history -p web", "and what was changed"],
  );
}

async function history(session: Session, id: string, flags: HistoryFlags): Promise<void> {
  const { client, io } = session;
  if (flags.json === true && (flags.p === true || flags.full === true)) {
    throw new ExitError(1, "-json is the whole answer: -p and -full don't go with it");
  }
  const found = await findJob(session, id);
  const path = `/v1/job/${encodeURIComponent(found.ID)}/versions`;
  const { value } = await attempt(
    "Error retrieving job versions",
    client.get<JobVersionsResponse>(path, { namespace: found.Namespace, diffs: flags.p === true }),
  );
  const versions = value.Versions.map((job, at) => ({ job, diff: value.Diffs?.[at] ?? null }));
  const wanted = flags.version;
  const shown =
    wanted === undefined ? versions : versions.filter(({ job }) => String(job.Version) === wanted);
  if (shown.length === 0) {
    const known = value.Versions.map((job) => job.Version).join(", ");
    throw new ExitError(1, `Job "${found.ID}" has no version ${wanted}; kept are ${known}`);
  }
  if (flags.json === true) {
    io.out(printJson(wanted === undefined ? value.Versions : shown[0]!.job));
    return;
  }
  io.out(shown.map(({ job, diff }) => versionText(job, diff, flags.full === true, io)).join("\n\n"));
}

function versionText(job: Job, diff: JobDiff | null, full: boolean, io: CommandIo): string {
  const blocks = [
    keyValues([
      ["Version", String(job.Version)],
      ["Stable", String(job.Stable)],
      ["Submit Date", formatUnixNano(job.SubmitTime)],
    ]),
  ];
  if (diff !== null) blocks.push(`Diff        =\n${diffText(diff, true, io)}`);
  if (full) blocks.push(`Full        =\n${printJson(job)}`);
  return blocks.join("\n");
}
