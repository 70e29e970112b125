/** Resource usage of a task's processes, measured from /proc. */
import { readFileSync } from "node:fs";
import type { ProcessStats, TaskStats } from "@drover/plugin-sdk";
import {
  CLOCK_TICKS,
  listProcesses,
  type ProcessIdentity,
  type ProcStat,
  readStat,
} from "./executor/proc.js";

interface Sample {
  readonly startTime: number;
  readonly user: number;
  readonly system: number;
}

/** Percentages are over the time since the last measurement; 0 in the first. */
export class TaskStatsReader {
  private last = new Map<number, Sample>();
  private lastAt = 0;

  constructor(private readonly task: ProcessIdentity) {}

  read(): TaskStats {
    const now = performance.now();
    const seconds = (now - this.lastAt) / 1000;
    const samples = new Map<number, Sample>();
    const pids: Record<string, ProcessStats> = {};
    for (const stat of processTree(this.task)) {
      const memory = readMemory(stat.pid);
      if (memory === undefined) continue;
      const before = this.last.get(stat.pid);
      const known = before !== undefined && before.startTime === stat.startTime;
      const percent = (ticks: number, earlier: number) =>
        known && seconds > 0 ? ((ticks - earlier) / CLOCK_TICKS / seconds) * 100 : 0;
      const userPercent = percent(stat.userTicks, before?.user ?? 0);
      const systemPercent = percent(stat.systemTicks, before?.system ?? 0);
      samples.set(stat.pid, { startTime: stat.startTime, user: stat.userTicks, system: stat.systemTicks });
      pids[stat.pid] = { ...memory, userPercent, systemPercent, percent: userPercent + systemPercent };
    }
    this.last = samples;
    this.lastAt = now;
    return { timestamp: Date.now() * 1e6, pids };
  }
}

/** The task's session and whatever descends from it. */
function processTree(task: ProcessIdentity): ProcStat[] {
  const leader = readStat(task.pid);
  if (leader !== undefined && leader.startTime !== task.startTime) return [];
  const all = listProcesses();
  const members = new Map(all.filter((stat) => stat.session === task.pid).map((stat) => [stat.pid, stat]));
  for (let grew = true; grew; ) {
    grew = false;
    for (const stat of all) {
      if (!members.has(stat.pid) && members.has(stat.parent)) {
        members.set(stat.pid, stat);
        grew = true;
      }
    }
  }
  return [...members.values()].filter((stat) => stat.state !== "Z");
}

function readMemory(pid: number): { rss: number; swap: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/status`, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
  const kilobytes = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0);
  return { rss: kilobytes("VmRSS") * 1024, swap: kilobytes("VmSwap") * 1024 };
}
