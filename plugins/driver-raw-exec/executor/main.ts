/**
 * The executor: a small process between the agent and its raw_exec tasks, so that they, their logs and their exit codes
 * outlive the agent. `node main.js SOCKET LINGER TETHER`: the socket to listen on; how long to stay without tasks and
 * agent, milliseconds; and, above 0, how long tasks may run without an agent.
 */
import { chmodSync, existsSync, renameSync, unlinkSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import {
  EXECUTOR_PROTOCOL,
  type ExecutorEvent,
  type ExecutorMethods,
  type Request,
  readLines,
  sendLine,
} from "./protocol.js";
import { Supervisor } from "./supervisor.js";

const [, , socketPath = "", lingerText = "", tetherText = ""] = process.argv;
const linger = Number(lingerText);
const tether = Number(tetherText);
/** How often to look whether the folder was removed under us, milliseconds. */
const SOCKET_CHECK = 10_000;

const agents = new Set<Socket>();
const supervisor = new Supervisor(dirname(socketPath), broadcast);
let alone: NodeJS.Timeout | undefined;

function broadcast(event: ExecutorEvent): void {
  for (const agent of agents) sendLine(agent, event);
  settle();
}

/** Decides how long to stay, after anything changed. */
function settle(): void {
  clearTimeout(alone);
  if (agents.size > 0) return;
  if (supervisor.size === 0) alone = setTimeout(leave, linger);
  else if (tether > 0) alone = setTimeout(end, tether);
}

function leave(): void {
  if (existsSync(socketPath)) unlinkSync(socketPath);
  process.exit(0);
}

function end(): void {
  supervisor.killAll().then(leave, (error: unknown) => {
    console.error(`tasks could not be killed: ${String(error)}`);
    process.exit(1);
  });
}

async function handle<M extends keyof ExecutorMethods>(
  method: M,
  request: ExecutorMethods[M]["request"],
): Promise<ExecutorMethods[M]["answer"]> {
  const handlers: { [K in keyof ExecutorMethods]: (r: ExecutorMethods[K]["request"]) => unknown } = {
    start: (r) => supervisor.start(r),
    status: (r) => supervisor.status(r.key),
    find: (r) => supervisor.find(r.id),
    stop: (r) => supervisor.stop(r.key, r.signal, r.timeout).then(() => null),
    signal: (r) => {
      supervisor.signal(r.key, r.signal);
      return null;
    },
    forget: (r) => {
      supervisor.forget(r.key);
      return null;
    },
    shutdown: () => supervisor.killAll().then(() => null),
  };
  if (!Object.hasOwn(handlers, method)) throw new Error(`the executor has no method "${String(method)}"`);
  return (await handlers[method](request)) as ExecutorMethods[M]["answer"];
}

const server = createServer((agent) => {
  agents.add(agent);
  settle();
  agent.on("error", (error) => console.error(`agent's connection: ${error.message}`));
  agent.on("close", () => {
    agents.delete(agent);
    settle();
  });
  sendLine(agent, { hello: { protocol: EXECUTOR_PROTOCOL, pid: process.pid } });
  readLines(agent, (message) => {
    const { id, method, request } = message as Request;
    handle(method, request as never).then(
      (answer) => {
        sendLine(agent, { id, answer });
        if (method === "shutdown") agent.end(leave);
        settle();
      },
      (error: unknown) =>
        sendLine(agent, { id, error: error instanceof Error ? error.message : String(error) }),
    );
  });
});

server.on("error", (error) => {
  console.error(`executor can't listen on ${socketPath}: ${error.message}`);
  process.exit(1);
});
process.umask(0o077);
// Under its name only once it listens: whoever sees the socket can connect, and one that refuses is dead.
const unready = `${socketPath}.new`;
server.listen(unready, () => {
  process.umask(0o022);
  chmodSync(unready, 0o600);
  renameSync(unready, socketPath);
  settle();
});

setInterval(() => {
  if (!existsSync(socketPath) && agents.size === 0 && supervisor.running === 0) process.exit(0);
}, SOCKET_CHECK).unref();

// The agent's terminal and its end are nothing to us; the end of the machine is.
process.on("SIGINT", () => undefined);
process.on("SIGHUP", () => undefined);
process.on("SIGTERM", end);
// An unforeseen error must not take every task with it: it is written down, and the tasks go on.
process.on("uncaughtException", (error) => console.error(error.stack ?? String(error)));
