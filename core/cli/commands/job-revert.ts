import type { JobRegisterResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { type FollowFlags, follow, withFollowFlags } from "./deployment.js";
import { findJob } from "./lookup.js";
import { attempt, openSession, type Session, withExamples } from "./session.js";

export function defineRevert(parent: Command): void {
  const command = parent
    .command("revert <job> <version>")
    .summary("go back to an earlier version of a job")
    .description("Registers an earlier version of a job anew, as its newest one, and follows the evaluation.")
    .action((id: string, version: string, _flags: unknown, self: Command) =>
      revert(openSession(self), id, version, self.opts()),
    );
  withExamples(withFollowFlags(command), [
    "drover job revert web 3",
    'as version 3 was: "drover job history web" lists them',
  ]);
}

function versionNumber(text: string): number {
  if (!/^\d+$/.test(text))
    throw new ExitError(1, `Error converting version "${text}": it must be a whole number`);
  return Number(text);
}

async function revert(session: Session, id: string, version: string, flags: FollowFlags): Promise<void> {
  const { client, io } = session;
  const JobVersion = versionNumber(version);
  const job = await findJob(session, id);
  const answer = client.put<JobRegisterResponse>(
    `/v1/job/${encodeURIComponent(job.ID)}/revert`,
    { JobID: job.ID, JobVersion, EnforcePriorVersion: null },
    { namespace: job.Namespace },
  );
  const { value } = await attempt("Error reverting job", answer);
  if (value.Warnings !== "") io.out(`Job Warnings:\n${value.Warnings}\n`);
  if (flags.detach === true && value.EvalID !== "") io.out(`Evaluation ID: ${value.EvalID}`);
  await follow(session, value.EvalID, flags);
}
