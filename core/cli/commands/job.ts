import type { Command } from "commander";
import { defineDeployments, definePromote } from "./job-deployments.js";
import { defineHistory } from "./job-history.js";
import { defineInspect } from "./job-inspect.js";
import { definePlan } from "./job-plan.js";
import { defineRevert } from "./job-revert.js";
import { defineRun } from "./job-run.js";
import { defineJobStatus } from "./job-status.js";
import { defineStop } from "./job-stop.js";
import { defineValidate } from "./job-validate.js";

/** `job run|plan|status|stop|inspect|history|validate`, and the same at the top for those that Nomad has there. */
export function register(program: Command): void {
  const job = program
    .command("job")
    .summary("run, look at and stop jobs")
    .description("Everything about jobs.");
  defineRun(job);
  definePlan(job);
  defineJobStatus(job);
  defineStop(job);
  defineInspect(job);
  defineValidate(job);
  defineHistory(job);
  defineRevert(job);
  defineDeployments(job);
  definePromote(job);
  defineRun(program);
  definePlan(program);
  defineStop(program);
  defineInspect(program);
  defineValidate(program);
}
