/** Roll-outs in the real program: a server, a client agent and raw_exec, watched over HTTP. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { AllocListStub, Deployment, DeploymentUpdateResponse, Job } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster, uniqueSleep } from "./cluster.js";

const MILLISECOND = 1_000_000;
const SECOND = 1_000 * MILLISECOND;

let cluster: Cluster;
const sleep = uniqueSleep();

before(async () => {
  cluster = await Cluster.create();
  cluster.mark(sleep);
  await cluster.startServer();
  await cluster.startClient();
});
after(() => cluster.destroy());

/** A service of one task; versions differ in `label`, and a bad one ends at once. */
function service(id: string, count: number, label: string, update: object = {}, bad = false): object {
  const script = bad ? `echo ${label}; exit 1` : `echo ${label}; exec sleep ${sleep}`;
  return {
    ID: id,
    Name: id,
    Type: "service",
    Datacenters: ["dc1"],
    Update: {
      MaxParallel: 1,
      HealthCheck: "task_states",
      MinHealthyTime: 50 * MILLISECOND,
      HealthyDeadline: 10 * SECOND,
      ProgressDeadline: 60 * SECOND,
      ...update,
    },
    TaskGroups: [
      {
        Name: "g",
        Count: count,
        EphemeralDisk: { SizeMB: 10 },
        RestartPolicy: { Attempts: 0, Delay: 0, Interval: 5 * SECOND, Mode: "fail" },
        Tasks: [
          {
            Name: "t",
            Driver: "raw_exec",
            Config: { command: "/bin/sh", args: ["-c", script] },
            LogConfig: { MaxFiles: 1, MaxFileSizeMB: 1 },
            Resources: { CPU: 5, MemoryMB: 10 },
          },
        ],
      },
    ],
  };
}

async function deploymentOf(job: string, version: number): Promise<Deployment | undefined> {
  const all = (await cluster.get<Deployment[]>(`/job/${job}/deployments`)) ?? [];
  return all.find(({ JobVersion }) => JobVersion === version);
}

