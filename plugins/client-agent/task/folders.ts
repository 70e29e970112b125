/**
 * Folders of an allocation, as Nomad lays them out
 * (https://developer.hashicorp.com/nomad/docs/concepts/filesystem): `alloc/{data,logs,tmp}` for all tasks,
 * `<task>/{local,secrets,tmp}` for each.
 */
import { chmod, chown, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface TaskFolders {
  /** `<allocation>/alloc`. */
  readonly shared: string;
  readonly logs: string;
  /** `<allocation>/<task>`: where the task starts. */
  readonly task: string;
  readonly local: string;
  readonly secrets: string;
}

export function taskFolders(allocationFolder: string, task: string): TaskFolders {
  const shared = join(allocationFolder, "alloc");
  const folder = join(allocationFolder, task);
  return {
    shared,
    logs: join(shared, "logs"),
    task: folder,
    local: join(folder, "local"),
    secrets: join(folder, "secrets"),
  };
}

/** Makes what is missing; keeps what is there. */
export async function buildAllocationFolders(allocationFolder: string): Promise<void> {
  await mkdir(allocationFolder, { recursive: true, mode: 0o755 });
  const shared = join(allocationFolder, "alloc");
  for (const folder of [shared, ...["data", "logs", "tmp"].map((name) => join(shared, name))]) {
    await makeFolder(folder, 0o777);
  }
}

/** Tasks may run as any user, so their folders are open to all, but `secrets/` to the task's user alone. */
export async function buildTaskFolders(folders: TaskFolders, user: string): Promise<void> {
  await makeFolder(folders.task, 0o777);
  await makeFolder(folders.local, 0o777);
  await makeFolder(join(folders.task, "tmp"), 0o1777);
  await makeFolder(folders.secrets, 0o700);
  if (user !== "" && process.getuid?.() === 0) {
    const uid = await userId(user);
    // An unknown user is the driver's to refuse, which has the better words.
    if (uid !== undefined) await chown(folders.secrets, uid, -1);
  }
}

async function makeFolder(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true });
  // mkdir's mode goes through the umask.
  await chmod(path, mode);
}

async function userId(user: string): Promise<number | undefined> {
  const lines = (await readFile("/etc/passwd", "utf8")).split("\n");
  const entry = lines.map((line) => line.split(":")).find((fields) => fields[0] === user);
  return entry === undefined ? undefined : Number(entry[2]);
}
