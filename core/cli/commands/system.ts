import type { Command } from "commander";
import { attempt, openSession, withApiFlags, withExamples } from "./session.js";

/** `system gc` */
export function register(program: Command): void {
  const system = program
    .command("system")
    .summary("work on the cluster as a whole")
    .description("The cluster as a whole.");
  const gc = system
    .command("gc")
    .summary("forget what is over")
    .description(
      "Has the servers remove dead jobs, ended evaluations, allocations and deployments, nodes that are down, and used join\n" +
        "tokens, however young. It goes on in the background.",
    )
    .action(async (_flags: unknown, self: Command) => {
      await attempt(
        "Error running system garbage-collection",
        openSession(self).client.put("/v1/system/gc", {}),
      );
    });
  withExamples(withApiFlags(gc), ["drover system gc", "now, whatever the gc thresholds of the servers say"]);
}
