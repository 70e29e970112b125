/** Roll-outs and a drain in real agents with real processes, seen over HTTP. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Deployment, Job, Node } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster, sleepJob, uniqueSleep } from "./cluster.js";

const SECOND = 1e9;

interface Spec {
  readonly TaskGroups: [{ Tasks: [{ Env?: object; KillTimeout?: number; Config: object }] } & object];
}

/** Version `version` of a job of three that sleep; a bad one ends at once with an error. */
function versionOf(id: string, marker: string, version: string, update: object, bad = false): object {
  const job = sleepJob(id, 3, marker) as Spec;
  const [group] = job.TaskGroups;
  const [task] = group.Tasks;
  Object.assign(group, {
    Update: {
      MaxParallel: 1,
      MinHealthyTime: SECOND / 5,
      HealthyDeadline: 8 * SECOND,
      ProgressDeadline: 30 * SECOND,
      ...update,
    },
    Migrate: {
      MaxParallel: 1,
      MinHealthyTime: SECOND / 5,
      HealthyDeadline: 8 * SECOND,
      HealthCheck: "task_states",
    },
    RestartPolicy: { Attempts: 0, Delay: SECOND, Interval: 5 * SECOND, Mode: "fail" },
  });
  task.Env = { VERSION: version };
  task.KillTimeout = SECOND;
  if (bad) task.Config = { command: "/bin/sh", args: ["-c", "exit 3"] };
  return job;
}

test("a rolling update, a bad version that goes back, canaries, and a drain of one of two nodes", {
  timeout: 120_000,
}, async (t) => {
  const cluster = await Cluster.create();
  const marker = uniqueSleep();
  cluster.mark(`sleep\0${marker}`);
  t.after(() => cluster.destroy());
  await cluster.startServer();
  await cluster.startClient();
  await cluster.startClient("", "second");

  const latest = () => cluster.get<Deployment | null>("/job/web/deployment");
  const deployed = async (version: number, status: string): Promise<Deployment> => {
    await eventually(
      `version ${version} ${status}`,
      async () => {
        const deployment = await latest();
        return deployment?.JobVersion === version && deployment.Status === status;
      },
      40_000,
    );
    return (await latest())!;
  };
  const running = async () =>
    (await cluster.allocations("web")).filter(
      (each) => each.DesiredStatus === "run" && each.ClientStatus === "running",
    );

  await cluster.register(versionOf("web", marker, "0", {}));
  await deployed(0, "successful");
  assert.equal((await running()).length, 3);

  await cluster.register(versionOf("web", marker, "1", {}));
  let most = 0;
  await eventually(
    "the rolling update",
    async () => {
      const rows = await cluster.allocations("web");
      const away = rows.filter(
        (each) =>
          each.JobVersion === 1 && each.DesiredStatus === "run" && each.DeploymentStatus?.Healthy !== true,
      );
      most = Math.max(most, away.length);
      const deployment = await latest();
      return deployment?.JobVersion === 1 && deployment.Status === "successful";
    },
    40_000,
  );
  assert.equal(most, 1, "max_parallel of 1");
  assert.deepEqual(
    (await running()).map((each) => each.JobVersion),
    [1, 1, 1],
  );

  await cluster.register(versionOf("web", marker, "2", { AutoRevert: true, ProgressDeadline: 0 }, true));
  await deployed(3, "successful");
  const all = (await cluster.get<Deployment[]>("/job/web/deployments")) ?? [];
  const bad = all.find((each) => each.JobVersion === 2);
  assert.deepEqual(
    [bad?.Status, bad?.StatusDescription],
    ["failed", "Failed due to unhealthy allocations - rolling back to job version 1"],
  );
  const job = (await cluster.get<Job>("/job/web"))!;
  assert.deepEqual(job.TaskGroups[0]!.Tasks[0]!.Env, { VERSION: "1" });
  await eventually("three run again", async () => (await running()).length === 3);

  await cluster.register(versionOf("web", marker, "4", { Canary: 1, AutoRevert: true }));
  await eventually("a healthy canary", async () => {
    const deployment = await latest();
    return deployment?.JobVersion === 4 && deployment.TaskGroups.g?.HealthyAllocs === 1;
  });
  const trial = (await latest())!;
  assert.equal(trial.StatusDescription, "Deployment is running but requires manual promotion");
  assert.equal((await running()).length, 4, "the canary comes on top");
  await cluster.post(`/deployment/promote/${trial.ID}`, { DeploymentID: trial.ID, All: true });
  const promoted = await deployed(4, "successful");
  assert.equal(promoted.TaskGroups.g!.Promoted, true);
  assert.equal((await cluster.job("web"))?.Stable, true);

  const [one] = await running();
  const drained = one!.NodeID;
  await cluster.post(`/node/${drained}/drain`, {
    DrainSpec: { Deadline: 60 * SECOND, IgnoreSystemJobs: false },
    Meta: { message: "test" },
  });
  let fewest = 3;
  await eventually(
    "the drain is complete",
    async () => {
      fewest = Math.min(fewest, (await running()).length);
      return (await cluster.get<Node>(`/node/${drained}`))?.DrainStrategy === null;
    },
    40_000,
  );
  assert.ok(fewest >= 2, `never less than two ran: ${fewest}`);
  const node = (await cluster.get<Node>(`/node/${drained}`))!;
  assert.equal(node.LastDrain?.Status, "complete");
  assert.equal(node.SchedulingEligibility, "ineligible");
  assert.ok(node.Events.some((each) => each.Message === "Node drain complete" && each.Subsystem === "Drain"));
  await eventually("three on the other node", async () => {
    const rows = await running();
    return rows.length === 3 && rows.every((each) => each.NodeID !== drained);
  });
});
