/** `node status` of one node. */
import type { Allocation, AllocResourceUsage, HostStats, Node, NodeEvent } from "@drover/plugin-sdk";
import { allocIsTerminal } from "@drover/plugin-sdk";
import { formatDuration } from "../../jobspec/duration.js";
import { binarySize, columns, formatTime, keyValues, MIB } from "../format.js";
import { bold, type CommandIo } from "../io.js";
import { allocationTable } from "./allocation-table.js";

export interface NodeView {
  readonly node: Node;
  readonly allocations: readonly Allocation[];
  /** Undefined where the node can't be asked. */
  readonly host: HostStats | undefined;
  /** Why `host` is missing. */
  readonly hostError: string;
  /** Usage of running allocations that answered. */
  readonly usage: readonly AllocResourceUsage[];
}

export interface NodeTextOptions {
  readonly verbose: boolean;
  readonly short: boolean;
  readonly stats: boolean;
}

export function nodeText(view: NodeView, options: NodeTextOptions, io: CommandIo): string {
  const { node } = view;
  const blocks = [facts(view)];
  const block = (title: string, body: string) => blocks.push(`${bold(io, title)}\n${body}`);
  const listed = view.allocations.map((alloc) => ({
    ...alloc,
    JobVersion: alloc.Job?.Version ?? alloc.JobVersion,
  }));
  if (!options.short) {
    if (options.verbose) block("Drivers", driverTable(node));
    block("Node Events", eventTable(node.Events, options.verbose));
    block("Allocated Resources", allocatedTable(view));
    if (view.host === undefined)
      blocks.push(`Error fetching node stats, actual resource usage not shown: ${view.hostError}`);
    else {
      block("Allocation Resource Utilization", usageTable(view));
      block("Host Resource Utilization", hostTable(node, view.host));
      if (options.stats) blocks.push(...hostDetails(view.host, io));
    }
  }
  block("Allocations", allocationTable(listed, io.now(), options.verbose));
  if (options.verbose) {
    block("Attributes", sorted(node.Attributes));
    block("Meta", sorted(node.Meta ?? {}));
  }
  return blocks.join("\n\n");
}

function facts({ node, host }: NodeView): string {
  const names = (map: object | null) =>
    Object.keys(map ?? {})
      .sort()
      .join(",");
  const drivers = Object.entries(node.Drivers)
    .filter(([, driver]) => driver.Detected)
    .map(([name, driver]) => (driver.Healthy ? name : `${name} (unhealthy)`));
  return keyValues([
    ["ID", node.ID],
    ["Name", node.Name],
    ["Class", node.NodeClass],
    ["DC", node.Datacenter],
    ["Drain", String(node.DrainStrategy !== null)],
    ["Eligibility", node.SchedulingEligibility],
    ["Status", node.Status],
    ["CSI Controllers", names(node.CSIControllerPlugins)],
    ["CSI Drivers", names(node.CSINodePlugins)],
    ...(host === undefined ? [] : [["Uptime", formatDuration(Math.floor(host.Uptime) * 1e9)] as const]),
    ["Host Volumes", names(node.HostVolumes)],
    ["CSI Volumes", ""],
    ["Driver Status", drivers.sort().join(",")],
  ]);
}

function driverTable(node: Node): string {
  return columns([
    ["Driver", "Detected", "Healthy", "Message", "Time"],
    ...Object.entries(node.Drivers)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, driver]) => [
        name,
        String(driver.Detected),
        String(driver.Healthy),
        driver.HealthDescription,
        formatTime(Date.parse(driver.UpdateTime)),
      ]),
  ]);
}

function eventTable(events: readonly NodeEvent[], verbose: boolean): string {
  const rows = events.toReversed().map((event) => [
    formatTime(Date.parse(event.Timestamp)),
    event.Subsystem,
    event.Message,
    ...(verbose
      ? [
          Object.entries(event.Details ?? {})
            .map(([key, value]) => `${key} = ${value}`)
            .join(", "),
        ]
      : []),
  ]);
  return columns([["Time", "Subsystem", "Message", ...(verbose ? ["Details"] : [])], ...rows]);
}

