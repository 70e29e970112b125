/** `alloc status` of one allocation. */
import type { Allocation, AllocResourceUsage, TaskState } from "@drover/plugin-sdk";
import {
  binarySize,
  columns,
  formatTime,
  formatUnixNano,
  keyValues,
  MIB,
  shortId,
  timeDifference,
} from "../format.js";
import { bold, type CommandIo } from "../io.js";
import { metricLines } from "./evaluation-text.js";

export interface AllocTextOptions {
  readonly verbose: boolean;
  readonly short: boolean;
  readonly stats: boolean;
}

export function allocationText(
  alloc: Allocation,
  usage: AllocResourceUsage | undefined,
  options: AllocTextOptions,
  io: CommandIo,
): string {
  const blocks = [facts(alloc, options.verbose, io.now())];
  const addresses = addressTable(alloc);
  if (addresses !== undefined) blocks.push(`${bold(io, "Allocation Addresses")}\n${addresses}`);
  const tasks = Object.keys(alloc.AllocatedResources.Tasks).sort();
  if (options.short) {
    blocks.push(`${bold(io, "Tasks")}\n${shortTable(alloc, tasks)}`);
  } else {
    for (const task of tasks) blocks.push(...taskBlocks(alloc, task, usage, options, io));
  }
  if (options.verbose && alloc.Metrics !== null) {
    const lines = metricLines(alloc.Metrics, true);
    if (lines.length > 0) blocks.push(`${bold(io, "Placement Metrics")}\n${lines.join("\n")}`);
  }
  return blocks.join("\n\n");
}

function facts(alloc: Allocation, verbose: boolean, now: number): string {
  const time = (nanoseconds: number) =>
    verbose ? formatUnixNano(nanoseconds) : timeDifference(nanoseconds / 1e6, now);
  const pairs: [string, string][] = [
    ["ID", alloc.ID],
    ["Eval ID", shortId(alloc.EvalID, verbose)],
    ["Name", alloc.Name],
    ["Node ID", shortId(alloc.NodeID, verbose)],
    ["Node Name", alloc.NodeName],
    ["Job ID", alloc.JobID],
    ["Job Version", String(alloc.Job?.Version ?? "")],
    ["Client Status", alloc.ClientStatus],
    ["Client Description", alloc.ClientDescription],
    ["Desired Status", alloc.DesiredStatus],
    ["Desired Description", alloc.DesiredDescription ?? ""],
    ["Created", time(alloc.CreateTime)],
    ["Modified", time(alloc.ModifyTime)],
  ];
  if (alloc.DeploymentID !== "") {
    const health = alloc.DeploymentStatus?.Healthy ?? null;
    pairs.push(["Deployment ID", shortId(alloc.DeploymentID, verbose)]);
    pairs.push(["Deployment Health", health === null ? "unset" : health ? "healthy" : "unhealthy"]);
    if (alloc.DeploymentStatus?.Canary === true) pairs.push(["Canary", "true"]);
  }
  if (alloc.NextAllocation) pairs.push(["Replacement Alloc ID", shortId(alloc.NextAllocation, verbose)]);
  if (alloc.PreviousAllocation && verbose) pairs.push(["Previous Alloc ID", alloc.PreviousAllocation]);
  if (alloc.FollowupEvalID) pairs.push(["Followup Eval ID", shortId(alloc.FollowupEvalID, verbose)]);
  if (alloc.RescheduleTracker?.Events.length) {
    pairs.push(["Reschedule Attempts", String(alloc.RescheduleTracker.Events.length)]);
  }
  if (alloc.PreemptedByAllocation)
    pairs.push(["Preempted By", shortId(alloc.PreemptedByAllocation, verbose)]);
  return keyValues(pairs);
}

/** `*` marks a port of the group, as Nomad does. */
function addressTable(alloc: Allocation): string | undefined {
  const { Ports, Networks } = alloc.AllocatedResources.Shared;
  if (Ports === null || Ports.length === 0) return undefined;
  const reserved = new Set(
    (Networks ?? []).flatMap((network) => (network.ReservedPorts ?? []).map((port) => port.Label)),
  );
  return columns([
    ["Label", "Dynamic", "Address"],
    ...Ports.map((port) => [
      `*${port.Label}`,
      reserved.has(port.Label) ? "no" : "yes",
      `${port.HostIP}:${port.Value}${port.To > 0 && port.To !== port.Value ? ` -> ${port.To}` : ""}`,
    ]),
  ]);
}

