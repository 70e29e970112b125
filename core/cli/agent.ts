import type { Command } from "commander";
import type { AgentOptions } from "./agent-run.js";

const several = (value: string, before: readonly string[]): string[] => [...before, value];

export function registerAgent(program: Command): void {
  program
    .command("agent")
    .summary("run a server, a client or both")
    .description(
      "Runs an agent until it is told to stop. What it is (a server, a client, both) comes from files in Nomad's agent\n" +
        "configuration format and from flags, which override the files.",
    )
    .option(
      "--config <path>",
      "configuration file (HCL or JSON) or folder of them; may be given several times",
      several,
      [],
    )
    .option("--dev", "one server and one client on this machine, on the loopback interface; keeps nothing")
    .option("--data-dir <path>", "absolute folder of everything durable")
    .option("--bind <address>", "address to listen on (default 0.0.0.0)")
    .option("--http-port <port>", "port of the HTTP API (default 4646)")
    .option("--rpc-port <port>", "port of the servers among themselves (default 4647)")
    .option("--region <name>", "region of the agent (default global)")
    .option("--dc <name>", "datacenter of the agent (default dc1)")
    .option("--node <name>", "name of the node (default: the host's)")
    .option("--log-level <level>", "TRACE, DEBUG, INFO, WARN or ERROR (default INFO)")
    .option("--log-json", "log JSON objects")
    .option("--log-file <path>", "also log to this file")
    .option("--plugin-dir <path>", "folder in which plugin packages are looked for")
    .option("--server", "be a server")
    .option("--bootstrap-expect <n>", "number of servers that begin the cluster together")
    .option(
      "--join <address>",
      "server to join at start, host or host:port of its RPC port (4647); may be given several times",
      several,
      [],
    )
    .option(
      "--retry-join <address>",
      "server to join, tried until one answers; may be given several times",
      several,
      [],
    )
    .option("--retry-max <n>", "tries of -retry-join after which the agent ends (default 0: none)")
    .option("--retry-interval <duration>", "time between two tries of -retry-join (default 30s)")
    .option("--client", "be a client: run workloads")
    .option("--servers <list>", "servers of a client, with commas")
    .option("--state-dir <path>", "folder of the client's state")
    .option("--alloc-dir <path>", "folder of the allocations")
    .option("--node-class <name>", "class of the node, for constraints")
    .option("--network-interface <name>", "interface whose address allocations get")
    .option("--cpu-total-compute <mhz>", "total CPU of the node, where it can't be detected")
    .option("--meta <pair>", "metadata of the node, key=value; may be given several times", several, [])
    .addHelpText(
      "after",
      `
Signals: SIGINT and SIGTERM stop the agent (a second one at once); where the configuration has leave_on_interrupt or
leave_on_terminate set, a server leaves its cluster before. SIGHUP reads the files again.

Examples:
  drover agent -dev
  drover agent -config /etc/drover/agent.hcl -config /etc/drover/local
  drover agent -server -bootstrap-expect 1 -data-dir /var/lib/drover
  drover agent -server -bootstrap-expect 3 -retry-join 10.0.0.1 -retry-join 10.0.0.2 -data-dir /var/lib/drover`,
    )
    .action(async (options: AgentOptions) => {
      const { runAgent } = await import("./agent-run.js");
      process.exitCode = await runAgent(options);
    });
}