/** What the node can give to jobs. */
function capacity(node: Node): { cpu: number; memory: number; disk: number } {
  const { NodeResources: has, ReservedResources: kept } = node;
  return {
    cpu: has.Cpu.CpuShares - kept.Cpu.CpuShares,
    memory: (has.Memory.MemoryMB - kept.Memory.MemoryMB) * MIB,
    disk: (has.Disk.DiskMB - kept.Disk.DiskMB) * MIB,
  };
}

function allocatedTable({ node, allocations }: NodeView): string {
  let [cpu, memory, disk] = [0, 0, 0];
  for (const alloc of allocations.filter((candidate) => !allocIsTerminal(candidate))) {
    for (const task of Object.values(alloc.AllocatedResources.Tasks)) {
      cpu += task.Cpu.CpuShares;
      memory += task.Memory.MemoryMB * MIB;
    }
    disk += alloc.AllocatedResources.Shared.DiskMB * MIB;
  }
  const total = capacity(node);
  return columns([
    ["CPU", "Memory", "Disk"],
    [`${cpu}/${total.cpu} MHz`, share(memory, total.memory), share(disk, total.disk)],
  ]);
}

function share(used: number, total: number): string {
  return `${binarySize(used)}/${binarySize(total)}`;
}

function usageTable({ node, usage }: NodeView): string {
  const sum = (pick: (one: AllocResourceUsage) => number) =>
    usage.reduce((total, one) => total + pick(one), 0);
  const cpu = Math.floor(sum((one) => one.ResourceUsage.CpuStats.TotalTicks));
  const memory = sum((one) => one.ResourceUsage.MemoryStats.RSS || one.ResourceUsage.MemoryStats.Usage);
  const total = capacity(node);
  return columns([
    ["CPU", "Memory"],
    [`${cpu}/${total.cpu} MHz`, share(memory, total.memory)],
  ]);
}

function hostTable(node: Node, host: HostStats): string {
  const cpu = `${Math.floor(host.CPUTicksConsumed)}/${node.NodeResources.Cpu.CpuShares} MHz`;
  const disk = host.AllocDirStats;
  return columns([
    ["CPU", "Memory", ...(disk === null ? [] : ["Disk"])],
    [
      cpu,
      share(host.Memory.Used, host.Memory.Total),
      ...(disk === null ? [] : [share(disk.Used, disk.Size)]),
    ],
  ]);
}

function hostDetails(host: HostStats, io: CommandIo): string[] {
  const percent = (value: number) => `${value.toFixed(2)}%`;
  const cpus = host.CPU.map((cpu) =>
    keyValues([
      ["CPU", cpu.CPU],
      ["User", percent(cpu.User)],
      ["System", percent(cpu.System)],
      ["Idle", percent(cpu.Idle)],
    ]),
  );
  const memory = keyValues([
    ["Total", binarySize(host.Memory.Total)],
    ["Available", binarySize(host.Memory.Available)],
    ["Used", binarySize(host.Memory.Used)],
    ["Free", binarySize(host.Memory.Free)],
  ]);
  const disks = host.DiskStats.map((disk) =>
    keyValues([
      ["Device", disk.Device],
      ["MountPoint", disk.Mountpoint],
      ["Size", binarySize(disk.Size)],
      ["Used", binarySize(disk.Used)],
      ["Available", binarySize(disk.Available)],
      ["Used Percent", percent(disk.UsedPercent)],
      ["Inodes Percent", percent(disk.InodesUsedPercent)],
    ]),
  );
  return [
    `${bold(io, "CPU Stats")}\n${cpus.join("\n\n")}`,
    `${bold(io, "Memory Stats")}\n${memory}`,
    `${bold(io, "Disk Stats")}\n${disks.join("\n\n")}`,
  ];
}

function sorted(map: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));
  return pairs.length === 0 ? "<none>" : keyValues(pairs);
}
