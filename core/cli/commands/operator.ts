import type { Command } from "commander";
import { defineAutopilot } from "./operator-autopilot.js";
import { defineRaft } from "./operator-raft.js";
import { defineScheduler } from "./operator-scheduler.js";
import { defineSnapshot } from "./operator-snapshot.js";

/** `operator`: raft, snapshot, autopilot and scheduler */
export function register(program: Command): void {
  const operator = program
    .command("operator")
    .summary("look after the servers: raft, snapshots, autopilot, schedulers")
    .description("Work of those who run the cluster.");
  defineRaft(operator);
  defineSnapshot(operator);
  defineAutopilot(operator);
  defineScheduler(operator);
}
