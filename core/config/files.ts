import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { HclConfig } from "../jobspec/hcl/config.js";
import { fitBlocks, isObject, pathInText } from "./blocks.js";
import { ConfigError, type ConfigProblem } from "./errors.js";
import { mergeSettings } from "./merge.js";
import { problemsOf } from "./problems.js";
import { fileSchema, type Settings } from "./schema.js";

const MAX_FILE_BYTES = 1024 * 1024;

export interface LoadedFiles {
  readonly settings: Settings;
  /** Files read, in order. */
  readonly files: readonly string[];
  /** `agent.hcl:12` of a key whose value `holds`, in the last file where it does; undefined where no file does. */
  locate(path: readonly string[], holds: (value: unknown) => boolean): string | undefined;
  /** `agent.hcl:12` of a key inside the `config` of a plugin's block; undefined where that is not known. */
  locatePlugin(label: string, path: readonly (string | number)[]): string | undefined;
}

interface ParsedFile {
  readonly file: string;
  readonly config: HclConfig;
  readonly settings: Settings;
}

/**
 * Reads `-config` files and folders (their `*.hcl` and `*.json` in lexical order, not deeper) and merges them in
 * order. Throws `ConfigError` with every problem of every file.
 */
export async function loadFiles(paths: readonly string[]): Promise<LoadedFiles> {
  const problems: ConfigProblem[] = [];
  const files = (await Promise.all(paths.map((path) => expand(path, problems)))).flat();
  const parsed: ParsedFile[] = [];
  for (const file of files) {
    const one = await parse(file, problems);
    if (one !== undefined) parsed.push(one);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    settings: parsed.reduce((merged, { settings }) => mergeSettings(merged, settings), {} as Settings),
    files,
    locate(path, holds) {
      const last = parsed.findLast(({ settings }) => holds(valueAt(settings, path)));
      return last === undefined ? undefined : placeOf(last, path);
    },
    locatePlugin(label, path) {
      // A later block of the same plugin replaced the earlier ones.
      const last = parsed.findLast(({ settings }) => Object.hasOwn(settings.plugin ?? {}, label));
      return last === undefined ? undefined : placeOf(last, ["plugin", label, "config", ...path]);
    },
  };
}

async function expand(path: string, problems: ConfigProblem[]): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = await readdir(path);
    return names
      .filter((name) => /\.(hcl|json)$/.test(name))
      .sort()
      .map((name) => join(path, name));
  } catch (error) {
    problems.push({ place: path, message: fileError(error) });
    return [];
  }
}

async function parse(file: string, problems: ConfigProblem[]): Promise<ParsedFile | undefined> {
  let config: HclConfig;
  try {
    const { size } = await stat(file);
    if (size > MAX_FILE_BYTES)
      throw new Error(`is ${size} bytes long; a configuration file has at most ${MAX_FILE_BYTES}`);
    const content = await readFile(file, "utf8");
    // An agent without files (-dev) does not pay for the parser.
    const { HclError, parseHclConfig } = await import("../jobspec/index.js");
    try {
      config = await parseHclConfig(content, file);
    } catch (error) {
      if (!(error instanceof HclError)) throw error;
      for (const { line, column, summary, detail } of error.diagnostics) {
        problems.push({ place: `${file}:${line}:${column}`, message: `${summary}; ${detail}` });
      }
      return undefined;
    }
  } catch (error) {
    problems.push({ place: file, message: fileError(error) });
    return undefined;
  }
  if (!isObject(config.body)) {
    problems.push({ place: file, message: "must hold an object" });
    return undefined;
  }
  const checked = fileSchema.safeParse(fitBlocks(fileSchema, config.body));
  if (checked.success) return { file, config, settings: checked.data };
  for (const { path, message } of problemsOf(fileSchema, checked.error.issues)) {
    problems.push({ place: placeOf({ file, config }, path), message: `${path.join(".")}: ${message}` });
  }
  return undefined;
}

function valueAt(settings: Settings, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), settings);
}

/** `file:line`; of the nearest enclosing block where the text has no finer position. */
function placeOf(
  { file, config }: Pick<ParsedFile, "file" | "config">,
  path: readonly (string | number)[],
): string {
  const inText = pathInText(config.body, path);
  for (let length = inText.length; length > 0; length--) {
    const at = config.locate(inText.slice(0, length));
    if (at !== undefined) return `${file}:${at.line}`;
  }
  return file;
}

function fileError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "no such file or folder";
  if (code === "EACCES") return "can't be read: permission denied";
  return message;
}
