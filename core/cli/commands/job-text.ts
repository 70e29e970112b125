/** `job status` of one job. */
import type { AllocListStub, Deployment, Evaluation, Job, JobListStub, JobSummary } from "@drover/plugin-sdk";
import { nextLaunch } from "../../jobspec/next-launch.js";
import { columns, formatTime, formatUnixNano, keyValues, shortId, timeDifference } from "../format.js";
import { bold, type CommandIo } from "../io.js";
import { allocationTable } from "./allocation-table.js";
import { failedGroups, metricLines, placementFailures } from "./evaluation-text.js";

export interface JobView {
  readonly job: Job;
  readonly summary: JobSummary | null;
  readonly evaluations: readonly Evaluation[];
  readonly deployment: Deployment | null;
  readonly allocations: readonly AllocListStub[];
  /** Launched or dispatched children. */
  readonly children: readonly JobListStub[];
}

export interface JobTextOptions {
  readonly verbose: boolean;
  readonly short: boolean;
  readonly evals: boolean;
}

export function jobText(view: JobView, options: JobTextOptions, io: CommandIo): string {
  const { job } = view;
  const blocks = [basics(job, io)];
  const title = (text: string) => bold(io, text);
  if (!options.short) {
    if (job.Periodic !== null) blocks.push(...periodicBlocks(view, title));
    else if (job.ParameterizedJob !== null && !job.Dispatched)
      blocks.push(...parameterizedBlocks(view, title));
    else blocks.push(...runningBlocks(view, options, io));
  }
  return blocks.join("\n\n");
}

function basics(job: Job, io: CommandIo): string {
  const periodic = job.Periodic !== null;
  const pairs: [string, string][] = [
    ["ID", job.ID],
    ["Name", job.Name],
    ["Submit Date", formatUnixNano(job.SubmitTime)],
    ["Type", job.Type],
    ["Priority", String(job.Priority)],
    ["Datacenters", job.Datacenters.join(",")],
    ["Namespace", job.Namespace],
    ["Status", `${job.Status}${job.Stop ? " (stopped)" : ""}`],
    ["Periodic", String(periodic)],
    ["Parameterized", String(job.ParameterizedJob !== null && !job.Dispatched)],
  ];
  if (job.Periodic !== null && job.ParameterizedJob === null) {
    pairs.push(["Next Periodic Launch", launchText(job, io.now())]);
  }
  return keyValues(pairs);
}

function launchText(job: Job, now: number): string {
  if (job.Stop) return "none (job stopped)";
  const next = job.Periodic === null || !job.Periodic.Enabled ? undefined : nextLaunch(job.Periodic, now);
  return next === undefined ? "none" : `${formatTime(next)} (${timeDifference(next, now)})`;
}

type Title = (text: string) => string;

function childrenSummary(view: JobView): string {
  const children = view.summary?.Children ?? { Pending: 0, Running: 0, Dead: 0 };
  return columns([
    ["Pending", "Running", "Dead"],
    [String(children.Pending), String(children.Running), String(children.Dead)],
  ]);
}

function childrenTable(view: JobView): string {
  return columns([["ID", "Status"], ...view.children.map((child) => [child.ID, child.Status])]);
}

function periodicBlocks(view: JobView, title: Title): string[] {
  return [
    `${title("Children Job Summary")}\n${childrenSummary(view)}`,
    view.children.length === 0
      ? "No instances of periodic job found"
      : `${title("Previously Launched Jobs")}\n${childrenTable(view)}`,
  ];
}

function parameterizedBlocks(view: JobView, title: Title): string[] {
  const config = view.job.ParameterizedJob!;
  const facts = keyValues([
    ["Payload", config.Payload],
    ["Required Metadata", (config.MetaRequired ?? []).join(", ")],
    ["Optional Metadata", (config.MetaOptional ?? []).join(", ")],
  ]);
  return [
    `${title("Parameterized Job")}\n${facts}`,
    `${title("Parameterized Job Summary")}\n${childrenSummary(view)}`,
    view.children.length === 0
      ? "No dispatched instances of parameterized job found"
      : `${title("Dispatched Jobs")}\n${childrenTable(view)}`,
  ];
}