function shortTable(alloc: Allocation, tasks: readonly string[]): string {
  return columns([
    ["Name", "State", "Last Event", "Time"],
    ...tasks.map((task) => {
      const state = alloc.TaskStates?.[task];
      const last = state?.Events.at(-1);
      return [
        task,
        state?.State ?? "pending",
        last?.Type ?? "",
        last === undefined ? "" : formatUnixNano(last.Time),
      ];
    }),
  ]);
}

function taskBlocks(
  alloc: Allocation,
  task: string,
  usage: AllocResourceUsage | undefined,
  options: AllocTextOptions,
  io: CommandIo,
): string[] {
  const state = alloc.TaskStates?.[task];
  const title = `Task ${bold(io, `"${task}"`)} is ${bold(io, `"${state?.State ?? "pending"}"`)}`;
  const blocks = [`${title}\n${bold(io, "Task Resources")}\n${resourceTable(alloc, task, usage)}`];
  const measured = usage?.Tasks[task]?.ResourceUsage;
  if (options.stats && measured !== undefined) {
    const { MemoryStats: memory, CpuStats: cpu } = measured;
    blocks.push(
      `${bold(io, "Memory Stats")}\n${columns([
        ["Cache", "RSS", "Swap", "Usage"],
        [memory.Cache, memory.RSS, memory.Swap, memory.Usage].map(binarySize),
      ])}`,
      `${bold(io, "CPU Stats")}\n${columns([
        ["Percent", "Throttled Periods", "Throttled Time"],
        [`${cpu.Percent.toFixed(2)}%`, String(cpu.ThrottledPeriods), String(cpu.ThrottledTime)],
      ])}`,
    );
  }
  if (state === undefined) return blocks;
  blocks.push(`${bold(io, "Task Events:")}\n${taskFacts(state)}`);
  if (state.Events.length > 0) blocks.push(`${bold(io, "Recent Events:")}\n${eventTable(state)}`);
  return blocks;
}

function resourceTable(alloc: Allocation, task: string, usage: AllocResourceUsage | undefined): string {
  const resources = alloc.AllocatedResources.Tasks[task]!;
  const measured = usage?.Tasks[task]?.ResourceUsage;
  const of = (used: string | undefined, total: string) => (used === undefined ? total : `${used}/${total}`);
  const ticks = measured === undefined ? undefined : String(Math.floor(measured.CpuStats.TotalTicks));
  const memory = measured?.MemoryStats;
  const used = memory === undefined ? undefined : binarySize(memory.RSS || memory.Usage);
  const addresses = (resources.Networks ?? []).flatMap((network) =>
    [...(network.DynamicPorts ?? []), ...(network.ReservedPorts ?? [])].map(
      (port) => `${port.Label}: ${network.IP}:${port.Value}`,
    ),
  );
  return columns([
    ["CPU", "Memory", "Disk", "Addresses"],
    [
      `${of(ticks, String(resources.Cpu.CpuShares))} MHz`,
      of(used, binarySize(resources.Memory.MemoryMB * MIB)),
      binarySize(alloc.AllocatedResources.Shared.DiskMB * MIB),
      addresses.length === 0 ? " " : addresses.join(", "),
    ],
  ])
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

function taskFacts(state: TaskState): string {
  const time = (text: string | null) => formatTime(text === null ? 0 : Date.parse(text));
  return keyValues([
    ["Started At", time(state.StartedAt)],
    ["Finished At", time(state.FinishedAt)],
    ["Total Restarts", String(state.Restarts)],
    ["Last Restart", time(state.LastRestart)],
  ]);
}

function eventTable(state: TaskState): string {
  return columns([
    ["Time", "Type", "Description"],
    ...state.Events.toReversed().map((event) => [
      formatUnixNano(event.Time),
      event.Type,
      event.DisplayMessage || event.Message,
    ]),
  ]);
}
