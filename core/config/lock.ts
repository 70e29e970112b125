import { readFileSync } from "node:fs";
import { open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "./errors.js";

/** Process that holds a data folder. `started` tells it from a later process with the same number. */
interface Holder {
  readonly pid: number;
  readonly started: string;
}

/**
 * Takes a data folder for this process: two agents on one would destroy each other's state. A lock that a killed agent
 * left is taken over. Resolves with its release; throws `ConfigError` where another agent holds it.
 */
export async function lockDataDir(dataDir: string): Promise<() => Promise<void>> {
  const path = join(dataDir, "agent.lock");
  const me = JSON.stringify({ pid: process.pid, started: startOf(process.pid) } satisfies Holder);
  try {
    const file = await open(path, "wx", 0o600);
    await file.writeFile(me).finally(() => file.close());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const holder = await readHolder(path);
    if (holder !== undefined && isAlive(holder)) {
      throw new ConfigError([
        {
          place: "",
          message: `data_dir ${dataDir} is in use by the agent with process id ${holder.pid}; stop it or choose another data_dir`,
        },
      ]);
    }
    const fresh = `${path}.${process.pid}`;
    await writeFile(fresh, me, { mode: 0o600 });
    await rename(fresh, path);
  }
  return () => rm(path, { force: true });
}

/** Undefined for a lock that was cut off while it was written. */
async function readHolder(path: string): Promise<Holder | undefined> {
  const found = /^\{"pid":(\d+),"started":"(\w*)"\}$/.exec(await readFile(path, "utf8"));
  return found === null ? undefined : { pid: Number(found[1]), started: found[2]! };
}

function isAlive({ pid, started }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it is there and belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return startOf(pid) === started;
}

/**
 * Start time of a process in ticks since boot, with the boot's id; empty for one that ended, and where the system does not
 * tell (not Linux).
 */
function startOf(pid: number): string {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").replaceAll("-", "").trim();
    // The second field is the program's name in parentheses and may hold anything.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    // A killed agent that nobody has reaped yet holds nothing any more.
    if (fields[0] === "Z" || fields[0] === "X") return "";
    return `${boot}_${fields[19]}`;
  } catch (error) {
    if (
      (error as NodeJS.ErrnoException).code === "ENOENT" ||
      (error as NodeJS.ErrnoException).code === "ESRCH"
    )
      return "";
    throw error;
  }
}
