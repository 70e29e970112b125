/** Reads the job file that `job run` and `job validate` are given. */
import { readFile } from "node:fs/promises";
import type { JobInput } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { messageOf, type Session } from "./session.js";

export interface JobFileFlags {
  readonly var?: readonly string[];
  readonly varFile?: readonly string[];
}

export function withJobFileFlags(command: Command): Command {
  const collect = (value: string, before: readonly string[] = []) => [...before, value];
  return command
    .option("--var <name=value>", "value of a variable of the file; may be given again", collect)
    .option("--var-file <path>", "file with values of variables; may be given again", collect);
}

/** The job, with the defaults the API's clients fill in. `path` `-` is standard input. Throws ExitError 1. */
export async function readJobFile(
  { io, client }: Session,
  path: string,
  flags: JobFileFlags,
): Promise<JobInput> {
  // Loaded here: the parser is large, and most commands don't need it.
  const { parseJob, parseJobFile, canonicalizeForApi } = await import("../../jobspec/index.js");
  try {
    const inputs = {
      env: io.env,
      variables: Object.fromEntries((flags.var ?? []).map(splitVariable)),
      varFiles: await Promise.all(
        (flags.varFile ?? []).map(async (filename) => ({ filename, text: await readFile(filename, "utf8") })),
      ),
    };
    const parsed =
      path === "-"
        ? await parseJob(await io.readInput(), { ...inputs, filename: "stdin", allowFS: true })
        : await parseJobFile(path, inputs);
    // What the file says goes before flags and environment.
    const { namespace, region } = client.options;
    return canonicalizeForApi({
      ...parsed,
      ...(namespace === undefined || namespace === "*"
        ? undefined
        : { Namespace: parsed.Namespace ?? namespace }),
      ...(region === undefined ? undefined : { Region: parsed.Region ?? region }),
    });
  } catch (error) {
    if (error instanceof ExitError) throw error;
    const snippet = (error as { snippet?: unknown }).snippet;
    const shown = typeof snippet === "string" && snippet !== "" ? `\n\n${snippet}` : "";
    throw new ExitError(
      1,
      `Error getting job struct: Error parsing job file from ${path}:\n${messageOf(error)}${shown}`,
    );
  }
}

function splitVariable(text: string): [name: string, value: string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new ExitError(1, `-var "${text}" must be NAME=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}
