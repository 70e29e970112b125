#!/usr/bin/env -S node --max-semi-space-size=4
// A young generation of 4 MB: collecting one is the longest pause that the main thread has of itself.
import { Command } from "commander";
import { registerAgent } from "./agent.js";
import { normalizeArgv } from "./argv.js";
import { registerDev } from "./dev.js";
import { ExitError } from "./exit.js";
import { droverVersion } from "./version.js";

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command("drover")
    .description("Drover runs your jobs on your machines. Start with: drover dev examples/hello.hcl")
    .version(droverVersion(), "-v, --version", "print the version")
    .showHelpAfterError("(see drover --help)")
    .enablePositionalOptions();
  registerAgent(program);
  registerDev(program);
  // An agent does not need the commands that talk to one.
  if (argv[0] !== "agent" && argv[0] !== "dev") {
    const { registerCommands } = await import("./commands/index.js");
    registerCommands(program);
  }
  const booleans = booleanFlags(program);
  await program.parseAsync(
    normalizeArgv(argv, (flag) => booleans.has(flag)),
    { from: "user" },
  );
}

function booleanFlags(command: Command): Set<string> {
  const own = command.options
    .filter((option) => option.isBoolean() || option.negate)
    .map((option) => option.name());
  return new Set([...own, ...command.commands.flatMap((inner) => [...booleanFlags(inner)])]);
}

main(process.argv.slice(2)).then(
  () => process.exit(),
  (error: unknown) => {
    if (!(error instanceof ExitError))
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    else if (error.message !== "") process.stderr.write(`${error.message}\n`);
    process.exit(error instanceof ExitError ? error.code : 1);
  },
);
