import type { Deployment, DeploymentUpdateResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { printJson } from "../format.js";
import { Monitor } from "../monitor.js";
import { deploymentTable, deploymentText } from "./deployment-text.js";
import { findDeployment } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface ShowFlags {
  readonly verbose?: boolean;
  readonly json?: boolean;
}

export interface FollowFlags {
  readonly detach?: boolean;
  readonly verbose?: boolean;
}

/** `deployment list|status|promote|fail|pause|resume` */
export function register(program: Command): void {
  const deployment = program
    .command("deployment")
    .summary("look at roll-outs, promote and stop them")
    .description(
      "A deployment is the roll-out of one version of a service job: a few allocations at once, the next ones when those\n" +
        "are healthy.",
    );
  const list = deployment
    .command("list")
    .summary("all deployments")
    .description("Lists the deployments, newest first.")
    .option("--verbose", "whole ids")
    .option("--json", "the API's answer instead of a table")
    .action((_flags: unknown, self: Command) => listAll(openSession(self), self.opts()));
  withExamples(withApiFlags(list), ["drover deployment list", "all of them"]);
  const status = deployment
    .command("status <deployment>")
    .summary("how a deployment goes")
    .description("Shows a deployment: what of each group is placed and healthy, and what it waits for.")
    .option("--verbose", "whole ids")
    .option("--json", "the API's answer instead of text")
    .action((id: string, _flags: unknown, self: Command) =>
      deploymentStatus(openSession(self), id, self.opts()),
    );
  withExamples(withApiFlags(status), ["drover deployment status 2c473644", "the one whose id begins so"]);
  const promote = deployment
    .command("promote <deployment>")
    .summary("let healthy canaries become the version")
    .description(
      "Promotes the canaries of a deployment: the allocations of the old version are replaced. All canaries must be healthy.",
    )
    .option("--group <name>", "only this group; may be given again", gather, [])
    .action((id: string, _flags: unknown, self: Command) => promoteOne(openSession(self), id, self.opts()));
  withExamples(
    withFollowFlags(promote),
    ["drover deployment promote 2c473644", "all its groups"],
    ["drover deployment promote -group api 2c473644", "one of them"],
  );
  const fail = deployment
    .command("fail <deployment>")
    .summary("end a deployment as failed")
    .description(
      "Fails a deployment: nothing more is rolled out. Where a group has auto_revert, the job goes back to its last stable\n" +
        "version.",
    )
    .action((id: string, _flags: unknown, self: Command) => failOne(openSession(self), id, self.opts()));
  withExamples(withFollowFlags(fail), ["drover deployment fail 2c473644", "stop a bad roll-out"]);
  const pause = deployment
    .command("pause <deployment>")
    .summary("hold a deployment")
    .description(
      "Holds a deployment: nothing is placed or replaced for it, and no deadline passes, until it is resumed.",
    )
    .action((id: string, _flags: unknown, self: Command) =>
      setPaused(openSession(self), id, true, self.opts()),
    );
  withExamples(withFollowFlags(pause), ["drover deployment pause 2c473644", "time to look around"]);
  const resume = deployment
    .command("resume <deployment>")
    .summary("go on with a deployment that is held")
    .description("Goes on with a paused deployment. Its groups have their whole progress deadline again.")
    .action((id: string, _flags: unknown, self: Command) =>
      setPaused(openSession(self), id, false, self.opts()),
    );
  withExamples(withFollowFlags(resume), ["drover deployment resume 2c473644", "and follow it"]);
}

export function gather(value: string, before: string[]): string[] {
  return [...before, value];
}

export function withFollowFlags(command: Command): Command {
  return withApiFlags(command)
    .option("--detach", "don't follow the evaluation")
    .option("--verbose", "whole ids");
}

async function listAll({ client, io }: Session, flags: ShowFlags): Promise<void> {
  const answer = client.get<Deployment[]>("/v1/deployments");
  const { value } = await attempt("Error retrieving deployments", answer);
  if (flags.json === true) io.out(printJson(value));
  else io.out(value.length === 0 ? "No deployments found" : deploymentTable(value, flags.verbose));
}

export async function deploymentStatus(session: Session, id: string, flags: ShowFlags): Promise<void> {
  const deployment = await findDeployment(session, id);
  const { io } = session;
  io.out(
    flags.json === true ? printJson(deployment) : deploymentText(deployment, flags.verbose === true, io),
  );
}

async function promoteOne(
  session: Session,
  id: string,
  flags: FollowFlags & { readonly group: readonly string[] },
): Promise<void> {
  await promoteDeployment(session, await findDeployment(session, id), flags);
}

export async function promoteDeployment(
  session: Session,
  { ID }: Deployment,
  flags: FollowFlags & { readonly group: readonly string[] },
): Promise<void> {
  const body =
    flags.group.length > 0
      ? { DeploymentID: ID, All: false, Groups: flags.group }
      : { DeploymentID: ID, All: true };
  const answer = session.client.put<DeploymentUpdateResponse>(`/v1/deployment/promote/${ID}`, body);
  const { value } = await attempt("Error promoting deployment", answer);
  await follow(session, value.EvalID, flags);
}

async function failOne(session: Session, id: string, flags: FollowFlags): Promise<void> {
  const { ID } = await findDeployment(session, id);
  const answer = session.client.put<DeploymentUpdateResponse>(`/v1/deployment/fail/${ID}`, {
    DeploymentID: ID,
  });
  const { value } = await attempt("Error failing deployment", answer);
  session.io.out(
    value.RevertedJobVersion === null
      ? `Deployment "${ID}" failed`
      : `Deployment "${ID}" failed. Auto-reverted to job version ${value.RevertedJobVersion}.`,
  );
  await follow(session, value.EvalID, flags);
}

async function setPaused(session: Session, id: string, Pause: boolean, flags: FollowFlags): Promise<void> {
  const { ID } = await findDeployment(session, id);
  const answer = session.client.put<DeploymentUpdateResponse>(`/v1/deployment/pause/${ID}`, {
    DeploymentID: ID,
    Pause,
  });
  const { value } = await attempt(`Error ${Pause ? "pausing" : "resuming"} deployment`, answer);
  session.io.out(`Deployment "${ID}" ${Pause ? "paused" : "resumed"}`);
  await follow(session, value.EvalID, flags);
}

/** Follows an evaluation, where there is one and the user wants it. */
export async function follow({ client, io }: Session, evaluation: string, flags: FollowFlags): Promise<void> {
  if (evaluation === "" || flags.detach === true) return;
  const monitor = new Monitor(client, io, { verbose: flags.verbose === true });
  const code = await attempt("Error monitoring evaluation", monitor.follow(evaluation));
  if (code !== 0) throw new ExitError(code);
}
