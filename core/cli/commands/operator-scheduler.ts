import type { PreemptionConfig, SchedulerConfiguration } from "@drover/plugin-sdk";
import type { Command } from "commander";
import { ExitError } from "../exit.js";
import { truth, wholeNumber } from "../flag-values.js";
import { keyValues, printJson } from "../format.js";
import { attempt, openSession, type Session, withApiFlags, withExamples } from "./session.js";

const PATH = "/v1/operator/scheduler/configuration";

interface ConfigAnswer {
  readonly SchedulerConfig: SchedulerConfiguration;
}

interface SetFlags {
  readonly checkIndex?: number;
  readonly json?: boolean;
  readonly schedulerAlgorithm?: string;
  readonly memoryOversubscription?: boolean;
  readonly rejectJobRegistration?: boolean;
  readonly pauseEvalBroker?: boolean;
  readonly preemptBatchScheduler?: boolean;
  readonly preemptServiceScheduler?: boolean;
  readonly preemptSysbatchScheduler?: boolean;
  readonly preemptSystemScheduler?: boolean;
}

/** `operator scheduler get-config`, `operator scheduler set-config` */
export function defineScheduler(operator: Command): void {
  const scheduler = operator
    .command("scheduler")
    .summary("settings of the schedulers")
    .description("Settings of the schedulers, replicated to all servers and in force at once.");
  const get = scheduler
    .command("get-config")
    .summary("show the settings of the schedulers")
    .description("Shows the settings of the schedulers.")
    .option("--json", "the API's answer instead of a table")
    .action((flags: { readonly json?: boolean }, self: Command) => getConfig(openSession(self), flags));
  withExamples(withApiFlags(get), ["drover operator scheduler get-config", "what is in force"]);

  const set = scheduler
    .command("set-config")
    .summary("change settings of the schedulers")
    .description(
      "Changes the settings that are given and leaves the others as they are. They are in force at once, and what waits\n" +
        "for capacity is tried again.",
    )
    .option(
      "--check-index <index>",
      "change nothing unless the configuration is at this ModifyIndex (see get-config)",
      wholeNumber,
    )
    .option(
      "--scheduler-algorithm <name>",
      "binpack fills nodes up one after the other, spread uses them evenly",
    )
    .option(
      "--memory-oversubscription [bool]",
      "let tasks use memory up to memory_max where the node has it to spare",
      truth,
    )
    .option(
      "--reject-job-registration [bool]",
      "refuse registration, dispatch and scaling of jobs, to shed load in an incident",
      truth,
    )
    .option(
      "--pause-eval-broker [bool]",
      "hand no evaluation to the schedulers: nothing is placed, stopped or collected until it is resumed",
      truth,
    )
    .option(
      "--preempt-service-scheduler [bool]",
      "let service jobs push aside those of lower priority",
      truth,
    )
    .option("--preempt-batch-scheduler [bool]", "the same for batch jobs", truth)
    .option("--preempt-system-scheduler [bool]", "the same for system jobs", truth)
    .option("--preempt-sysbatch-scheduler [bool]", "the same for sysbatch jobs", truth)
    .option("--json", "the API's answer instead of a sentence")
    .action((flags: SetFlags, self: Command) => setConfig(openSession(self), flags));
  withExamples(
    withApiFlags(set),
    ["drover operator scheduler set-config -scheduler-algorithm=spread", "use nodes evenly from now on"],
    [
      "drover operator scheduler set-config -preempt-service-scheduler=true",
      "important services get room at the cost of less important jobs",
    ],
    [
      "drover operator scheduler set-config -pause-eval-broker=true",
      "hold everything while you look into an incident; =false goes on",
    ],
  );
}

async function getConfig({ client, io }: Session, flags: { readonly json?: boolean }): Promise<void> {
  const { value } = await attempt("Error querying scheduler configuration", client.get<ConfigAnswer>(PATH));
  const { SchedulerConfig: config } = value;
  io.out(flags.json === true ? printJson(value) : configText(config));
}

async function setConfig({ client, io }: Session, flags: SetFlags): Promise<void> {
  const { value: present } = await attempt(
    "Error querying scheduler configuration",
    client.get<ConfigAnswer>(PATH),
  );
  const before = present.SchedulerConfig;
  const config = changed(before, flags);
  // Also without -check-index: what another operator changes at the same time must not be undone by this.
  const cas = flags.checkIndex ?? before.ModifyIndex;
  const { value: answer } = await attempt(
    "Error setting scheduler configuration",
    client.put<{ readonly Updated: boolean }>(PATH, config, { cas }),
  );
  if (!answer.Updated) {
    throw new ExitError(
      1,
      `Scheduler configuration could not be atomically updated: it is not at index ${cas} any more. Look at it with drover operator scheduler get-config and try again.`,
    );
  }
  io.out(flags.json === true ? printJson(answer) : "Scheduler configuration updated!");
}

function changed(before: SchedulerConfiguration, flags: SetFlags): SchedulerConfiguration {
  const preemption: PreemptionConfig = {
    BatchSchedulerEnabled: flags.preemptBatchScheduler ?? before.PreemptionConfig.BatchSchedulerEnabled,
    ServiceSchedulerEnabled: flags.preemptServiceScheduler ?? before.PreemptionConfig.ServiceSchedulerEnabled,
    SysBatchSchedulerEnabled:
      flags.preemptSysbatchScheduler ?? before.PreemptionConfig.SysBatchSchedulerEnabled,
    SystemSchedulerEnabled: flags.preemptSystemScheduler ?? before.PreemptionConfig.SystemSchedulerEnabled,
  };
  return {
    ...before,
    // The server knows the algorithms, and its refusal names what it got.
    SchedulerAlgorithm: (flags.schedulerAlgorithm ??
      before.SchedulerAlgorithm) as SchedulerConfiguration["SchedulerAlgorithm"],
    MemoryOversubscriptionEnabled: flags.memoryOversubscription ?? before.MemoryOversubscriptionEnabled,
    RejectJobRegistration: flags.rejectJobRegistration ?? before.RejectJobRegistration,
    PauseEvalBroker: flags.pauseEvalBroker ?? before.PauseEvalBroker,
    PreemptionConfig: preemption,
  };
}

function configText(config: SchedulerConfiguration): string {
  const { PreemptionConfig: preemption } = config;
  return keyValues([
    ["Scheduler Algorithm", config.SchedulerAlgorithm],
    ["Memory Oversubscription", String(config.MemoryOversubscriptionEnabled)],
    ["Reject Job Registration", String(config.RejectJobRegistration)],
    ["Pause Eval Broker", String(config.PauseEvalBroker)],
    ["Preemption System Scheduler", String(preemption.SystemSchedulerEnabled)],
    ["Preemption Service Scheduler", String(preemption.ServiceSchedulerEnabled)],
    ["Preemption Batch Scheduler", String(preemption.BatchSchedulerEnabled)],
    ["Preemption SysBatch Scheduler", String(preemption.SysBatchSchedulerEnabled)],
    ["Modify Index", String(config.ModifyIndex)],
  ]);
}
