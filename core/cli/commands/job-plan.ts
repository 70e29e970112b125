import type { JobPlanResponse } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { type JobFileFlags, readJobFile, withJobFileFlags } from "./job-file.js";
import { planExitCode, planText } from "./job-plan-text.js";
import { attempt, messageOf, openSession, type Session, withApiFlags, withExamples } from "./session.js";

interface PlanFlags extends JobFileFlags {
  readonly diff?: boolean;
  readonly policyOverride?: boolean;
  readonly verbose?: boolean;
}

/** For any failure: 0 and 1 are answers. */
const FAILED = 255;

export function definePlan(parent: Command): void {
  const command = parent
    .command("plan <file>")
    .summary("show what running a job would do")
    .description(
      "Shows what changes if the job in FILE (HCL or JSON; - is standard input) is run, and what the scheduler would do\n" +
        "about it. Nothing is changed. Ends with 0 when no allocation would be created or destroyed, 1 when some would,\n" +
        "255 for a failure.",
    )
    .option("--diff", "show the difference from the job that runs (the default; -diff=false leaves it out)")
    .option("--no-diff", "leave the difference out")
    .option("--policy-override", "override soft policies; taken for scripts, there are none")
    .option("--verbose", "show all of what is added or deleted; whole ids")
    .exitOverride(({ exitCode }) => {
      throw new ExitError(exitCode === 0 ? 0 : FAILED);
    })
    .action((file: string, _flags: unknown, self: Command) => plan(self, file, self.opts()));
  withExamples(
    withApiFlags(withJobFileFlags(command)),
    ["drover job plan web.hcl", "what would change"],
    ["drover job plan -verbose web.hcl", "with every field of what is new"],
    ["drover job run -check-index 12 web.hcl", "run it, if nobody else changed the job since the plan"],
  );
}

async function plan(command: Command, file: string, flags: PlanFlags): Promise<void> {
  const code = await failingAs(
    FAILED,
    show(() => openSession(command), file, flags),
  );
  if (code !== 0) throw new ExitError(code);
}

async function show(open: () => Session, file: string, flags: PlanFlags): Promise<number> {
  const session = open();
  const job = await readJobFile(session, file, flags);
  const { value } = await attempt(
    "Error during plan",
    session.client.put<JobPlanResponse>(`/v1/job/${encodeURIComponent(job.ID ?? "")}/plan`, {
      Job: job,
      Diff: flags.diff !== false,
      PolicyOverride: flags.policyOverride === true,
    }),
  );
  const runArguments = [
    ...(flags.varFile ?? []).map((path) => `-var-file=${path}`),
    ...(flags.var ?? []).map((variable) => `-var=${variable}`),
    file,
  ];
  session.io.out(planText(value, { verbose: flags.verbose === true, runArguments }, session.io));
  return planExitCode(value);
}

async function failingAs<T>(code: number, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new ExitError(code, messageOf(error), { cause: error });
  }
}
