import type { JobInput, JobRegisterResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { nextLaunch } from "../../jobspec/next-launch.js";
import { ExitError } from "../exit.js";
import { formatTime, printJson, timeDifference } from "../format.js";
import { yellow } from "../io.js";
import { Monitor } from "../monitor.js";
import { type JobFileFlags, readJobFile, withJobFileFlags } from "./job-file.js";
import { attempt, messageOf, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface RunFlags extends JobFileFlags {
  readonly checkIndex?: string;
  readonly detach?: boolean;
  readonly output?: boolean;
  readonly preserveCounts?: boolean;
  readonly verbose?: boolean;
}

export function defineRun(parent: Command): void {
  const command = parent
    .command("run <file>")
    .summary("run a job, or change one that runs")
    .description(
      "Sends the job in FILE (HCL or JSON; - is standard input) and follows its evaluation until everything is placed.\n" +
        "Ends with 0 when all was placed, 2 when something could not be, 1 for any other failure.",
    )
    .option(
      "--check-index <index>",
      "only when the job's modify index is this; 0: only when there is no such job",
    )
    .option("--detach", "don't follow the evaluation")
    .option("--output", "print the job as JSON and send nothing")
    .option("--preserve-counts", "keep the counts of groups that run")
    .option("--verbose", "whole ids")
    .action((file: string, _flags: unknown, self: Command) => run(openSession(self), file, self.opts()));
  withExamples(
    withApiFlags(withJobFileFlags(command)),
    ["drover job run web.hcl", "run it, and wait until it is placed"],
    ["drover job run -var image=web:2 -detach web.hcl", "set a variable of the file, don't wait"],
    ["drover job run -output web.hcl > web.json", "what would be sent"],
  );
}

async function run(session: Session, file: string, flags: RunFlags): Promise<void> {
  const { client, io } = session;
  const checkIndex = flags.checkIndex;
  if (checkIndex !== undefined && !/^\d+$/.test(checkIndex)) {
    throw new ExitError(1, `Error parsing check-index value "${checkIndex}": it must be a whole number`);
  }
  const job = await readJobFile(session, file, flags);
  if (flags.output === true) {
    io.out(printJson({ Job: job }));
    return;
  }
  const request = {
    Job: job,
    PreserveCounts: flags.preserveCounts === true,
    ...(checkIndex === undefined ? undefined : { EnforceIndex: true, JobModifyIndex: Number(checkIndex) }),
  };
  const answer = await register(session, request);
  if (answer.Warnings !== "") io.out(`${yellow(io, "Job Warnings:")}\n${answer.Warnings}\n`);
  const launched = job.Periodic !== null && job.Periodic !== undefined;
  const parameterized = job.ParameterizedJob !== null && job.ParameterizedJob !== undefined;
  if (flags.detach === true || launched || parameterized || answer.EvalID === "") {
    io.out("Job registration successful");
    if (launched && !parameterized) io.out(launchLine(job, io.now()));
    else if (!parameterized && answer.EvalID !== "") io.out(`Evaluation ID: ${answer.EvalID}`);
    return;
  }
  const options = { verbose: flags.verbose === true, followAllocations: io.interactive };
  const code = await attempt(
    "Error monitoring evaluation",
    new Monitor(client, io, options).follow(answer.EvalID),
  );
  if (code !== 0) throw new ExitError(code);
}

/** The refusal of `-check-index` is an answer in itself; anything else is an error. */
async function register({ client }: Session, request: object): Promise<JobRegisterResponse> {
  try {
    return (await client.put<JobRegisterResponse>("/v1/jobs", request)).value;
  } catch (error) {
    const refusal = /\((Enforcing job modify index.*)\)/s.exec(messageOf(error));
    throw new ExitError(
      1,
      refusal === null ? `Error submitting job: ${messageOf(error)}` : `${refusal[1]}\nJob not updated`,
    );
  }
}

function launchLine(job: JobInput, now: number): string {
  const { Spec, TimeZone } = job.Periodic!;
  const next = nextLaunch({ Spec: Spec ?? "", TimeZone: TimeZone ?? "UTC" }, now);
  if (next === undefined) return "It has no next launch time";
  return `Approximate next launch time: ${formatTime(next)} (${timeDifference(next, now)})`;
}
