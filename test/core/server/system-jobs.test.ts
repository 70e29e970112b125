import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Evaluation, Job } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { BenchServer, paperJob, paperNode } from "./bench-server.js";

async function started(t: TestContext): Promise<BenchServer> {
  const server = new BenchServer();
  t.after(() => server.stop());
  await server.start();
  return server;
}

const register = (bench: BenchServer, id: string, type: string, cpu = 100, extra: object = {}) =>
  bench.server.endpoints.jobs.register({
    job: paperJob(id, 1, cpu, { Type: type, ...extra }),
    namespace: "default",
    region: "global",
    enforceIndex: false,
    jobModifyIndex: 0,
    preserveCounts: false,
  });

function evaluationsOf(bench: BenchServer, job: string): Evaluation[] {
  using snapshot = bench.state.snapshot();
  return snapshot.evaluationsByJob("default", job);
}

function jobOf(bench: BenchServer, id: string): Job | null {
  using snapshot = bench.state.snapshot();
  return snapshot.job("default", id);
}

const blockedNodes = (bench: BenchServer, job: string): string[] =>
  evaluationsOf(bench, job)
    .filter((each) => each.Status === "blocked")
    .map((each) => each.NodeID ?? "")
    .sort();

describe("a system job in a cluster", () => {
  test("runs on every node, and starts on one that joins", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await bench.register(paperNode());
    await register(bench, "logs", "system");
    await eventually("on both", () => bench.live("logs").length === 2);
    await bench.register(paperNode());
    await eventually("on the third", () => bench.live("logs").length === 3);
    assert.equal(new Set(bench.live("logs").map((each) => each.NodeID)).size, 3);
  });

  test("waits for each node without room, and is placed there as soon as that one has it", async (t) => {
    const bench = await started(t);
    const nodes = [paperNode(), paperNode(), paperNode()];
    for (const node of nodes) await bench.register(node);
    await register(bench, "first", "system", 3_000);
    await eventually("the first everywhere", () => bench.live("first").length === 3);
    await register(bench, "second", "system", 2_000);
    const all = nodes.map((node) => node.ID).sort();
    await eventually("the second waits for each", () => blockedNodes(bench, "second").length === 3);
    assert.deepEqual(blockedNodes(bench, "second"), all);

    const [freed] = bench.live("first");
    await bench.report(freed!, "failed");
    await eventually("the second is where the first ended", () => bench.live("second").length === 1);
    assert.equal(bench.live("second")[0]?.NodeID, freed?.NodeID);
    await eventually("it waits for the others still", () => blockedNodes(bench, "second").length === 2);

    await bench.server.endpoints.jobs.deregister({ namespace: "default", jobId: "first", purge: false });
    await eventually("the second everywhere", () => bench.live("second").length === 3);
    await eventually("nothing is blocked", () => blockedNodes(bench, "second").length === 0);
    using snapshot = bench.state.snapshot();
    assert.equal(snapshot.jobSummary("default", "second")?.Summary.g?.Queued, 0);
  });

  test("is evaluated once for many nodes that join while it is held, and runs on all of them", async (t) => {
    const bench = await started(t);
    await register(bench, "logs", "system");
    await Promise.all(Array.from({ length: 30 }, () => bench.register(paperNode())));
    await eventually("on all", () => bench.live("logs").length === 30);
    await eventually("every evaluation ended", () =>
      evaluationsOf(bench, "logs").every(({ Status }) => Status === "complete" || Status === "canceled"),
    );
    const canceled = evaluationsOf(bench, "logs").filter(({ Status }) => Status === "canceled");
    assert.ok(canceled.every(({ TriggeredBy }) => TriggeredBy === "node-update"));
    assert.ok(canceled.length > 0, "none of 30 evaluations was superseded");
  });

  test("is planned before it is registered: where it would start, and where there is no room", async (t) => {
    const bench = await started(t);
    const [full, free] = [paperNode(), paperNode()];
    await bench.register(full);
    await bench.register(free);
    const Constraints = [{ LTarget: "${node.unique.name}", RTarget: full.Name, Operand: "=" }];
    await register(bench, "first", "system", 3_000, { Constraints });
    await eventually("one node is full", () => bench.live("first").length === 1);
    await bench.register(paperNode({ Attributes: { "kernel.name": "linux" } }));
    const job = paperJob("second", 1, 2_000, { Type: "system" });
    const plan = await bench.server.endpoints.jobs.plan({ job, namespace: "default", diff: false });
    assert.equal(plan.FailedTGAllocs?.g?.NodesExhausted, 1);
    assert.equal(plan.Annotations?.DesiredTGUpdates?.g?.Place, 2);
    assert.equal(jobOf(bench, "second"), null);
  });

  test("waits no more for a node that is purged", async (t) => {
    const bench = await started(t);
    const node = paperNode();
    await bench.register(node);
    await register(bench, "big", "system", 9_000);
    await eventually("waits", () => blockedNodes(bench, "big").length === 1);
    await bench.server.endpoints.nodes.purge(node.ID);
    await eventually("waits no more", () => blockedNodes(bench, "big").length === 0);
  });
});

describe("a sysbatch job in a cluster", () => {
  test("is dead when it ended on every node, and lives again on a node that joins", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await bench.register(paperNode());
    await register(bench, "fix", "sysbatch");
    await eventually("on both", () => bench.live("fix").length === 2);
    assert.equal(jobOf(bench, "fix")?.Status, "running");
    for (const allocation of bench.live("fix")) await bench.report(allocation, "complete");
    await eventually("dead", () => jobOf(bench, "fix")?.Status === "dead");
    await bench.register(paperNode());
    await eventually("on the third alone", () => bench.live("fix").length === 1);
    assert.equal(jobOf(bench, "fix")?.Status, "running");
  });

  test("that is a template of dispatched jobs is not evaluated when a node joins", async (t) => {
    const bench = await started(t);
    await register(bench, "template", "sysbatch", 100, { ParameterizedJob: { Payload: "optional" } });
    await register(bench, "fix", "sysbatch");
    await bench.register(paperNode());
    await eventually("the other is placed", () => bench.live("fix").length === 1);
    assert.deepEqual(evaluationsOf(bench, "template"), []);
  });
});
