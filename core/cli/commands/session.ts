/** What every command that talks to an agent has: its flags, a client, and errors for people. */
import type { Command } from "commander";
import { ApiClient, DEFAULT_ADDRESS } from "../client.js";
import { ExitError } from "../exit.js";
import { type CommandIo, ioOf } from "../io.js";

export interface Session {
  readonly io: CommandIo;
  readonly client: ApiClient;
}

interface ApiFlags {
  readonly address?: string;
  readonly region?: string;
  readonly namespace?: string;
  readonly token?: string;
  readonly color?: boolean;
}

/** Flags of Nomad's command line that every such command takes. */
export function withApiFlags(command: Command): Command {
  return command
    .option("--address <url>", "HTTP address of the agent (NOMAD_ADDR, DROVER_ADDR)")
    .option("--region <name>", "region to forward to (NOMAD_REGION, DROVER_REGION)")
    .option(
      "--namespace <name>",
      'namespace of jobs and allocations; "*" is all (NOMAD_NAMESPACE, DROVER_NAMESPACE)',
    )
    .option(
      "--token <secret>",
      "ACL token (better: NOMAD_TOKEN or DROVER_TOKEN, which other users can't see)",
    )
    .option("--no-color", "no colours (also: NO_COLOR)");
}

/** A client for the command's flags and environment; flags win over DROVER_ variables, those over NOMAD_ ones. */
export function openSession(command: Command): Session {
  const io = ioOf(command);
  const flags = command.opts<ApiFlags>();
  const setting = (flag: string | undefined, name: string) =>
    flag ?? (io.env[`DROVER_${name}`] || io.env[`NOMAD_${name}`] || undefined);
  const options = {
    address: setting(flags.address, "ADDR") ?? DEFAULT_ADDRESS,
    region: setting(flags.region, "REGION"),
    namespace: setting(flags.namespace, "NAMESPACE"),
    token: setting(flags.token, "TOKEN"),
  };
  try {
    return { io: flags.color === false ? plainly(io) : io, client: new ApiClient(options) };
  } catch (error) {
    throw new ExitError(1, `Error initializing client: ${messageOf(error)}`);
  }
}

function plainly(io: CommandIo): CommandIo {
  return Object.create(io, { color: { value: false } }) as CommandIo;
}

/** Awaits `work`; an error becomes the end of the command, with what was tried in front. */
export async function attempt<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof ExitError) throw error;
    throw new ExitError(1, `${what}: ${messageOf(error)}`, { cause: error });
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Examples at the end of a command's help. */
export function withExamples(
  command: Command,
  ...examples: readonly [line: string, meaning: string][]
): Command {
  const lines = examples.map(([line, meaning]) => `  ${line}\n      ${meaning}`);
  return command.addHelpText("after", `\nExamples:\n${lines.join("\n")}`);
}
