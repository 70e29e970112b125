import type { Command } from "commander";
import { ioOf } from "../io.js";
import { droverVersion } from "../version.js";

export function register(program: Command): void {
  program
    .command("version")
    .summary("print the version")
    .description("Prints the version of this program.")
    .action((_flags: unknown, self: Command) => ioOf(self).out(`Drover v${droverVersion()}`));
}