async function until(
  job: string,
  version: number,
  what: string,
  wanted: (deployment: Deployment) => boolean,
): Promise<Deployment> {
  let last: Deployment | undefined;
  await eventually(
    `${job} version ${version}: ${what}`,
    async () => {
      last = await deploymentOf(job, version);
      return last !== undefined && wanted(last);
    },
    20_000,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}; its deployment is ${JSON.stringify(last)}`);
  });
  return last!;
}

const succeeds = (job: string, version: number): Promise<Deployment> =>
  until(job, version, "a successful deployment", ({ Status }) => Status === "successful");

async function running(job: string): Promise<AllocListStub[]> {
  const all = await cluster.allocations(job);
  return all.filter(
    ({ DesiredStatus, ClientStatus }) => DesiredStatus === "run" && ClientStatus === "running",
  );
}

async function versions(job: string): Promise<Pick<Job, "Version" | "Stable">[]> {
  const answer = await cluster.get<{ Versions: Job[] }>(`/job/${job}/versions`);
  return (answer?.Versions ?? []).map(({ Version, Stable }) => ({ Version, Stable }));
}

describe("a job with an update strategy on a real agent", { timeout: 120_000 }, () => {
  test("is rolled with max_parallel 1: each replacement waits until the one before is healthy", async () => {
    await cluster.register(service("rolling", 3, "one"));
    await succeeds("rolling", 0);
    await cluster.register(service("rolling", 3, "two"));
    const deployment = await succeeds("rolling", 1);
    const { DesiredTotal, PlacedAllocs, HealthyAllocs, UnhealthyAllocs } = deployment.TaskGroups.g!;
    assert.deepEqual([DesiredTotal, PlacedAllocs, HealthyAllocs, UnhealthyAllocs], [3, 3, 3, 0]);
    assert.equal(deployment.StatusDescription, "Deployment completed successfully");

    const placed =
      (await cluster.get<AllocListStub[]>(`/deployment/allocations/${deployment.ID}`))?.toSorted(
        (a, b) => a.CreateIndex - b.CreateIndex,
      ) ?? [];
    assert.equal(placed.length, 3);
    for (const [at, allocation] of placed.slice(1).entries()) {
      const decided = placed[at]!.DeploymentStatus;
      assert.equal(decided?.Healthy, true);
      assert.ok(
        allocation.CreateIndex > decided.ModifyIndex,
        `${allocation.ID} was placed at ${allocation.CreateIndex}, the one before became healthy at ${decided.ModifyIndex}`,
      );
    }
    assert.deepEqual(
      (await running("rolling")).map(({ JobVersion }) => JobVersion),
      [1, 1, 1],
    );
    assert.deepEqual(await versions("rolling"), [
      { Version: 1, Stable: true },
      { Version: 0, Stable: true },
    ]);
    const watched = (await cluster.evaluations("rolling")).filter(
      ({ TriggeredBy, DeploymentID }) =>
        TriggeredBy === "deployment-watcher" && DeploymentID === deployment.ID,
    );
    assert.ok(watched.length >= 3, `${watched.length} evaluations of the watcher`);
  });

  test("runs its canaries beside the old version until they are promoted", async () => {
    await cluster.register(service("canary", 2, "one"));
    await succeeds("canary", 0);
    await cluster.register(service("canary", 2, "two", { Canary: 1 }));
    const { ID, StatusDescription, TaskGroups } = await until(
      "canary",
      1,
      "a healthy canary",
      (deployment) => deployment.TaskGroups.g?.HealthyAllocs === 1,
    );
    assert.equal(StatusDescription, "Deployment is running but requires manual promotion");
    assert.deepEqual(
      (await running("canary")).map(({ JobVersion }) => JobVersion).sort(),
      [0, 0, 1],
      "the old version goes on",
    );
    const [canary] = TaskGroups.g!.PlacedCanaries ?? [];
    const promotion = await cluster.post<DeploymentUpdateResponse>(`/deployment/promote/${ID}`, {
      DeploymentID: ID,
      All: true,
    });
    assert.notEqual(promotion.EvalID, "");
    const { TaskGroups: promoted } = await succeeds("canary", 1);
    assert.equal(promoted.g?.Promoted, true);
    await eventually("the old version is gone", async () => {
      const rows = await running("canary");
      return rows.length === 2 && rows.every(({ JobVersion }) => JobVersion === 1);
    });
    assert.ok(
      (await running("canary")).some((row) => row.ID === canary),
      "the canary became one of them",
    );
    await assert.rejects(
      cluster.post(`/deployment/promote/${ID}`, { DeploymentID: ID, All: true }),
      /500 can't promote terminal deployment/,
    );
  });

  test("goes back to its stable version when a new one fails", async () => {
    const update = { AutoRevert: true, ProgressDeadline: 0 };
    await cluster.register(service("revert", 2, "good", update));
    await succeeds("revert", 0);
    await cluster.register(service("revert", 2, "bad", update, true));
    const failed = await until("revert", 1, "a failed deployment", ({ Status }) => Status === "failed");
    assert.equal(
      failed.StatusDescription,
      "Failed due to unhealthy allocations - rolling back to job version 0",
    );
    await succeeds("revert", 2);
    const job = await cluster.job("revert");
    assert.equal(job?.Version, 2);
    assert.match(JSON.stringify(job?.TaskGroups[0]?.Tasks[0]?.Config), /echo good/);
    await eventually("good ones run", async () => (await running("revert")).length === 2);
    const bad = (await cluster.allocations("revert")).filter(({ JobVersion }) => JobVersion === 1);
    assert.equal(bad.length, 1, "max_parallel: one was tried");
    assert.ok(bad.every(({ DesiredStatus }) => DesiredStatus === "stop"));
  });
});
