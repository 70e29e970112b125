import type { Evaluation } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { formatUnixNano, keyValues, printJson, shortId, timeDifference } from "../format.js";
import { bold, type CommandIo } from "../io.js";
import { Monitor } from "../monitor.js";
import { failedGroups, failedGroupTitle, metricLines, placementFailures } from "./evaluation-text.js";
import { findEvaluation } from "./lookup.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

export interface EvalStatusFlags {
  readonly monitor?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

/** `eval status` */
export function register(program: Command): void {
  const evaluation = program
    .command("eval")
    .summary("look at evaluations")
    .description("Evaluations: each is one look of a scheduler at a job.");
  const status = evaluation
    .command("status [eval]")
    .summary("what became of an evaluation")
    .description("Shows an evaluation, and why allocations could not be placed where some could not.")
    .option("--monitor", "follow it to its end; ends with 2 when something could not be placed")
    .option("--verbose", "whole ids, exact times, related evaluations")
    .option("--json", "the API's answer instead of text; without an id: all evaluations")
    .action((id: string | undefined, _flags: unknown, self: Command) =>
      evalStatus(openSession(self), id, self.opts()),
    );
  withExamples(
    withApiFlags(status),
    ["drover eval status 78989142", "why is my job not running?"],
    ["drover eval status -monitor 78989142", "wait until it is decided"],
  );
}

export async function evalStatus(
  session: Session,
  id: string | undefined,
  flags: EvalStatusFlags,
): Promise<void> {
  const { client, io } = session;
  if (id === undefined) {
    if (flags.json !== true) {
      throw new ExitError(1, 'Name an evaluation; "drover job status -evals JOB" lists those of a job');
    }
    io.out(printJson((await attempt("Error querying evaluations", client.get("/v1/evaluations"))).value));
    return;
  }
  const { ID } = await findEvaluation(session, id);
  if (flags.monitor === true) {
    const monitor = new Monitor(client, io, { verbose: flags.verbose === true });
    const code = await attempt("Error monitoring evaluation", monitor.follow(ID));
    if (code !== 0) throw new ExitError(code);
    return;
  }
  const { value } = await attempt(
    "Error querying evaluation",
    client.get<Evaluation>(`/v1/evaluation/${ID}`),
  );
  io.out(flags.json === true ? printJson(value) : evaluationDetails(value, flags.verbose === true, io));
}

function evaluationDetails(evaluation: Evaluation, verbose: boolean, io: CommandIo): string {
  const time = (nanoseconds: number) =>
    verbose ? formatUnixNano(nanoseconds) : timeDifference(nanoseconds / 1e6, io.now());
  const pairs: [string, string][] = [
    ["ID", shortId(evaluation.ID, verbose)],
    ["Create Time", time(evaluation.CreateTime)],
    ["Modify Time", time(evaluation.ModifyTime)],
    ["Status", evaluation.Status],
    ["Status Description", evaluation.StatusDescription || evaluation.Status],
    ["Type", evaluation.Type],
    ["TriggeredBy", evaluation.TriggeredBy],
    evaluation.NodeID ? ["Node ID", shortId(evaluation.NodeID, verbose)] : ["Job ID", evaluation.JobID],
    ["Priority", String(evaluation.Priority)],
    ["Placement Failures", placementFailures(evaluation)],
  ];
  if (evaluation.WaitUntil) pairs.push(["Wait Until", evaluation.WaitUntil]);
  if (verbose) {
    pairs.push(["Previous Eval", evaluation.PreviousEval ?? ""]);
    pairs.push(["Next Eval", evaluation.NextEval ?? ""]);
    pairs.push(["Blocked Eval", evaluation.BlockedEval ?? ""]);
  }
  const failed = failedGroups(evaluation);
  if (failed.length === 0) return keyValues(pairs);
  const groups = failed.map(([group, metric]) =>
    [failedGroupTitle(group, metric), ...metricLines(metric, verbose).map((line) => `  ${line}`)].join("\n"),
  );
  const waiting = evaluation.BlockedEval
    ? [
        `Evaluation "${shortId(evaluation.BlockedEval, verbose)}" waiting for additional capacity to place remainder`,
      ]
    : [];
  return [keyValues(pairs), `${bold(io, "Failed Placements")}\n${groups.join("\n\n")}`, ...waiting].join(
    "\n\n",
  );
}
