/** What the tests of the service and batch schedulers share. */
import assert from "node:assert/strict";
import type {
  Allocation,
  DesiredTransition,
  Evaluation,
  Job,
  TaskGroup,
  UpdateStrategy,
} from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";
import {
  makeEvaluation,
  makeGroup,
  makeJob,
  makeNode,
  makeTask,
  SchedulerHarness,
  type SchedulerRun,
} from "@drover/plugin-sdk/testing";
import { ColumnPlacer } from "../../../workers/placement/index.js";

export const service = genericScheduler({ type: "service", batch: false });
export const batch = genericScheduler({ type: "batch", batch: true });

/** A leader over ready nodes, placing with the engine of the scheduling threads. */
export function cluster(nodes: number): SchedulerHarness {
  const leader = new SchedulerHarness({
    placer: (scope) => new ColumnPlacer({ ...scope, filters: [], scorers: [] }),
  });
  for (let i = 0; i < nodes; i++) leader.state.putNode(makeNode());
  return leader;
}

export const web = (group: Partial<TaskGroup>, job: Partial<Job> = {}): Job =>
  makeJob({ ...job, TaskGroups: [makeGroup(group)] });

export const again = (job: Job, change: Partial<Evaluation> = {}): Evaluation => makeEvaluation(job, change);

/** Tasks that differ from those of another version in an environment variable. */
export const envOf = (value: string): TaskGroup["Tasks"] => [makeTask({ Env: { VERSION: value } })];

/** An update block that rolls one at a time. */
export const rolling = (change: Partial<UpdateStrategy> = {}): UpdateStrategy => ({
  AutoPromote: false,
  AutoRevert: false,
  Canary: 0,
  HealthCheck: "task_states",
  HealthyDeadline: 300e9,
  MaxParallel: 1,
  MinHealthyTime: 10e9,
  ProgressDeadline: 600e9,
  Stagger: 30e9,
  ...change,
});

export const failedAt = (milliseconds: number): Partial<Allocation> => ({
  ClientStatus: "failed",
  TaskStates: {
    t: {
      Events: [],
      Failed: true,
      FinishedAt: new Date(milliseconds).toISOString(),
      LastRestart: null,
      Restarts: 0,
      StartedAt: null,
      State: "dead",
      TaskHandle: null,
    },
  },
});

export const wish = (change: Partial<DesiredTransition>): Partial<Allocation> => ({
  DesiredTransition: { ForceReschedule: null, Migrate: null, Reschedule: null, ...change },
});

/** Names and versions of what is to run: `0:web.g[1]`. */
export function running(leader: SchedulerHarness, job: Job = web({})): string[] {
  return leader
    .live(job)
    .map(({ JobVersion, Name }) => `${JobVersion}:${Name}`)
    .sort();
}

export function healthy(leader: SchedulerHarness, job: Job = web({})): void {
  const undecided = leader
    .live(job)
    .filter((one) => one.DeploymentID !== "" && one.DeploymentStatus?.Healthy == null);
  leader.reportHealth(undecided.map((one) => one.ID));
}

/** Reports everything healthy and lets the scheduler look, as the deployment watcher does, until the deployment is over. */
export async function rollOut(leader: SchedulerHarness, job: Job = web({})): Promise<void> {
  for (let round = 0; round < 50; round++) {
    if (leader.deployment(job).Status === "successful") return;
    healthy(leader, job);
    await leader.run(service, again(job, { TriggeredBy: "deployment-watcher" }));
  }
  assert.fail(`the deployment of ${job.ID} does not come to an end`);
}

/** The allocation of that name and, where several have it, version that is to run. */
export function named(leader: SchedulerHarness, name: string, version?: number): Allocation {
  const found = leader
    .live(web({}))
    .find((one) => one.Name === name && (version === undefined || one.JobVersion === version));
  assert.ok(found, `${name} is to run`);
  return found;
}

/** What the plans of a run stopped, and why. */
export function stops(run: SchedulerRun): { Name: string; JobVersion: number; why: string | undefined }[] {
  return run.plans
    .flatMap((plan) => Object.values(plan.NodeUpdate).flat())
    .map(({ Name, JobVersion, DesiredDescription: why }) => ({ Name, JobVersion, why }))
    .sort((a, b) => (a.Name < b.Name ? -1 : 1));
}

/** Name, version and predecessor of what a run placed, in order of names. */
export function placements(
  run: SchedulerRun,
): [name: string, version: number, previous: string | undefined][] {
  return run.placed
    .map((one): [string, number, string | undefined] => [one.Name, one.JobVersion, one.PreviousAllocation])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}
