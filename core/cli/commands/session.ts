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
  readonly caCert?: string;
  readonly caPath?: string;
  readonly clientCert?: string;
  readonly clientKey?: string;
  readonly tlsServerName?: string;
  readonly tlsSkipVerify?: boolean;
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
    .option("--ca-cert <file>", "CA of the agent's certificate (NOMAD_CACERT, DROVER_CACERT)")
    .option("--ca-path <folder>", "folder of CA certificates (NOMAD_CAPATH, DROVER_CAPATH)")
    .option("--client-cert <file>", "certificate to show (NOMAD_CLIENT_CERT, DROVER_CLIENT_CERT)")
    .option("--client-key <file>", "key of that certificate (NOMAD_CLIENT_KEY, DROVER_CLIENT_KEY)")
    .option(
      "--tls-server-name <name>",
      "name that the agent's certificate must have (NOMAD_TLS_SERVER_NAME, DROVER_TLS_SERVER_NAME)",
    )
    .option(
      "--tls-skip-verify",
      "don't check the agent's certificate (NOMAD_SKIP_VERIFY, DROVER_SKIP_VERIFY)",
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
    tls: {
      caCert: setting(flags.caCert, "CACERT"),
      caPath: setting(flags.caPath, "CAPATH"),
      clientCert: setting(flags.clientCert, "CLIENT_CERT"),
      clientKey: setting(flags.clientKey, "CLIENT_KEY"),
      serverName: setting(flags.tlsServerName, "TLS_SERVER_NAME"),
      skipVerify: flags.tlsSkipVerify ?? (isTrue(setting(undefined, "SKIP_VERIFY")) || undefined),
    },
  };
  try {
    return { io: flags.color === false ? plainly(io) : io, client: new ApiClient(options) };
  } catch (error) {
    throw new ExitError(1, `Error initializing client: ${messageOf(error)}`);
  }
}

const isTrue = (value: string | undefined): boolean => /^(1|t|true)$/i.test(value ?? "");

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
