import type { JobDeregisterResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { Monitor } from "../monitor.js";
import { findJob } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface StopFlags {
  readonly detach?: boolean;
  readonly purge?: boolean;
  readonly yes?: boolean;
  readonly verbose?: boolean;
}

export function defineStop(parent: Command): void {
  const command = parent
    .command("stop <job>")
    .summary("stop a job")
    .description(
      "Stops all allocations of a job. The job stays listed as stopped; -purge forgets it at once.",
    )
    .option("--detach", "don't follow the evaluation")
    .option("--purge", "forget the job, not only stop it")
    .option("--yes", "stop the job even when only the beginning of its id was given")
    .option("--verbose", "whole ids")
    .action((id: string, _flags: unknown, self: Command) => stop(openSession(self), id, self.opts()));
  withExamples(
    withApiFlags(command),
    ["drover job stop web", "stop it and wait until that is planned"],
    ["drover job stop -purge -detach web", "stop and forget it, don't wait"],
  );
}

async function stop(session: Session, id: string, flags: StopFlags): Promise<void> {
  const { client, io } = session;
  const job = await findJob(session, id);
  if (job.ID !== id && flags.yes !== true) {
    throw new ExitError(
      1,
      `"${id}" is only the beginning of job "${job.ID}". Give the whole id, or -yes to stop it.`,
    );
  }
  const query = { purge: flags.purge === true, namespace: job.Namespace };
  const path = `/v1/job/${encodeURIComponent(job.ID)}`;
  const { value } = await attempt(
    "Error deregistering job",
    client.delete<JobDeregisterResponse>(path, query),
  );
  if (value.EvalID === "") return;
  if (flags.detach === true) {
    io.out(value.EvalID);
    return;
  }
  const monitor = new Monitor(client, io, { verbose: flags.verbose === true });
  const code = await attempt("Error monitoring evaluation", monitor.follow(value.EvalID));
  if (code !== 0) throw new ExitError(code);
}
