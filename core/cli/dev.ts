import type { Command } from "commander";
import type { DevOptions } from "./dev-run.js";
import { ioOf } from "./io.js";

const several = (value: string, before: readonly string[]): string[] => [...before, value];

export function registerDev(program: Command): void {
  program
    .command("dev")
    .summary("try Drover: a development cluster, and a job on it")
    .description(
      "Starts a server and a client on this machine, runs the job of the file on it, shows its first output, and stays\n" +
        "until Ctrl-C, which ends everything, tasks included. Nothing is kept.",
    )
    .argument("[jobfile]", "job to run, in HCL or JSON")
    .option(
      "--config <path>",
      "agent configuration over the defaults of -dev; may be given several times",
      several,
      [],
    )
    .option("--http-port <port>", "port of the HTTP API (default 4646, or a free one where that is taken)")
    .option("--log-level <level>", "show the agent's log: TRACE, DEBUG, INFO, WARN or ERROR")
    .addHelpText(
      "after",
      "\nExamples:\n  drover dev\n  drover dev examples/hello.hcl\n  drover dev -log-level=debug job.hcl",
    )
    .action(async (file: string | undefined, options: DevOptions, command: Command) => {
      const { runDev } = await import("./dev-run.js");
      process.exitCode = await runDev(file, options, ioOf(command));
    });
}
