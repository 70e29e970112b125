/** Processes as /proc shows them, and killing them without ever touching a stranger that got the same pid. */
import { readdirSync, readFileSync } from "node:fs";

/** Fields of /proc/<pid>/stat (proc(5)). Times are in clock ticks, 100 a second. */
export interface ProcStat {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly userTicks: number;
  readonly systemTicks: number;
  /** Since boot; with the pid it names a process for as long as the machine runs. */
  readonly startTime: number;
  /** Pages. */
  readonly rss: number;
}

export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: number;
}

/** USER_HZ: what the kernel shows to programs is fixed at 100, whatever its own timer runs at. */
export const CLOCK_TICKS = 100;

/** Undefined where there is no such process. */
export function readStat(pid: number): ProcStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
  // The second field is the program's name in parentheses, which may hold spaces and parentheses itself.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const number = (index: number) => Number(fields[index - 3]);
  return {
    pid,
    state: fields[0] ?? "",
    parent: number(4),
    group: number(5),
    session: number(6),
    userTicks: number(14),
    systemTicks: number(15),
    startTime: number(22),
    rss: number(24),
  };
}

/** Every process of the machine that can be read. */
export function listProcesses(): ProcStat[] {
  const found: ProcStat[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(Number(name));
    if (stat !== undefined) found.push(stat);
  }
  return found;
}

/** Whether exactly this process is there and not a zombie. */
export function isAlive(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  return (
    stat !== undefined && stat.startTime === identity.startTime && stat.state !== "Z" && stat.state !== "X"
  );
}

/**
 * Living processes of the session that `leader` opened, itself included. Empty when its pid belongs to another process
 * now: the kernel gives a pid out again only after its whole session is gone.
 */
export function sessionMembers(leader: ProcessIdentity): ProcStat[] {
  const first = readStat(leader.pid);
  if (first !== undefined && first.startTime !== leader.startTime) return [];
  return listProcesses().filter(
    (stat) =>
      (stat.session === leader.pid || stat.group === leader.pid) &&
      stat.startTime >= leader.startTime &&
      stat.state !== "Z" &&
      stat.state !== "X",
  );
}

/** Sends a signal to exactly this process; false when it is gone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  return isAlive(identity) && sendSignal(identity.pid, signal);
}

/** SIGKILL to everything in the session of `leader`. */
export function killSession(leader: ProcessIdentity): void {
  for (const member of sessionMembers(leader)) signalProcess(member, "SIGKILL");
}

function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** Changes with every boot, so that a pid and start time of an earlier one are never taken for today's. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
