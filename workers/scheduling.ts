/**
 * Thread entry of the scheduling pool (Piscina): takes an evaluation, lets the scheduler of its job type work on it, and
 * returns when the outcome is written, or why it isn't. While a plan is applied by the main thread, the thread works on its
 * other tasks.
 */
import "reflect-metadata";
import { parentPort, threadId } from "node:worker_threads";
import {
  type DryRunOutcome,
  type DryRunTask,
  type Evaluation,
  JobType,
  type SchedulingOutcome,
  type SchedulingTask,
  type SchedulingWorkerData,
  type Taken,
  type ThreadNews,
} from "@drover/plugin-sdk";
import { workerData } from "piscina";
import { openReader, SharedNodeColumns, ThreadFence } from "../core/state/read/index.js";
import { runDry } from "./dry-run.js";
import { collectGarbage } from "./garbage/collect.js";
import { MainPort } from "./main-port.js";
import { FeasibleRowsCache } from "./placement/index.js";
import { failureOf, PluginFault } from "./plugin-fault.js";
import { loadSchedulers, type PluggedScheduler } from "./scheduler-modules.js";
import { partSelector } from "./selector.js";
import { StrictContext } from "./strict-context.js";
import { snapshotAt, TaskContext, type ThreadParts } from "./task-context.js";
import { threadLogger } from "./thread-logger.js";
import { yieldToMainThread } from "./thread-priority.js";
import { UnderwayPlans } from "./underway.js";

yieldToMainThread();
const data = workerData as SchedulingWorkerData;
const log = threadLogger();
const tell = (news: ThreadNews): void => parentPort?.postMessage(news);
// Opened before any plugin's code runs: until then the pool doesn't end the thread.
const fence = new ThreadFence();
const reader = openReader(data.statePath, fence);
tell({ kind: "opened", thread: threadId, fence: fence.memory });
const loaded = await loadSchedulers(data.modules, log);
const columns = new SharedNodeColumns(data.columns);
const parts: ThreadParts = {
  snapshot: () => reader.snapshot(),
  columns,
  underway: new UnderwayPlans(columns),
  feasible: new FeasibleRowsCache(),
  select: partSelector(loaded, data.rules),
  log,
};
// By this the pool knows a thread that can run from one that fails while it loads.
tell({ kind: "loaded", thread: threadId });

function take({ takenBy }: Taken): void {
  Atomics.store(new Int32Array(takenBy), 0, threadId);
}

export default async function schedule(task: SchedulingTask & Taken): Promise<SchedulingOutcome> {
  take(task);
  const main = new MainPort(task.port);
  try {
    if (task.evaluation.Type === JobType.Core) await collect(task, main);
    else await process(schedulerOf(task.evaluation), task, main);
    return { error: null };
  } catch (thrown) {
    // Also what a plugin threw that can't cross to the main thread.
    const error = thrown instanceof Error ? thrown.message : String(thrown);
    return { error, next: thrown instanceof PluginFault ? "final" : "retry" };
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
  main.started();
  await collectGarbage({
    evaluation,
    cutoffs,
    now,
    snapshot: () => reader.snapshot(),
    send: async (batch) => void (await main.request({ kind: "garbage", batch })),
  });
}

async function process(
  { plugin, part: scheduler, builtIn }: PluggedScheduler,
  task: SchedulingTask,
  main: MainPort,
): Promise<void> {
  const culprit = culpritOf(plugin);
  const context = new TaskContext(parts, task, main, await snapshotAt(parts, task.minIndex));
  const strict = builtIn ? undefined : new StrictContext(context, task.token, culprit);
  try {
    main.started();
    await scheduler.process(strict ?? context);
  } catch (thrown) {
    throw strict?.fault ?? failureOf(culprit, thrown);
  } finally {
    context.close();
  }
  if (strict?.fault !== undefined) throw strict.fault;
}

/** A job that is not registered: nothing of what its scheduler decides leaves the thread but the outcome. */
export async function dryRun(task: DryRunTask & Taken): Promise<DryRunOutcome> {
  take(task);
  const { plugin, part: scheduler } = schedulerOf(task.evaluation);
  const snapshot = await snapshotAt(parts, task.minIndex);
  try {
    return await runDry(scheduler, parts, task, snapshot);
  } catch (thrown) {
    throw failureOf(culpritOf(plugin), thrown);
  }
}

const culpritOf = (plugin: string): string => `scheduler plugin "${plugin}"`;

function schedulerOf({ Type, JobID }: Evaluation): PluggedScheduler {
  const scheduler = loaded.schedulers.get(Type);
  if (scheduler !== undefined) return scheduler;
  const known = [...loaded.schedulers.keys()].map((type) => `"${type}"`).join(", ") || "none";
  throw new Error(`no scheduler for jobs of type "${Type}" (job ${JobID}); known types: ${known}`);
}
