import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { FunctionError, type HclFunction } from "../evaluate.js";
import { fn } from "./arguments.js";

/** Largest file that file() reads. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Most directory entries that fileset() looks at. */
const MAX_ENTRIES = 10_000;

/** Runs a file operation; its failure becomes the function's. */
function attempt<T>(operation: () => T): T {
  try {
    return operation();
  } catch (error) {
    if (error instanceof FunctionError) throw error;
    throw new FunctionError(error instanceof Error ? error.message : String(error));
  }
}

function expand(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

/** `**` any folders, `*` and `?` inside one name, `{a,b}` either. */
function globPattern(glob: string): RegExp {
  const body = glob.replace(/\*\*\/|\*\*|[*?{},]|[.+^$()|[\]\\]/g, (piece) => {
    const known: Record<string, string> = {
      "**/": "(?:.*/)?",
      "**": ".*",
      "*": "[^/]*",
      "?": "[^/]",
      "{": "(?:",
      "}": ")",
      ",": "|",
    };
    return known[piece] ?? `\\${piece}`;
  });
  return new RegExp(`^${body}$`);
}

/**
 * Functions that read the local disk, for the command line only: a server must never open files a job names. Relative
 * paths belong to `folder`, the folder of the job file.
 */
export function filesystemFunctions(folder: string): Readonly<Record<string, HclFunction>> {
  const locate = (path: string) => resolve(folder, expand(path));

  const read = (path: string): string => {
    const size = statSync(locate(path)).size;
    if (size > MAX_FILE_BYTES)
      throw new FunctionError(`${path} has ${size} bytes; at most ${MAX_FILE_BYTES} are read`);
    const bytes = readFileSync(locate(path));
    const text = bytes.toString("utf8");
    if (!Buffer.from(text).equals(bytes)) throw new FunctionError(`${path} is not UTF-8 text`);
    return text;
  };

  const fileset = (path: string, glob: string): string[] => {
    const root = locate(path);
    const pattern = globPattern(glob);
    const entries = readdirSync(root, { recursive: true, withFileTypes: true });
    if (entries.length > MAX_ENTRIES)
      throw new FunctionError(`${path} holds more than ${MAX_ENTRIES} entries`);
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
      .filter((name) => pattern.test(name))
      .sort();
  };

  return {
    abspath: fn(1, 1, (a) => locate(a.string(0))),
    basename: fn(1, 1, (a) => basename(a.string(0))),
    dirname: fn(1, 1, (a) => dirname(a.string(0))),
    file: fn(1, 1, (a) => attempt(() => read(a.string(0)))),
    filebase64: fn(1, 1, (a) => attempt(() => readFileSync(locate(a.string(0))).toString("base64"))),
    fileexists: fn(1, 1, (a) =>
      attempt(() => existsSync(locate(a.string(0))) && statSync(locate(a.string(0))).isFile()),
    ),
    fileset: fn(2, 2, (a) => attempt(() => fileset(a.string(0), a.string(1)))),
    pathexpand: fn(1, 1, (a) => expand(a.string(0))),
  };
}

/** Stands in where files are out of bounds, so that the answer says so instead of "unknown function". */
export function refusedFilesystemFunctions(): Readonly<Record<string, HclFunction>> {
  const refuse: HclFunction = () => {
    throw new FunctionError(
      "files can be read only where the job file is: parse it with the command line (drover job run) instead",
    );
  };
  return Object.fromEntries(Object.keys(filesystemFunctions(".")).map((name) => [name, refuse]));
}
