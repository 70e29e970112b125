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
      "Has the servers remove stopped jobs, finished evaluations and allocations, and nodes that are gone.",
    )
    .action(async (_flags: unknown, self: Command) => {
      await attempt(
        "Error running system garbage-collection",
        openSession(self).client.put("/v1/system/gc", {}),
      );
    });
  withExamples(withApiFlags(gc), ["drover system gc", "now, without waiting for the hourly round"]);
}
