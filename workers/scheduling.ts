/**
 * Thread entry of the scheduling pool (Piscina): takes an evaluation, lets the scheduler of its job type work on it, and
 * returns when the outcome is written. A rejection means that the evaluation must be nacked. While a plan is applied by
 * the main thread, the thread works on its other tasks.
 */
import "reflect-metadata";
import {
  type DryRunOutcome,
  type DryRunTask,
  JobType,
  type Scheduler,
  type SchedulingTask,
  type SchedulingWorkerData,
} from "@drover/plugin-sdk";
import { workerData } from "piscina";
import { openReader, SharedNodeColumns } from "../core/state/read/index.js";
import { runDry } from "./dry-run.js";
import { collectGarbage } from "./garbage/collect.js";
import { MainPort } from "./main-port.js";
import { loadSchedulers } from "./scheduler-modules.js";
import { snapshotAt, TaskContext, type ThreadParts } from "./task-context.js";
import { threadLogger } from "./thread-logger.js";
import { yieldToMainThread } from "./thread-priority.js";

yieldToMainThread();
const data = workerData as SchedulingWorkerData;
const log = threadLogger();
const { schedulers, filters, scorers } = await loadSchedulers(data.modules, log);
const reader = openReader(data.statePath);
const parts: ThreadParts = {
  snapshot: () => reader.snapshot(),
  columns: new SharedNodeColumns(data.columns),
  filters,
  scorers,
  log,
};

export default async function schedule(task: SchedulingTask): Promise<void> {
  const main = new MainPort(task.port);
  try {
    if (task.evaluation.Type === JobType.Core) return await collect(task, main);
    const scheduler = schedulerOf(task.evaluation);
    const context = new TaskContext(parts, task, main, await snapshotAt(parts, task.minIndex));
    try {
      await scheduler.process(context);
    } finally {
      context.close();
    }
  } finally {
    main.close();
  }
}

/** Evaluations of the server's own `_core` scheduler. */
async function collect(task: SchedulingTask, main: MainPort): Promise<void> {
  const { evaluation, garbage: cutoffs, now } = task;
  if (cutoffs === undefined) throw new Error(`evaluation ${evaluation.ID} of _core came without cutoffs`);
  // Only to wait until what the main thread committed is seen here.
  (await snapshotAt(parts, task.minIndex)).close();
  await collectGarbage({
    evaluation,
    cutoffs,
    now,
    snapshot: () => reader.snapshot(),
    send: async (batch) => void (await main.request({ kind: "garbage", batch })),
  });
}

/** A job that is not registered: nothing of what its scheduler decides leaves the thread but the outcome. */
export async function dryRun(task: DryRunTask): Promise<DryRunOutcome> {
  const scheduler = schedulerOf(task.evaluation);
  return runDry(scheduler, parts, task, await snapshotAt(parts, task.minIndex));
}

function schedulerOf({ Type, JobID }: SchedulingTask["evaluation"]): Scheduler {
  const scheduler = schedulers.get(Type);
  if (scheduler !== undefined) return scheduler;
  const known = [...schedulers.keys()].map((type) => `"${type}"`).join(", ") || "none";
  throw new Error(`no scheduler for jobs of type "${Type}" (job ${JobID}); known types: ${known}`);
}
