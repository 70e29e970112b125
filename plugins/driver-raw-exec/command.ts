/** Finds the program that a task's `command` names. */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";

/**
 * Absolute paths are taken as they are; others are looked for in the task's `local/`, in the task's folder, and, without
 * a slash, in PATH. Rejects with a sentence that says where it looked.
 */
export async function findCommand(command: string, taskDir: string, path: string): Promise<string> {
  const candidates = isAbsolute(command)
    ? [command]
    : [
        join(taskDir, "local", command),
        join(taskDir, command),
        ...(command.includes("/") ? [] : path.split(":").map((folder) => resolve(folder, command))),
      ];
  let found: string | undefined;
  for (const candidate of candidates) {
    const kind = await inspect(candidate);
    if (kind === "executable") return candidate;
    if (kind !== "missing") found ??= `${candidate} ${kind}`;
  }
  if (found !== undefined) throw new Error(`command "${command}" can't be run: ${found}`);
  throw new Error(
    isAbsolute(command)
      ? `command "${command}" does not exist on this node`
      : `command "${command}" not found: not in the task's folder ${taskDir}, its local/, nor in PATH (${path})`,
  );
}

async function inspect(path: string): Promise<string> {
  try {
    const info = await stat(path);
    if (!info.isFile()) return "is not a file";
    await access(path, constants.X_OK);
    return "executable";
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return "missing";
    if (code === "EACCES") return "is not executable for this agent";
    throw error;
  }
}
