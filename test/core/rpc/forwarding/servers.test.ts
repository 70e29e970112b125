import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import type { JobRegistration } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { paperJob } from "../../server/bench-server.js";
import { TestCluster } from "./cluster.js";

const registration = (job: object): JobRegistration => ({
  job,
  namespace: "default",
  region: "global",
  enforceIndex: false,
  jobModifyIndex: 0,
  preserveCounts: false,
});

async function started(t: TestContext, schedulers?: number): Promise<TestCluster> {
  const cluster = await TestCluster.start({}, schedulers);
  t.after(() => cluster.stop());
  return cluster;
}

describe("a server that does not lead", () => {
  it("takes every kind of write, and reads it once it has caught up", async (t) => {
    const cluster = await started(t);
    const { bench, endpoints } = cluster.members[1]!;
    const job = { namespace: "default", jobId: "web" };
    const { JobModifyIndex, EvalID } = await endpoints.jobs.register(registration(paperJob("web", 1)));
    await endpoints.status.catchUp(false);
    {
      using snapshot = bench.state.snapshot();
      assert.equal(snapshot.job("default", "web")?.JobModifyIndex, JobModifyIndex);
      assert.equal(snapshot.evaluation(EvalID)?.JobID, "web");
    }
    await endpoints.jobs.register(registration(paperJob("web", 2)));
    await endpoints.jobs.stable({ ...job, version: 1, stable: true });
    await endpoints.jobs.revert({ ...job, version: 0, enforcePriorVersion: null });
    await endpoints.jobs.evaluate({ ...job, forceReschedule: false });
    await endpoints.jobs.deregister({ ...job, purge: false });
    const { Updated } = await endpoints.operator.setSchedulerConfiguration({ SchedulerAlgorithm: "spread" });
    assert.equal(Updated, true);
    assert.equal((await endpoints.operator.setSchedulerConfiguration({}, 1)).Updated, false);
    await endpoints.operator.collectGarbage();
    await endpoints.status.catchUp(false);
    using snapshot = bench.state.snapshot();
    assert.equal(snapshot.job("default", "web")?.Stop, true);
    assert.equal(snapshot.schedulerConfiguration().SchedulerAlgorithm, "spread");
  });

  it("refuses as the leader does", async (t) => {
    const cluster = await started(t);
    const { endpoints } = cluster.members[1]!;
    const unknown = "00000000-0000-4000-8000-00000000dead";
    const refused = async (work: Promise<unknown>, status: number, message: RegExp) =>
      assert.rejects(work, { name: "EndpointError", status, message });
    await refused(endpoints.jobs.register(registration({})), 500, /Missing job ID/);
    await refused(endpoints.nodes.purge(unknown), 404, /^node not found$/);
    await refused(endpoints.nodes.setEligibility(unknown, "maybe"), 500, /invalid scheduling eligibility/);
    await refused(endpoints.allocations.stop(unknown), 404, /^alloc not found$/);
    await refused(endpoints.deployments.fail(unknown), 404, /^deployment not found$/);
    await refused(
      endpoints.jobs.register({ ...registration(paperJob("web", 1)), enforceIndex: true, jobModifyIndex: 7 }),
      500,
      /Enforcing job modify index 7/,
    );
  });

  it("plans a job by its own state and schedulers", async (t) => {
    const cluster = await started(t, 1);
    const [first, second] = cluster.members;
    await first!.endpoints.jobs.register(registration(paperJob("web", 1)));
    const plan = await second!.endpoints.jobs.plan({
      job: paperJob("web", 3),
      namespace: "default",
      diff: true,
    });
    assert.equal(plan.Diff?.Type, "Edited");
    assert.equal(plan.Annotations?.DesiredTGUpdates?.g?.Place, 3);
  });

  it("keeps rows of plugins, which are there when they were written", async (t) => {
    const cluster = await started(t);
    const [first, second] = cluster.members;
    const table = second!.bench.server.tables.table<{ size: number }>("widgets", "sizes");
    await table.put("a", { size: 3 });
    assert.deepEqual(table.get("a"), { size: 3 });
    assert.deepEqual(first!.bench.server.tables.table("widgets", "sizes").get("a"), { size: 3 });
    await table.delete("a");
    assert.equal(table.get("a"), undefined);
    await assert.rejects(table.put("large", { text: "x".repeat(2 * 1024 * 1024) } as never));
  });

  it("goes on with writes over a change of leader", async (t) => {
    const cluster = await started(t);
    const { endpoints } = cluster.members[2]!;
    await endpoints.jobs.register(registration(paperJob("before", 1)));
    cluster.group.elect(undefined);
    const held = endpoints.jobs.register(registration(paperJob("between", 1)));
    cluster.lead(1);
    await held;
    await endpoints.jobs.register(registration(paperJob("after", 1)));
    await cluster.members[0]!.endpoints.status.catchUp(false);
    using snapshot = cluster.members[0]!.bench.state.snapshot();
    assert.deepEqual([...snapshot.jobs()].map(({ ID }) => ID).sort(), ["after", "before", "between"]);
  });

  it("answers blocking queries when another server writes", async (t) => {
    const cluster = await started(t);
    const [first, second] = cluster.members;
    const { state } = second!.bench;
    const waiting = state.waitForChange(["jobs"], state.index(), AbortSignal.timeout(10_000));
    await first!.endpoints.jobs.register(registration(paperJob("web", 1)));
    await waiting;
    using snapshot = state.snapshot();
    assert.equal(snapshot.job("default", "web")?.ID, "web");
  });

  it("is told by the leader that went away that the outcome is not known, and repeats nothing", async (t) => {
    const cluster = await started(t);
    const [first, second] = cluster.members;
    first!.replica.hold();
    const write = assert.rejects(second!.endpoints.jobs.register(registration(paperJob("web", 1))), {
      status: 500,
      message: /may have been carried out/,
    });
    await eventually("the command is in the log", () => {
      const last = cluster.group.log.at(-1);
      return last !== undefined && Buffer.from(last.data).includes("web");
    });
    cluster.network.cut(second!.replica.address, first!.replica.address);
    await write;
    cluster.network.mend();
    first!.replica.release();
    await second!.endpoints.status.catchUp(false);
    using snapshot = second!.bench.state.snapshot();
    assert.equal(snapshot.job("default", "web")?.Version, 0);
    assert.equal(snapshot.evaluationsByJob("default", "web").length, 1);
  });
});
