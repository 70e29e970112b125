import type { AutopilotConfiguration, OperatorHealthReply } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ApiError } from "../client.js";
import { ExitError } from "../exit.js";
import { truth, wholeNumber } from "../flag-values.js";
import { columns, printJson } from "../format.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

const PATH = "/v1/operator/autopilot/configuration";

interface JsonFlags {
  readonly json?: boolean;
}

interface SetFlags {
  readonly cleanupDeadServers?: boolean;
  readonly lastContactThreshold?: string;
  readonly maxTrailingLogs?: number;
  readonly minQuorum?: number;
  readonly serverStabilizationTime?: string;
}

/** `operator autopilot get-config`, `set-config` and `health` */
export function defineAutopilot(operator: Command): void {
  const autopilot = operator
    .command("autopilot")
    .summary("what the servers do by themselves about servers that join and fail")
    .description(
      "Autopilot watches the servers' health, gives new servers their vote once they are stable, and removes those that\n" +
        "failed.",
    );
  const get = autopilot
    .command("get-config")
    .summary("show the settings")
    .description("Shows the settings of autopilot.")
    .option("--json", "the API's answer instead of lines")
    .action((_flags: unknown, self: Command) => getConfig(openSession(self), self.opts()));
  withExamples(withApiFlags(get), ["drover operator autopilot get-config", "what is in force"]);

  const set = autopilot
    .command("set-config")
    .summary("change settings")
    .description(
      "Changes the settings that are given and leaves the others as they are. They are in force at once.",
    )
    .option(
      "--cleanup-dead-servers [bool]",
      "remove servers that failed, as long as the others keep a quorum",
      truth,
    )
    .option(
      "--last-contact-threshold <duration>",
      'silence after which a server counts as unhealthy, for example "200ms"',
    )
    .option(
      "--max-trailing-logs <entries>",
      "entries of the log that a healthy server may lag behind",
      wholeNumber,
    )
    .option("--min-quorum <servers>", "never clean up below this many servers with a vote", wholeNumber)
    .option(
      "--server-stabilization-time <duration>",
      'how long a new server must be healthy before it gets its vote, for example "10s"',
    )
    .action((_flags: unknown, self: Command) => setConfig(openSession(self), self.opts()));
  withExamples(
    withApiFlags(set),
    [
      "drover operator autopilot set-config -min-quorum=3",
      "never fewer than three servers by autopilot's doing",
    ],
    [
      "drover operator autopilot set-config -cleanup-dead-servers=false",
      "leave failed servers where they are, while machines are being replaced",
    ],
  );

  const health = autopilot
    .command("health")
    .summary("how the servers are")
    .description(
      "Shows how each server is as the leader sees it, and how many may fail before nothing can be decided. The exit code is 0\n" +
        "also where a server is not well; scripts read -json.",
    )
    .option("--json", "the API's answer instead of a table")
    .action((_flags: unknown, self: Command) => showHealth(openSession(self), self.opts()));
  withExamples(withApiFlags(health), [
    "drover operator autopilot health",
    "before and after a server is replaced",
  ]);
}

async function getConfig({ client, io }: Session, flags: JsonFlags): Promise<void> {
  const { value } = await attempt(
    "Error querying Autopilot configuration",
    client.get<AutopilotConfiguration>(PATH),
  );
  io.out(flags.json === true ? printJson(value) : configText(value));
}

/** Nomad's names and order. */
function configText(config: AutopilotConfiguration): string {
  return [
    ["CleanupDeadServers", config.CleanupDeadServers],
    ["LastContactThreshold", config.LastContactThreshold],
    ["MaxTrailingLogs", config.MaxTrailingLogs],
    ["MinQuorum", config.MinQuorum],
    ["ServerStabilizationTime", config.ServerStabilizationTime],
    ["EnableRedundancyZones", config.EnableRedundancyZones],
    ["DisableUpgradeMigration", config.DisableUpgradeMigration],
    ["EnableCustomUpgrades", config.EnableCustomUpgrades],
  ]
    .map(([name, value]) => `${String(name)} = ${String(value)}`)
    .join("\n");
}

async function setConfig({ client, io }: Session, flags: SetFlags): Promise<void> {
  const { value: before } = await attempt(
    "Error querying Autopilot configuration",
    client.get<AutopilotConfiguration>(PATH),
  );
  const config: AutopilotConfiguration = {
    ...before,
    CleanupDeadServers: flags.cleanupDeadServers ?? before.CleanupDeadServers,
    LastContactThreshold: flags.lastContactThreshold ?? before.LastContactThreshold,
    MaxTrailingLogs: flags.maxTrailingLogs ?? before.MaxTrailingLogs,
    MinQuorum: flags.minQuorum ?? before.MinQuorum,
    ServerStabilizationTime: flags.serverStabilizationTime ?? before.ServerStabilizationTime,
  };
  // What another operator changes at the same time must not be undone by this.
  const { value: updated } = await attempt(
    "Error setting Autopilot configuration",
    client.put<boolean>(PATH, config, { cas: before.ModifyIndex }),
  );
  if (!updated) {
    throw new ExitError(
      1,
      "Configuration could not be atomically updated: somebody else changed it meanwhile. Look at it with drover operator autopilot get-config and try again.",
    );
  }
  io.out("Configuration updated!");
}

async function showHealth({ client, io }: Session, flags: JsonFlags): Promise<void> {
  const health = await attempt("Error querying Autopilot health", healthOf(client));
  io.out(flags.json === true ? printJson(health) : healthText(health));
}

/** Servers that are not well are answered with the code 429 and the same body. */
async function healthOf(client: Session["client"]): Promise<OperatorHealthReply> {
  try {
    return (await client.get<OperatorHealthReply>("/v1/operator/autopilot/health")).value;
  } catch (error) {
    const unwell = error instanceof ApiError && error.status === 429 ? parsed(error.body) : undefined;
    if (unwell === undefined) throw error;
    return unwell;
  }
}

/** Undefined for another refusal with that code, which is text. */
function parsed(body: string): OperatorHealthReply | undefined {
  try {
    return JSON.parse(body) as OperatorHealthReply;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function healthText({ Healthy, FailureTolerance, Servers }: OperatorHealthReply): string {
  const leader = Servers.find((server) => server.Leader);
  const voters = Servers.filter((server) => server.Voter).map(({ ID }) => `        ${ID}`);
  return [
    `Healthy: ${Healthy}`,
    `FailureTolerance: ${FailureTolerance}`,
    `Leader: ${leader?.ID ?? "<none>"}`,
    "Voters:",
    ...voters,
    "Servers:",
    columns([
      [
        "ID",
        "Name",
        "Address",
        "SerfStatus",
        "Version",
        "Leader",
        "Voter",
        "Healthy",
        "LastContact",
        "LastTerm",
        "LastIndex",
        "StableSince",
      ],
      ...Servers.map((server) => [
        server.ID,
        server.Name,
        server.Address,
        server.SerfStatus,
        server.Version,
        String(server.Leader),
        String(server.Voter),
        String(server.Healthy),
        server.LastContact,
        String(server.LastTerm),
        String(server.LastIndex),
        server.StableSince,
      ]),
    ]),
  ].join("\n");
}