function runningBlocks(view: JobView, options: JobTextOptions, io: CommandIo): string[] {
  const blocks: string[] = [];
  if (view.summary !== null) blocks.push(`${bold(io, "Summary")}\n${summaryTable(view.summary)}`);
  const newest = view.evaluations.toSorted((a, b) => b.CreateIndex - a.CreateIndex);
  if (options.verbose || options.evals)
    blocks.push(`${bold(io, "Evaluations")}\n${evaluationRows(newest, options)}`);
  const failed = newest.some((evaluation) => evaluation.Status === "blocked")
    ? newest.find((evaluation) => failedGroups(evaluation).length > 0)
    : undefined;
  if (failed !== undefined) blocks.push(`${bold(io, "Placement Failure")}\n${failureText(failed)}`);
  if (view.deployment !== null) blocks.push(deploymentText(view.deployment, options.verbose, io));
  blocks.push(`${bold(io, "Allocations")}\n${allocationTable(view.allocations, io.now(), options.verbose)}`);
  return blocks;
}

function summaryTable(summary: JobSummary): string {
  return columns([
    ["Task Group", "Queued", "Starting", "Running", "Failed", "Complete", "Lost"],
    ...Object.entries(summary.Summary)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([group, counts]) => [
        group,
        String(counts.Queued),
        String(counts.Starting),
        String(counts.Running),
        String(counts.Failed),
        String(counts.Complete),
        String(counts.Lost),
      ]),
  ]);
}

function evaluationRows(evaluations: readonly Evaluation[], options: JobTextOptions): string {
  return columns([
    ["ID", "Priority", "Triggered By", "Status", "Placement Failures"],
    ...evaluations.map((evaluation) => [
      shortId(evaluation.ID, options.verbose),
      String(evaluation.Priority),
      evaluation.TriggeredBy,
      evaluation.Status,
      placementFailures(evaluation),
    ]),
  ]);
}

function failureText(evaluation: Evaluation): string {
  return failedGroups(evaluation)
    .map(([group, metric]) =>
      [`Task Group "${group}":`, ...metricLines(metric).map((line) => `  ${line}`)].join("\n"),
    )
    .join("\n\n");
}

function deploymentText(deployment: Deployment, verbose: boolean, io: CommandIo): string {
  const facts = keyValues([
    ["ID", shortId(deployment.ID, verbose)],
    ["Status", deployment.Status],
    ["Description", deployment.StatusDescription],
  ]);
  return `${bold(io, "Latest Deployment")}\n${facts}\n\n${bold(io, "Deployed")}\n${deployedTable(deployment)}`;
}

export function deployedTable(deployment: Deployment): string {
  const groups = Object.entries(deployment.TaskGroups).sort(([a], [b]) => (a < b ? -1 : 1));
  const autoRevert = groups.some(([, state]) => state.AutoRevert);
  const canaries = groups.some(([, state]) => state.DesiredCanaries > 0);
  const deadline = groups.some(([, state]) => state.RequireProgressBy !== null);
  return columns([
    [
      "Task Group",
      ...(autoRevert ? ["Auto Revert"] : []),
      ...(canaries ? ["Promoted"] : []),
      "Desired",
      ...(canaries ? ["Canaries"] : []),
      "Placed",
      "Healthy",
      "Unhealthy",
      ...(deadline ? ["Progress Deadline"] : []),
    ],
    ...groups.map(([group, state]) => [
      group,
      ...(autoRevert ? [String(state.AutoRevert)] : []),
      ...(canaries ? [state.DesiredCanaries > 0 ? String(state.Promoted) : "N/A"] : []),
      String(state.DesiredTotal),
      ...(canaries ? [String(state.DesiredCanaries)] : []),
      String(state.PlacedAllocs),
      String(state.HealthyAllocs),
      String(state.UnhealthyAllocs),
      ...(deadline ? [formatTime(Date.parse(state.RequireProgressBy ?? ""))] : []),
    ]),
  ]);
}
