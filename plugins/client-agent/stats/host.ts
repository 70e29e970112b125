/** Usage of the node (GET /v1/client/stats). */
import { readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { cpus, freemem, totalmem, uptime } from "node:os";
import type { HostCPUStats, HostDiskStats, HostStats } from "@drover/plugin-sdk";
import { monotonic, sleep, unixNanos } from "../clock.js";
import { readMounts } from "../fingerprint/mounts.js";

/** Shortest span over which CPU usage is measured, milliseconds. */
const MIN_SPAN = 100;

interface CpuSample {
  readonly at: number;
  readonly cores: readonly { user: number; nice: number; sys: number; idle: number; irq: number }[];
}

export class HostStatsReader {
  private last: CpuSample | undefined;

  /** `frequency` in MHz of one core. */
  constructor(
    private readonly allocDir: string,
    private readonly frequency: number,
  ) {}

  async read(): Promise<HostStats> {
    if (this.last === undefined || monotonic() - this.last.at < MIN_SPAN) {
      this.last = sample();
      await sleep(MIN_SPAN);
    }
    const before = this.last;
    this.last = sample();
    const CPU = this.last.cores.map((core, index) => coreUsage(index, core, before.cores[index]));
    const total = CPU.reduce((sum, core) => sum + core.Total, 0);
    return {
      AllocDirStats: await diskUsage(this.allocDir, "", ""),
      CPU,
      CPUTicksConsumed: (total / 100) * this.frequency,
      DeviceStats: null,
      DiskStats: await allDisks(),
      Memory: memoryUsage(),
      Timestamp: unixNanos(),
      Uptime: Math.floor(uptime()),
    };
  }
}

function sample(): CpuSample {
  return { at: monotonic(), cores: cpus().map((cpu) => cpu.times) };
}

function coreUsage(
  index: number,
  now: CpuSample["cores"][number],
  before: CpuSample["cores"][number] | undefined,
): HostCPUStats {
  const spent = (kind: keyof typeof now) => Math.max(0, now[kind] - (before?.[kind] ?? now[kind]));
  const idle = spent("idle");
  const user = spent("user") + spent("nice");
  const system = spent("sys") + spent("irq");
  const all = idle + user + system;
  const percent = (part: number) => (all === 0 ? 0 : (part / all) * 100);
  return {
    CPU: `cpu${index}`,
    Idle: all === 0 ? 100 : percent(idle),
    System: percent(system),
    Total: percent(user + system),
    User: percent(user),
  };
}

function memoryUsage() {
  const text = readFileSync("/proc/meminfo", "utf8");
  const bytes = (key: string) =>
    Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1024;
  const Total = totalmem();
  const Available = bytes("MemAvailable") || freemem();
  const Free = bytes("MemFree") || freemem();
  const cached = bytes("Buffers") + bytes("Cached") + bytes("SReclaimable");
  return { Available, Free, Total, Used: Math.max(0, Total - Free - cached) };
}

/** File systems on a device, as the operator thinks of disks. */
async function allDisks(): Promise<HostDiskStats[]> {
  const disks: HostDiskStats[] = [];
  for (const mount of readMounts()) {
    if (!mount.source.startsWith("/dev/")) continue;
    disks.push(await diskUsage(mount.point, mount.source, mount.point));
  }
  return disks;
}

export async function diskUsage(path: string, Device: string, Mountpoint: string): Promise<HostDiskStats> {
  const stat = await statfs(path);
  const Size = stat.blocks * stat.bsize;
  const Available = stat.bavail * stat.bsize;
  const Used = Size - stat.bfree * stat.bsize;
  return {
    Available,
    Device,
    InodesUsedPercent: stat.files === 0 ? 0 : ((stat.files - stat.ffree) / stat.files) * 100,
    Mountpoint,
    Size,
    Used,
    UsedPercent: Used + Available === 0 ? 0 : (Used / (Used + Available)) * 100,
  };
}
