import { rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { basename, join, relative } from "node:path";
import { temporaryDataDir } from "../config/data-dir.js";
import { DEFAULT_PORTS } from "../config/index.js";
import { reasonOf } from "../kernel/errors.js";
import { StopRequest } from "./agent-stop.js";
import { type Agent, boot } from "./boot.js";
import { ApiClient } from "./client.js";
import { runJob, type StartedJob, showFirstLines } from "./dev-job.js";
import type { CommandIo } from "./io.js";

export interface DevOptions {
  readonly logLevel?: string;
  readonly httpPort?: string;
  readonly config: readonly string[];
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Runs a development cluster, and a job on it, until it is told to stop; gives the exit code. */
export async function runDev(file: string | undefined, options: DevOptions, io: CommandIo): Promise<number> {
  const folder = await temporaryDataDir();
  const stop = new StopRequest((why) => {
    process.stderr.write(`==> Forced to end: ${why}\n`);
    rmSync(folder, { recursive: true, force: true });
  });
  const ending = new AbortController();
  const reason = stop.reason.then((why) => {
    ending.abort();
    return why;
  });
  let agent: Agent | undefined;
  let code = 0;
  try {
    agent = await startAgent(folder, options, stop);
    const work = present(agent, file, io, ending.signal);
    // A signal ends the wait, whatever the job is doing.
    await Promise.race([work, reason]);
    const why = await reason;
    if ("error" in why) throw why.error;
    print(`\n==> Caught ${why.signal}, stopping everything...`);
  } catch (error) {
    process.stderr.write(`==> ${reasonOf(error)}\n`);
    code = 1;
  }
  ending.abort();
  try {
    await agent?.stop();
  } catch (error) {
    process.stderr.write(`==> Stopping: ${reasonOf(error)}\n`);
    code = 1;
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  return code;
}

async function startAgent(folder: string, options: DevOptions, stop: StopRequest): Promise<Agent> {
  const port = options.httpPort ?? String(await choosePort(DEFAULT_PORTS.http, "the HTTP API"));
  const rpcPort = String(await choosePort(DEFAULT_PORTS.rpc, "the server"));
  const agent = await boot({
    dev: true,
    paths: options.config,
    flags: {
      dataDir: folder,
      httpPort: port,
      rpcPort,
      logLevel: options.logLevel ?? "INFO",
      logFile: join(folder, "drover.log"),
    },
    logToStdout: options.logLevel !== undefined,
    onFatal: (error) => stop.fail(error),
  });
  agent.log.release();
  try {
    await agent.start();
  } catch (error) {
    await agent.stop();
    throw error;
  }
  print(`==> A server and a client run on this machine, ready after ${process.uptime().toFixed(2)} s`);
  print(`    (log of the agent: ${agent.info.config.log_file})`);
  return agent;
}

async function present(
  agent: Agent,
  file: string | undefined,
  io: CommandIo,
  signal: AbortSignal,
): Promise<void> {
  const { tls } = agent.info.config;
  const address = `${tls.http ? "https" : "http"}://${agent.info.advertise.http}`;
  const api = new ApiClient({
    address,
    ...(tls.http
      ? {
          tls: {
            caCert: tls.ca_file,
            clientCert: tls.cert_file,
            clientKey: tls.key_file,
            serverName: `server.${agent.info.region}.drover`,
          },
        }
      : {}),
  });
  try {
    let job: StartedJob | undefined;
    if (file !== undefined) {
      job = await runJob({ io, client: api }, file, print, signal);
      await showFirstLines(api, job, print, signal);
    }
    print(nextSteps(address, job, signal));
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function nextSteps(address: string, job: StartedJob | undefined, signal: AbortSignal): string {
  if (signal.aborted) return "";
  const command = commandName();
  const isDefault = address.endsWith(`:${DEFAULT_PORTS.http}`);
  const allocation = job?.allocations[0]?.ID.slice(0, 8);
  const steps =
    job === undefined
      ? ["job run examples/hello.hcl", "node status", "server members"]
      : [
          `job status ${job.id}`,
          allocation === undefined ? "node status" : `alloc logs -f ${allocation}`,
          `job stop ${job.id}`,
        ];
  return [
    "",
    `HTTP API: ${address}`,
    "",
    "Try next, in another terminal:",
    ...(isDefault ? [] : [`  export NOMAD_ADDR=${address}`]),
    ...steps.map((step) => `  ${command} ${step}`),
    "",
    "Ctrl-C stops everything.",
  ].join("\n");
}

/** How this program was called, so that the commands shown can be typed as they are. */
function commandName(): string {
  const script = process.argv[1] ?? "drover";
  return basename(script) === "drover" ? "drover" : `node ${relative(process.cwd(), script)}`;
}

/** `preferred` where it is free, else any other. */
async function choosePort(preferred: number, who: string): Promise<number> {
  try {
    return await probe(preferred);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    const free = await probe(0);
    print(`==> Port ${preferred} is in use; ${who} listens on ${free} instead`);
    return free;
  }
}

function probe(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => {
      const { port: found } = server.address() as { port: number };
      server.close(() => resolve(found));
    });
  });
}
