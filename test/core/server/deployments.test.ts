/** Whole roll-outs: the leader's watcher and the scheduler together, with agents that say what the test decides. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Allocation, Deployment } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { CommandType, decodeCommand } from "../../../core/state/index.js";
import { BenchServer, paperNode } from "./bench-server.js";
import { latestDeployment, PaperAgents, registration, service, updateOf } from "./paper-agent.js";

interface Bench {
  readonly bench: BenchServer;
  readonly agents: PaperAgents;
  submit(job: object): Promise<void>;
  /** Acts as the agents until the job's newest deployment is as wanted. */
  until(what: string, job: string, wanted: (deployment: Deployment | null) => boolean): Promise<Deployment>;
  all(job: string): Allocation[];
}

async function started(t: TestContext): Promise<Bench> {
  const bench = new BenchServer();
  t.after(() => bench.stop());
  await bench.start();
  await bench.register(paperNode());
  await bench.register(paperNode());
  const agents = new PaperAgents(bench);
  return {
    bench,
    agents,
    submit: async (job) => void (await bench.server.endpoints.jobs.register(registration(job))),
    until: async (what, job, wanted) => {
      await eventually(
        what,
        async () => {
          await agents.act(job);
          return wanted(latestDeployment(bench, job));
        },
        20_000,
      );
      return latestDeployment(bench, job)!;
    },
    all: (job) => {
      using snapshot = bench.state.snapshot();
      return snapshot.allocationsByJob("default", job);
    },
  };
}

const succeeded = (version: number) => (deployment: Deployment | null) =>
  deployment?.JobVersion === version && deployment.Status === "successful";

test("a rolling update replaces one after the other and ends successful, its version stable", async (t) => {
  const { bench, submit, until, all, agents } = await started(t);
  await submit(service("web", 3));
  await until("the first version", "web", succeeded(0));
  let most = 0;
  agents.fate = (allocation) => {
    const outstanding = all("web").filter(
      (each) =>
        each.JobVersion === 1 && each.DesiredStatus === "run" && each.DeploymentStatus?.Healthy !== true,
    );
    most = Math.max(most, outstanding.length);
    assert.equal(allocation.JobVersion, 1);
    return "healthy";
  };
  await submit(service("web", 3, { env: "1" }));
  await until("the second version", "web", succeeded(1));
  assert.equal(most, 1, "max_parallel 1");
  using snapshot = bench.state.snapshot();
  assert.deepEqual(
    snapshot.jobVersions("default", "web").map((job) => [job.Version, job.Stable]),
    [
      [1, true],
      [0, true],
    ],
  );
  const watched = snapshot
    .evaluationsByJob("default", "web")
    .filter((e) => e.TriggeredBy === "deployment-watcher");
  assert.ok(watched.length >= 3, `evaluations of the watcher: ${watched.length}`);
  assert.ok(watched.every((each) => each.DeploymentID !== undefined && each.DeploymentID !== ""));
});

