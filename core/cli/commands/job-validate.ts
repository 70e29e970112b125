import type { JobInput, JobValidateResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ConnectionError } from "../client.js";
import { ExitError } from "../exit.js";
import { bold, green, red, yellow } from "../io.js";
import { type JobFileFlags, readJobFile, withJobFileFlags } from "./job-file.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

export function defineValidate(parent: Command): void {
  const command = parent
    .command("validate <file>")
    .summary("check a job file")
    .description(
      "Checks the job in FILE (- is standard input) and shows every mistake with its place. Asks the agent, or checks\n" +
        "here where none can be reached. Ends with 1 when something is wrong.",
    )
    .action((file: string, _flags: unknown, self: Command) => validate(openSession(self), file, self.opts()));
  withExamples(withApiFlags(withJobFileFlags(command)), [
    "drover job validate web.hcl",
    "check it before you run it",
  ]);
}

async function validate(session: Session, file: string, flags: JobFileFlags): Promise<void> {
  const { io } = session;
  const job = await readJobFile(session, file, flags);
  const answer = await attempt("Error validating job", check(session, job));
  if (!answer.DriverConfigValidated) {
    io.out(`${bold(io, "Driver configuration not validated: no agent could be reached.")}\n`);
  }
  if (answer.Error !== "") throw new ExitError(1, `${red(io, "Job validation errors:")}\n${answer.Error}`);
  if (answer.Warnings !== "") io.out(`${yellow(io, "Job Warnings:")}\n${answer.Warnings}\n`);
  io.out(green(io, "Job validation successful"));
}

async function check({ client }: Session, job: JobInput): Promise<JobValidateResponse> {
  try {
    return (await client.put<JobValidateResponse>("/v1/validate/job", { Job: job })).value;
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    return checkHere(job);
  }
}

async function checkHere(job: JobInput): Promise<JobValidateResponse> {
  const { canonicalizeForState, formatMultiError, formatWarnings, validateJob } = await import(
    "../../jobspec/index.js"
  );
  const { errors, warnings } = validateJob(canonicalizeForState(job));
  return {
    DriverConfigValidated: false,
    Error: errors.length === 0 ? "" : formatMultiError(errors),
    ValidationErrors: errors.length === 0 ? null : errors,
    Warnings: warnings.length === 0 ? "" : formatWarnings(warnings),
  };
}
