import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { BenchServer, paperJob, paperNode } from "../bench-server.js";

async function started(t: TestContext, settings: object = {}): Promise<BenchServer> {
  const server = new BenchServer([], [], { settings });
  t.after(() => server.stop());
  await server.start();
  return server;
}

/** Runs a batch job to its end. */
async function runBatch(bench: BenchServer, id: string): Promise<void> {
  await bench.server.endpoints.jobs.register({
    job: paperJob(id, 2, 100, { Type: "batch" }),
    namespace: "default",
    region: "global",
    enforceIndex: false,
    jobModifyIndex: 0,
    preserveCounts: false,
  });
  await eventually("placed", () => bench.live(id).length === 2);
  for (const allocation of bench.live(id)) await bench.report(allocation, "complete");
  await eventually("dead", () => {
    using snapshot = bench.state.snapshot();
    // It may be collected before it was seen dead.
    return (snapshot.job("default", id)?.Status ?? "dead") === "dead";
  });
}

const rows = (bench: BenchServer) => {
  using snapshot = bench.state.snapshot();
  return {
    jobs: [...snapshot.jobs()].length,
    evaluations: [...snapshot.evaluations()].length,
    allocations: [...snapshot.allocations()].length,
  };
};

test("a forced collection takes what is over, in the threads, and tells the nodes", async (t) => {
  const bench = await started(t);
  const node = paperNode();
  await bench.register(node);
  await runBatch(bench, "done");
  await eventually("told", () => bench.transport.assigned.get(node.ID)?.size === 2);
  assert.equal(rows(bench).allocations, 2);
  await bench.server.endpoints.operator.collectGarbage();
  await eventually("everything is gone", () => {
    const { jobs, evaluations, allocations } = rows(bench);
    return jobs === 0 && evaluations === 0 && allocations === 0;
  });
  await eventually("the node forgot them", () => bench.transport.assigned.get(node.ID)?.size === 0);
});

test("jobs are collected by the timer once they are old enough, and core evaluations are never in the state", async (t) => {
  const bench = await started(t, { job_gc_interval: 20, job_gc_threshold: 1 });
  await bench.register(paperNode());
  await runBatch(bench, "done");
  await eventually("the job is gone", () => rows(bench).jobs === 0);
  assert.deepEqual(rows(bench), { jobs: 0, evaluations: 0, allocations: 0 });
});

test("garbage can't be collected while the broker is paused, and the refusal says how to resume it", async (t) => {
  const bench = await started(t);
  const { operator } = bench.server.endpoints;
  await operator.setSchedulerConfiguration({ ...operator.schedulerConfiguration(), PauseEvalBroker: true });
  await assert.rejects(
    operator.collectGarbage(),
    /paused: resume it with drover operator scheduler set-config/,
  );
});
