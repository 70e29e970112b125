/** `job plan` in words: the difference, what the scheduler would do, and how to go on. */
import { EvalTrigger, type Evaluation, type JobPlanResponse } from "@drover/plugin-sdk";
import { formatDuration } from "../../jobspec/duration.js";
import { columns, formatTime, shortId, timeDifference } from "../format.js";
import { bold, type CommandIo, green, yellow } from "../io.js";
import { diffText } from "./diff-text.js";
import { failedGroups, failedGroupTitle, metricLines } from "./evaluation-text.js";

export interface PlanTextOptions {
  readonly verbose: boolean;
  /** Arguments of `job run` that would submit the same job. */
  readonly runArguments: readonly string[];
}

export function planText(plan: JobPlanResponse, options: PlanTextOptions, io: CommandIo): string {
  const blocks: string[] = [];
  if (plan.Diff !== null) blocks.push(diffText(plan.Diff, options.verbose, io));
  blocks.push(`${bold(io, "Scheduler dry-run:")}\n${dryRunText(plan, io)}`);
  if (plan.Warnings !== "") blocks.push(`${yellow(io, "Job Warnings:")}\n${plan.Warnings.trimEnd()}`);
  const preempted = plan.Annotations?.PreemptedAllocs ?? [];
  if (preempted.length > 0) {
    const rows = preempted.map((alloc) => [shortId(alloc.ID, options.verbose), alloc.JobID, alloc.TaskGroup]);
    blocks.push(`${bold(io, "Preemptions:")}\n\n${columns([["Alloc ID", "Job ID", "Task Group"], ...rows])}`);
  }
  blocks.push(submissionText(plan.JobModifyIndex, options.runArguments, io));
  return blocks.join("\n\n");
}

/** 1 when allocations would be created or destroyed, else 0. */
export function planExitCode({ Annotations }: JobPlanResponse): number {
  const changes = Object.values(Annotations?.DesiredTGUpdates ?? {}).some(
    (updates) =>
      updates.Stop + updates.Place + updates.Migrate + updates.DestructiveUpdate + updates.Canary > 0,
  );
  return changes || (Annotations?.PreemptedAllocs?.length ?? 0) > 0 ? 1 : 0;
}

function dryRunText(plan: JobPlanResponse, io: CommandIo): string {
  const lines: string[] = [];
  const failed = failedGroups({ FailedTGAllocs: plan.FailedTGAllocs ?? {} });
  if (failed.length === 0) lines.push(green(io, "- All tasks successfully allocated."));
  else {
    lines.push(yellow(io, "- WARNING: Failed to place all allocations."));
    for (const [group, metric] of failed) {
      lines.push(`  ${failedGroupTitle(group, metric)}`);
      for (const line of metricLines(metric)) lines.push(`    ${line}`);
    }
  }
  const rolling = plan.CreatedEvals?.find(({ TriggeredBy }) => TriggeredBy === EvalTrigger.RollingUpdate);
  if (rolling !== undefined) {
    lines.push(green(io, `- Rolling update, next evaluation will be in ${formatDuration(waitOf(rolling))}.`));
  }
  const launch = plan.NextPeriodicLaunch === null ? Number.NaN : Date.parse(plan.NextPeriodicLaunch);
  if (launch > 0) {
    const inWords = `${formatTime(launch)} (${timeDifference(launch, io.now())})`;
    lines.push(green(io, `- If submitted now, next periodic launch would be at ${inWords}.`));
  }
  return lines.join("\n");
}

/** Nanoseconds, in whole seconds; by the server's clock, on which both times were taken. */
function waitOf({ Wait, WaitUntil, CreateTime }: Evaluation): number {
  if (Wait !== undefined && Wait > 0) return Wait;
  const until = Date.parse(WaitUntil ?? "");
  return Number.isNaN(until) ? 0 : Math.max(0, Math.round(until / 1e3 - CreateTime / 1e9)) * 1e9;
}

function submissionText(modifyIndex: number, runArguments: readonly string[], io: CommandIo): string {
  const command = ["drover", "job", "run", "-check-index", String(modifyIndex), ...runArguments];
  return `${bold(io, `Job Modify Index: ${modifyIndex}`)}
To submit the job with version verification run:

${command.map(shellWord).join(" ")}

When running the job with the check-index flag, the job will only be run if the
job modify index given matches the server-side version. If the index has
changed, another user has modified the job and the plan's results are
potentially invalid.`;
}

function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
