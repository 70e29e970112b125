import { rmSync } from "node:fs";
import type { AgentFlags } from "../config/index.js";
import { reasonOf } from "../kernel/errors.js";
import { type StopReason, StopRequest } from "./agent-stop.js";
import { agentBanner } from "./banner.js";
import { type Agent, boot } from "./boot.js";

/** Options of `drover agent` as commander gives them. */
export interface AgentOptions extends AgentFlags {
  readonly dev?: boolean;
  readonly config: readonly string[];
}

const out = (text: string): void => void process.stdout.write(text);
const err = (text: string): void => void process.stderr.write(text);

/** Runs an agent until it is told to stop; gives the exit code. */
export async function runAgent(options: AgentOptions): Promise<number> {
  let agent: Agent | undefined;
  const stop = new StopRequest(
    (why) => {
      err(`==> Forced to end: ${why}\n`);
      removeTemporary(agent);
    },
    (signal) => leavesOn(agent, signal),
  );
  out("==> Starting Drover agent...\n");
  try {
    agent = await boot({
      dev: options.dev === true,
      paths: options.config,
      flags: options,
      logToStdout: true,
      onFatal: (error) => stop.fail(error),
    });
  } catch (error) {
    err(`${headed("Error starting agent", error)}\n`);
    return 1;
  }
  for (const file of agent.info.config.files) out(`==> Loaded configuration from ${file}\n`);
  out(agentBanner(agent.info));

  const running = agent;
  const started = running.start().then(
    () => undefined,
    (error: unknown) => ({ error: error instanceof Error ? error : new Error(reasonOf(error)) }),
  );
  // From now on, so that no SIGHUP ends an agent that is about to be up: it is heard when the agent is.
  process.on("SIGHUP", () => {
    void started.then(async (failed) => {
      if (failed === undefined) await reload(running);
    });
  });
  const early = await Promise.race([started, stop.reason]);
  if (early === undefined) {
    out("==> Drover agent started! Log data will stream in below:\n\n");
    running.log.release();
  }
  const reason = early ?? (await stop.reason);
  return finish(running, reason, early !== undefined);
}

async function reload(agent: Agent): Promise<void> {
  try {
    await agent.reload();
  } catch (error) {
    agent.log.logger
      .child({ module: "agent" })
      .error({}, `configuration not reloaded, the old one stays: ${reasonOf(error).replaceAll("\n", "; ")}`);
  }
}

/** Stops the agent; 0 where it was asked to and could. */
async function finish(agent: Agent, reason: StopReason, early: boolean): Promise<number> {
  agent.log.release();
  let code = 0;
  if ("signal" in reason) {
    out(
      `==> Caught signal: ${reason.signal === "SIGINT" ? "interrupt" : "terminated"}\n==> Gracefully shutting down agent...\n`,
    );
    if (!early && leavesOn(agent, reason.signal)) await agent.leave();
  } else {
    code = 1;
    err(`${headed(early ? "Error starting agent" : "The agent can't go on", reason.error)}\n`);
  }
  try {
    await agent.stop();
  } catch (error) {
    err(`${headed("Stopping", error)}\n`);
    code = 1;
  }
  return code;
}

/** Whether the configuration has a server leave its cluster for good on that signal. */
function leavesOn(agent: Agent | undefined, signal: NodeJS.Signals): boolean {
  if (agent === undefined || !agent.info.serverEnabled) return false;
  const { leave_on_interrupt, leave_on_terminate } = agent.info.config;
  return signal === "SIGINT" ? leave_on_interrupt : leave_on_terminate;
}

function removeTemporary(agent: Agent | undefined): void {
  if (agent?.temporaryDir !== undefined) rmSync(agent.temporaryDir, { recursive: true, force: true });
}

function headed(what: string, error: unknown): string {
  const lines = reasonOf(error).split("\n");
  return lines.length === 1
    ? `==> ${what}: ${lines[0]}`
    : [`==> ${what}:`, ...lines.map((line) => `    * ${line}`)].join("\n");
}