test("canaries wait for promotion; unhealthy ones can't be promoted; promoted they become the version", async (t) => {
  const { bench, submit, until, all, agents } = await started(t);
  const { deployments } = bench.server.endpoints;
  await submit(service("web", 2));
  await until("the first version", "web", succeeded(0));
  agents.fate = () => "silent";
  await submit(service("web", 2, { env: "1", update: { Canary: 1 } }));
  const trial = await until(
    "a canary",
    "web",
    (d) => d?.JobVersion === 1 && d.TaskGroups.g!.PlacedCanaries?.length === 1,
  );
  assert.equal(trial.StatusDescription, "Deployment is running but requires manual promotion");
  await assert.rejects(
    deployments.promote({ deploymentId: trial.ID, all: true, groups: [] }),
    /Task group "g" has 0\/1 healthy allocations/,
  );
  await assert.rejects(
    deployments.promote({ deploymentId: trial.ID, all: false, groups: ["nope"] }),
    /has no task group "nope"/,
  );
  await deployments.setHealth({
    deploymentId: trial.ID,
    healthy: trial.TaskGroups.g!.PlacedCanaries!,
    unhealthy: [],
  });
  assert.equal(all("web").filter((each) => each.JobVersion === 0 && each.DesiredStatus === "run").length, 2);
  agents.fate = () => "healthy";
  const answer = await deployments.promote({ deploymentId: trial.ID, all: true, groups: [] });
  assert.equal(answer.EvalCreateIndex, answer.DeploymentModifyIndex);
  const done = await until("the second version", "web", succeeded(1));
  assert.equal(done.TaskGroups.g!.Promoted, true);
  assert.ok(all("web").every((each) => each.DeploymentStatus?.Canary !== true));
  assert.equal(all("web").filter((each) => each.JobVersion === 1 && each.DesiredStatus === "run").length, 2);
  await assert.rejects(deployments.fail(trial.ID), /can't fail terminal deployment/);
});

test("healthy canaries of auto_promote are promoted by the leader", async (t) => {
  const { submit, until } = await started(t);
  await submit(service("web", 2));
  await until("the first version", "web", succeeded(0));
  await submit(service("web", 2, { env: "1", update: { Canary: 1, AutoPromote: true } }));
  const done = await until("the second version", "web", succeeded(1));
  assert.equal(done.TaskGroups.g!.Promoted, true);
});

test("without progress deadline the first unhealthy allocation fails the deployment, and the job goes back", async (t) => {
  const { bench, submit, until, agents } = await started(t);
  await submit(service("web", 2, { update: { AutoRevert: true, ProgressDeadline: 0 } }));
  await until("the first version", "web", succeeded(0));
  agents.fate = ({ JobVersion }) => (JobVersion === 1 ? "failed" : "healthy");
  await submit(service("web", 2, { env: "1", update: { AutoRevert: true, ProgressDeadline: 0 } }));
  await until("the version that it went back to", "web", succeeded(2));
  using snapshot = bench.state.snapshot();
  const failed = snapshot.deploymentsByJob("default", "web").find((each) => each.JobVersion === 1);
  assert.equal(failed?.Status, "failed");
  assert.equal(
    failed?.StatusDescription,
    "Failed due to unhealthy allocations - rolling back to job version 0",
  );
  const job = snapshot.job("default", "web")!;
  assert.deepEqual([job.Version, job.Stable, job.TaskGroups[0]!.Tasks[0]!.Env], [2, true, { VERSION: "0" }]);
});

test("without progress deadline one that runs and is unhealthy is enough too", async (t) => {
  const { submit, until, all, agents } = await started(t);
  await submit(service("web", 2, { update: { AutoRevert: true, ProgressDeadline: 0 } }));
  await until("the first version", "web", succeeded(0));
  agents.fate = ({ JobVersion }) => (JobVersion === 1 ? "unhealthy" : "healthy");
  await submit(service("web", 2, { env: "1", update: { AutoRevert: true, ProgressDeadline: 0 } }));
  await until("the version that it went back to", "web", succeeded(2));
  const tried = all("web").filter((each) => each.JobVersion === 1);
  assert.equal(tried.length, 1, "nothing after the first unhealthy one was rolled out");
  assert.equal(tried[0]!.DesiredStatus, "stop");
});

test("within the progress deadline one that runs and is unhealthy holds the roll-out, and isn't replaced", async (t) => {
  const { bench, submit, until, all, agents } = await started(t);
  await submit(service("web", 3));
  await until("the first version", "web", succeeded(0));
  agents.fate = ({ JobVersion }) => (JobVersion === 1 ? "unhealthy" : "healthy");
  const update = { AutoRevert: true, ProgressDeadline: 3e9, HealthyDeadline: 1e9 };
  await submit(service("web", 3, { env: "1", update }));
  const { ID } = await until("it is marked", "web", (deployment) => {
    const [one] = all("web").filter((each) => each.JobVersion === 1);
    return deployment?.JobVersion === 1 && one?.DesiredTransition?.Reschedule === true;
  });
  await eventually("its evaluation is complete", () => {
    using snapshot = bench.state.snapshot();
    const pushed = snapshot.evaluationsByJob("default", "web").filter((each) => each.DeploymentID === ID);
    return pushed.length > 0 && pushed.every((each) => each.Status === "complete");
  });
  const held = latestDeployment(bench, "web")!;
  assert.deepEqual([held.Status, held.TaskGroups.g!.UnhealthyAllocs], ["running", 1]);
  const tried = all("web").filter((each) => each.JobVersion === 1);
  assert.deepEqual(
    tried.map((each) => [each.DesiredStatus, each.ClientStatus]),
    [["run", "running"]],
  );
  assert.equal(all("web").filter((each) => each.JobVersion === 0 && each.DesiredStatus === "run").length, 2);
  await until("the version that it went back to", "web", succeeded(2));
  using snapshot = bench.state.snapshot();
  assert.equal(
    snapshot.deployment(ID)?.StatusDescription,
    "Failed due to progress deadline - rolling back to job version 0",
  );
});

test("a version that equals the stable one and fails is not gone back to again", async (t) => {
  const { bench, submit, until, agents } = await started(t);
  const update = { AutoRevert: true, ProgressDeadline: 0 };
  await submit(service("web", 1, { update }));
  await until("the first version", "web", succeeded(0));
  agents.fate = () => "failed";
  await submit(service("web", 1, { env: "1", update }));
  const last = await until(
    "the end of it all",
    "web",
    (deployment) => deployment?.JobVersion === 2 && deployment.Status === "failed",
  );
  assert.equal(
    last.StatusDescription,
    "Failed due to unhealthy allocations - not rolling back to stable job version 0 as current job has same specification",
  );
  using snapshot = bench.state.snapshot();
  assert.equal(snapshot.job("default", "web")?.Version, 2);
});

test("a deployment that makes no progress until its deadline fails, with no stable version to go back to", async (t) => {
  const { submit, until, agents } = await started(t);
  agents.fate = () => "silent";
  const update = { AutoRevert: true, ProgressDeadline: 1e9, HealthyDeadline: 5e8 };
  await submit(service("web", 1, { update }));
  const failed = await until("a failed deployment", "web", (deployment) => deployment?.Status === "failed");
  assert.equal(
    failed.StatusDescription,
    "Failed due to progress deadline - no stable job version to auto revert to",
  );
});

test("what fails within the deadline may be replaced, and the deployment succeeds", async (t) => {
  const { submit, until, all, agents } = await started(t);
  let first = true;
  agents.fate = () => {
    const fate = first ? "failed" : "healthy";
    first = false;
    return fate;
  };
  const group = { ReschedulePolicy: { Delay: 5e9, DelayFunction: "constant", Unlimited: true } };
  await submit(service("web", 1, { group }));
  await until("success after a failure", "web", succeeded(0));
  const failed = all("web").find((each) => each.ClientStatus === "failed");
  assert.equal(failed?.DesiredTransition?.Reschedule, true);
});

test("a paused deployment goes no further and does not run out of time; resumed it ends", async (t) => {
  const { bench, submit, until, all, agents } = await started(t);
  const { deployments } = bench.server.endpoints;
  await submit(service("web", 3));
  await until("the first version", "web", succeeded(0));
  agents.fate = () => "silent";
  await submit(service("web", 3, { env: "1", update: { ProgressDeadline: 2e9, HealthyDeadline: 1e9 } }));
  const { ID } = await until(
    "the roll-out",
    "web",
    (d) => d?.JobVersion === 1 && d.TaskGroups.g!.PlacedAllocs === 1,
  );
  const answer = await deployments.pause(ID, true);
  assert.deepEqual([answer.EvalID, answer.EvalCreateIndex], ["", 0]);
  const before = latestDeployment(bench, "web")!;
  assert.deepEqual([before.Status, before.StatusDescription], ["paused", "Deployment is paused"]);
  const deadline = Date.parse(before.TaskGroups.g!.RequireProgressBy!);
  await eventually("the deadline passes", () => Date.now() > deadline + 500);
  assert.equal(latestDeployment(bench, "web")!.Status, "paused");
  const [own] = all("web").filter((each) => each.JobVersion === 1);
  await deployments.setHealth({ deploymentId: ID, healthy: [own!.ID], unhealthy: [] });
  assert.equal(all("web").filter((each) => each.JobVersion === 1).length, 1);
  agents.fate = () => "healthy";
  const resumed = await deployments.pause(ID, false);
  assert.notEqual(resumed.EvalID, "");
  await until("the end", "web", succeeded(1));
});

test("an operator fails a deployment, and finds an allocation unhealthy", async (t) => {
  const { bench, submit, until, all, agents } = await started(t);
  const { deployments } = bench.server.endpoints;
  await submit(service("web", 1));
  await until("the first version", "web", succeeded(0));
  agents.fate = () => "silent";
  await submit(service("web", 1, { env: "1" }));
  const second = await until(
    "a roll-out",
    "web",
    (d) => d?.JobVersion === 1 && d.TaskGroups.g!.PlacedAllocs === 1,
  );
  const stranger = all("web").find((each) => each.JobVersion === 0)!;
  await assert.rejects(
    deployments.setHealth({ deploymentId: second.ID, healthy: [stranger.ID], unhealthy: [] }),
    new RegExp(`alloc "${stranger.ID}" is not part of deployment "${second.ID}"`),
  );
  await assert.rejects(
    deployments.setHealth({ deploymentId: second.ID, healthy: [], unhealthy: [] }),
    /must specify at least one/,
  );
  const own = all("web").find((each) => each.JobVersion === 1)!;
  await deployments.setHealth({ deploymentId: second.ID, healthy: [], unhealthy: [own.ID] });
  const failed = latestDeployment(bench, "web")!;
  assert.deepEqual(
    [failed.Status, failed.StatusDescription],
    ["failed", "Failed due to unhealthy allocations"],
  );
  await submit(service("web", 1, { env: "2", update: { AutoRevert: true } }));
  const third = await until("another", "web", (d) => d?.JobVersion === 2 && d.Status === "running");
  const answer = await deployments.fail(third.ID);
  assert.equal(answer.RevertedJobVersion, 0);
  assert.equal(
    latestDeployment(bench, "web")!.StatusDescription.startsWith("Deployment marked as failed"),
    true,
  );
});

test("a new leader goes on with the deployments that it finds", async (t) => {
  const { bench, submit, until, agents } = await started(t);
  await submit(service("web", 3));
  await until("the first version", "web", succeeded(0));
  agents.fate = () => "silent";
  await submit(service("web", 3, { env: "1" }));
  const { ID } = await until(
    "the roll-out",
    "web",
    (d) => d?.JobVersion === 1 && d.TaskGroups.g!.PlacedAllocs === 1,
  );
  bench.consensus.lead(false);
  // Decided while nobody watches.
  const silent = bench.live("web").find((each) => each.DeploymentID === ID)!;
  await bench.consensus.elsewhere(() =>
    bench.server.endpoints.deployments.setHealth({
      deploymentId: ID,
      healthy: [silent.ID],
      unhealthy: [],
    }),
  );
  agents.fate = () => "healthy";
  bench.consensus.lead(true);
  await until("the end under the new leader", "web", succeeded(1));
});

test("a job goes back to an earlier version by hand, and versions are marked stable by hand", async (t) => {
  const { bench, submit, until } = await started(t);
  const { jobs } = bench.server.endpoints;
  await submit(service("web", 1));
  await until("the first version", "web", succeeded(0));
  await submit(service("web", 1, { env: "1" }));
  await until("the second version", "web", succeeded(1));
  const at = { namespace: "default", jobId: "web" };
  await assert.rejects(
    jobs.revert({ ...at, version: 1, enforcePriorVersion: null }),
    /can't revert to current version/,
  );
  await assert.rejects(
    jobs.revert({ ...at, version: 99, enforcePriorVersion: null }),
    /job "web" in namespace "default" at version 99 not found/,
  );
  await assert.rejects(
    jobs.revert({ ...at, version: 0, enforcePriorVersion: 7 }),
    /Current job has version 1; enforcing version 7/,
  );
  await jobs.stable({ ...at, version: 0, stable: false });
  const answer = await jobs.revert({ ...at, version: 0, enforcePriorVersion: 1 });
  assert.notEqual(answer.EvalID, "");
  await until("the third version", "web", succeeded(2));
  using snapshot = bench.state.snapshot();
  assert.deepEqual(
    snapshot.jobVersions("default", "web").map((job) => [job.Version, job.Stable]),
    [
      [2, true],
      [1, true],
      [0, false],
    ],
  );
});

test("news of many deployments share an entry of the log", async (t) => {
  const { bench, submit } = await started(t);
  const jobs = Array.from({ length: 12 }, (_, i) => `many-${i}`);
  for (const job of jobs) await submit(service(job, 1));
  await eventually("all placed", () => jobs.every((job) => bench.live(job).length === 1));
  let entries = 0;
  const propose = bench.consensus.propose.bind(bench.consensus);
  bench.consensus.propose = (data) => {
    if (decodeCommand(data).type === CommandType.AllocationDesiredTransition) entries++;
    return propose(data);
  };
  const rows = jobs.flatMap((job) => bench.live(job));
  await Promise.all(
    rows.map((row) =>
      bench.handler.handle(row.NodeID, "allocation.update", { updates: [updateOf(row, "running", true)] }),
    ),
  );
  await eventually("all end", () =>
    jobs.every((job) => latestDeployment(bench, job)?.Status === "successful"),
  );
  using snapshot = bench.state.snapshot();
  for (const job of jobs) {
    const made = snapshot
      .evaluationsByJob("default", job)
      .filter((each) => each.TriggeredBy === "deployment-watcher");
    assert.equal(made.length, 1, `evaluations of ${job}`);
  }
  assert.ok(entries < jobs.length, `${entries} entries for ${jobs.length} deployments`);
});
