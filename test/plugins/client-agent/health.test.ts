/** What an agent finds of the health of allocations in deployments, with real processes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AllocationUpdate, HealthCheck, UpdateStrategy } from "@drover/plugin-sdk";
import { type AllocationOverrides, makeAllocation, shellTask, until } from "./fixtures.js";
import { eventsOf, startAgent } from "./harness.js";

const SECOND = 1e9;
const DEPLOYMENT = "2b36078f-f65f-45c8-80a0-f6496aa6e829";

const update = (overrides: Partial<UpdateStrategy> = {}): UpdateStrategy => ({
  AutoPromote: false,
  AutoRevert: false,
  Canary: 0,
  HealthCheck: "task_states",
  HealthyDeadline: 60 * SECOND,
  MaxParallel: 1,
  MinHealthyTime: 30 * SECOND,
  ProgressDeadline: 60 * SECOND,
  Stagger: 0,
  ...overrides,
});

function deployed(
  tasks: Parameters<typeof makeAllocation>[0],
  strategy: Partial<UpdateStrategy>,
  more: AllocationOverrides = {},
): ReturnType<typeof makeAllocation> {
  return makeAllocation(tasks, {
    ...more,
    group: { Update: update(strategy), ...more.group },
    allocation: { DeploymentID: DEPLOYMENT },
  });
}

/** Texts of the events of health of a task. */
const verdicts = (report: AllocationUpdate, task: string): string[] =>
  eventsOf(report, task)
    .filter(({ Type }) => Type === "Alloc Unhealthy")
    .map(({ DisplayMessage }) => DisplayMessage);

const prestart = (sidecar: boolean) => ({ Lifecycle: { Hook: "prestart" as const, Sidecar: sidecar } });

test("what runs for min_healthy_time is healthy, also when the mechanism is checks and nothing has any", async () => {
  const { link } = await startAgent();
  const rest = "exec sleep 600";
  for (const HealthCheck of ["task_states", "checks"] satisfies HealthCheck[]) {
    const good = deployed([shellTask("server", rest)], { HealthCheck, MinHealthyTime: SECOND / 20 });
    await link.push(good);
    await until(`healthy by ${HealthCheck}`, () => link.last(good.ID)?.DeploymentStatus?.Healthy === true);
    assert.equal(link.last(good.ID)!.DeploymentStatus?.Canary, false);
    assert.deepEqual(verdicts(link.last(good.ID)!, "server"), []);
  }
});

test("prestart tasks that ended well don't keep an allocation from being healthy", async () => {
  const { link } = await startAgent();
  const tasks = [shellTask("init", "true", prestart(false)), shellTask("server", "exec sleep 600")];
  const good = deployed(tasks, { MinHealthyTime: SECOND / 20 });
  await link.push(good);
  await until("healthy", () => link.last(good.ID)?.DeploymentStatus?.Healthy === true);
  assert.equal(link.last(good.ID)!.TaskStates.init?.State, "dead");
});

test("a failed task makes it unhealthy at once, and the task's events say so", async () => {
  const { link, reported } = await startAgent();
  const bad = deployed([shellTask("server", "exit 1"), shellTask("other", "exec sleep 600")], {});
  await link.push(bad);
  const report = await reported(bad.ID, "failed");
  assert.equal(report.DeploymentStatus?.Healthy, false);
  await until("events", () => verdicts(link.last(bad.ID)!, "server").length > 0);
  assert.deepEqual(verdicts(link.last(bad.ID)!, "server"), ["Unhealthy because of failed task"]);
  assert.deepEqual(verdicts(link.last(bad.ID)!, "other"), []);
});

test("a main task that ended well makes it unhealthy at once", async () => {
  const { link, reported } = await startAgent();
  const done = deployed([shellTask("server", "true")], {}, { type: "batch" });
  await link.push(done);
  const report = await reported(done.ID, "complete");
  assert.equal(report.DeploymentStatus?.Healthy, false);
  assert.deepEqual(verdicts(report, "server"), ["Unhealthy because of dead task"]);
});

test("at healthy_deadline what runs too short or not yet is unhealthy, and goes on running", async () => {
  const { link } = await startAgent();
  const tasks = [shellTask("init", "exec sleep 600", prestart(false)), shellTask("server", "exec sleep 600")];
  const slow = deployed(tasks, { HealthyDeadline: SECOND / 2 });
  await link.push(slow);
  await until("unhealthy", () => link.last(slow.ID)?.DeploymentStatus?.Healthy === false);
  const report = link.last(slow.ID)!;
  assert.equal(report.ClientStatus, "running");
  assert.deepEqual(verdicts(report, "init"), ["Task not running for min_healthy_time of 30s by deadline"]);
  assert.deepEqual(verdicts(report, "server"), ["Task not running by deadline"]);
});

test("an allocation that is stopped before there is a verdict gets none", async () => {
  const { link, reported } = await startAgent();
  const one = deployed([shellTask("server", "exec sleep 600")], {});
  await link.push(one);
  await reported(one.ID, "running");
  await link.stop(one.ID);
  const report = await reported(one.ID, "complete");
  assert.equal(report.DeploymentStatus?.Healthy ?? null, null);
  assert.deepEqual(verdicts(report, "server"), []);
});

test("with manual health nothing is judged but failure", async () => {
  const { link, reported } = await startAgent();
  const manual = { HealthCheck: "manual", MinHealthyTime: 1, HealthyDeadline: 2 } as const;
  const good = deployed([shellTask("server", "exec sleep 600")], manual);
  await link.push(good);
  await reported(good.ID, "running");
  const bad = deployed([shellTask("server", "exit 1")], manual);
  await link.push(bad);
  const report = await reported(bad.ID, "failed");
  assert.equal(report.DeploymentStatus?.Healthy, false);
  assert.equal(report.DeploymentStatus?.Timestamp, report.TaskStates.server?.FinishedAt);
  assert.equal(link.last(good.ID)?.DeploymentStatus ?? null, null);
});
