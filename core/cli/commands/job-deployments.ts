import type { Deployment } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { printJson } from "../format.js";
import { type FollowFlags, gather, promoteDeployment, withFollowFlags } from "./deployment.js";
import { deploymentTable, deploymentText } from "./deployment-text.js";
import { findJob } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface ListFlags {
  readonly all?: boolean;
  readonly latest?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

export function defineDeployments(parent: Command): void {
  const command = parent
    .command("deployments <job>")
    .summary("the roll-outs of a job")
    .description("Lists the deployments of a job, newest first.")
    .option("--latest", "only the newest, in full")
    .option("--all", "those of earlier jobs with the same id too")
    .option("--verbose", "whole ids")
    .option("--json", "the API's answer instead of tables")
    .action((id: string, _flags: unknown, self: Command) => list(openSession(self), id, self.opts()));
  withExamples(
    withApiFlags(command),
    ["drover job deployments web", "all of job web"],
    ["drover job deployments -latest web", "how the last one goes"],
  );
}

export function definePromote(parent: Command): void {
  const command = parent
    .command("promote <job>")
    .summary("let a job's healthy canaries become its version")
    .description("Promotes the canaries of the job's latest deployment.")
    .option("--group <name>", "only this group; may be given again", gather, [])
    .action((id: string, _flags: unknown, self: Command) => promote(openSession(self), id, self.opts()));
  withExamples(withFollowFlags(command), ["drover job promote web", "replace the old version of job web"]);
}

async function list(session: Session, id: string, flags: ListFlags): Promise<void> {
  const { client, io } = session;
  const job = await findJob(session, id);
  const path = `/v1/job/${encodeURIComponent(job.ID)}/deployment`;
  const namespace = job.Namespace;
  if (flags.latest === true) {
    const { value } = await attempt(
      "Error retrieving deployments",
      client.get<Deployment | null>(path, { namespace }),
    );
    if (flags.json === true) io.out(printJson(value));
    else io.out(value === null ? "No deployment found" : deploymentText(value, flags.verbose === true, io));
    return;
  }
  const answer = client.get<Deployment[]>(`${path}s`, { namespace, all: flags.all === true });
  const { value } = await attempt("Error retrieving deployments", answer);
  if (flags.json === true) io.out(printJson(value));
  else io.out(value.length === 0 ? "No deployments found" : deploymentTable(value, flags.verbose));
}

async function promote(
  session: Session,
  id: string,
  flags: FollowFlags & { readonly group: readonly string[] },
): Promise<void> {
  const job = await findJob(session, id);
  const answer = session.client.get<Deployment | null>(`/v1/job/${encodeURIComponent(job.ID)}/deployment`, {
    namespace: job.Namespace,
  });
  const { value } = await attempt("Error retrieving deployments", answer);
  if (value === null) throw new ExitError(1, `Job "${job.ID}" has no deployment to promote`);
  await promoteDeployment(session, value, flags);
}
