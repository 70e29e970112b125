import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { JobRegistration } from "@drover/plugin-sdk";
import { DEFAULT_SCHEDULER_SETTINGS } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { BenchServer, paperJob, paperNode } from "./bench-server.js";

async function started(t: TestContext, settings: object = {}): Promise<BenchServer> {
  const server = new BenchServer([], [], { settings });
  t.after(() => server.stop());
  await server.start();
  return server;
}

const registration = (job: object): JobRegistration => ({
  job,
  namespace: "default",
  region: "global",
  enforceIndex: false,
  jobModifyIndex: 0,
  preserveCounts: false,
});

const set = (bench: BenchServer, change: object, cas?: number) => {
  const { operator } = bench.server.endpoints;
  return operator.setSchedulerConfiguration({ ...operator.schedulerConfiguration(), ...change }, cas);
};

test("a new cluster takes the settings of its first leader's configuration, an old one keeps its own", async (t) => {
  const bench = await started(t, {
    default_scheduler_config: { ...DEFAULT_SCHEDULER_SETTINGS, SchedulerAlgorithm: "spread" },
  });
  const { operator } = bench.server.endpoints;
  await eventually("settings", () => operator.schedulerConfiguration().ModifyIndex > 0);
  const { SchedulerAlgorithm, CreateIndex, ModifyIndex } = operator.schedulerConfiguration();
  assert.deepEqual([SchedulerAlgorithm, CreateIndex === ModifyIndex], ["spread", true]);
  await set(bench, { SchedulerAlgorithm: "binpack" });
  const before = operator.schedulerConfiguration();
  bench.consensus.lead(false);
  bench.consensus.lead(true);
  await eventually("leads again", () => bench.server.endpoints.status.stats().broker?.enabled === "true");
  assert.deepEqual(operator.schedulerConfiguration(), before);
});

test("settings are changed at the index that the caller names, or not at all", async (t) => {
  const bench = await started(t);
  const { operator } = bench.server.endpoints;
  await eventually("settings", () => operator.schedulerConfiguration().ModifyIndex > 0);
  const { ModifyIndex } = operator.schedulerConfiguration();
  assert.equal((await set(bench, { SchedulerAlgorithm: "spread" }, ModifyIndex + 7)).Updated, false);
  assert.equal(operator.schedulerConfiguration().SchedulerAlgorithm, "binpack");
  assert.equal((await set(bench, { SchedulerAlgorithm: "spread" }, ModifyIndex)).Updated, true);
  assert.equal(operator.schedulerConfiguration().SchedulerAlgorithm, "spread");
});

test("what is left out of a new configuration is off, as the API has it", async (t) => {
  const bench = await started(t);
  const { operator } = bench.server.endpoints;
  await operator.setSchedulerConfiguration({ PreemptionConfig: { SysBatchSchedulerEnabled: true } });
  assert.deepEqual(operator.schedulerConfiguration().PreemptionConfig, {
    BatchSchedulerEnabled: false,
    ServiceSchedulerEnabled: false,
    SysBatchSchedulerEnabled: true,
    SystemSchedulerEnabled: false,
  });
  await assert.rejects(
    operator.setSchedulerConfiguration({ PauseEvalBroker: "yes" }),
    /scheduler configuration: PauseEvalBroker: /,
  );
});

test("registration is refused while operators have it switched off; stopping jobs is not", async (t) => {
  const bench = await started(t);
  const { jobs } = bench.server.endpoints;
  await bench.register(paperNode());
  await jobs.register(registration(paperJob("before", 1)));
  await set(bench, { RejectJobRegistration: true });
  await assert.rejects(
    jobs.register(registration(paperJob("web", 1))),
    (error: Error & { status?: number }) => {
      assert.equal(error.status, 403);
      assert.match(error.message, /^Permission denied: job registration, dispatch, and scale are disabled/);
      return true;
    },
  );
  await jobs.deregister({ namespace: "default", jobId: "before", purge: false });
  await set(bench, { RejectJobRegistration: false });
  await jobs.register(registration(paperJob("web", 1)));
  await eventually("placed", () => bench.live("web").length === 1);
});

test("a paused broker holds everything, also under the next leader, and goes on where it was", async (t) => {
  const bench = await started(t);
  const { jobs, status } = bench.server.endpoints;
  await bench.register(paperNode());
  await jobs.register(registration(paperJob("big", 2, 3_000)));
  await eventually("one placed, one waits", () => {
    using snapshot = bench.state.snapshot();
    return snapshot.evaluationsByJob("default", "big").some(({ Status }) => Status === "blocked");
  });
  await set(bench, { PauseEvalBroker: true });
  assert.equal(status.stats().broker?.enabled, "false");
  const { EvalID } = await jobs.register(registration(paperJob("web", 1)));
  // Capacity that comes while it is paused must not be missed.
  await bench.register(paperNode());

  bench.consensus.lead(false);
  bench.consensus.lead(true);
  await eventually("the new leader is at work", async () => {
    await bench.consensus.barrier();
    return bench.consensus.isLeader();
  });
  const pending = () => {
    using snapshot = bench.state.snapshot();
    return snapshot.evaluation(EvalID)?.Status === "pending";
  };
  assert.ok(pending());
  assert.equal(status.stats().broker?.enabled, "false");
  assert.deepEqual(bench.live("web"), []);

  await set(bench, { PauseEvalBroker: false });
  assert.equal(status.stats().broker?.enabled, "true");
  await eventually("the new job is placed", () => bench.live("web").length === 1);
  await eventually("and what waited", () => bench.live("big").length === 2);
});

test("a server with num_schedulers = 0 takes jobs and schedules none", async (t) => {
  const bench = await started(t, { num_schedulers: 0 });
  const { jobs, status } = bench.server.endpoints;
  await bench.register(paperNode());
  const { EvalID } = await jobs.register(registration(paperJob("web", 1)));
  await jobs.register(registration(paperJob("other", 1)));
  using snapshot = bench.state.snapshot();
  assert.equal(snapshot.evaluation(EvalID)?.Status, "pending");
  assert.equal(status.stats().broker?.ready, "2");
  assert.equal(status.stats().broker?.unacked, "0");
});
