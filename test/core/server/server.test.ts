import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { AdmissionHook, Job, JobRegistration, Node } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";

import { BenchServer, paperJob, paperNode } from "./bench-server.js";

const registration = (job: object, extra: Partial<JobRegistration> = {}): JobRegistration => ({
  job,
  namespace: "default",
  region: "global",
  enforceIndex: false,
  jobModifyIndex: 0,
  preserveCounts: false,
  ...extra,
});

async function started(t: TestContext, hooks: readonly AdmissionHook[] = []): Promise<BenchServer> {
  const server = new BenchServer(hooks);
  t.after(() => server.stop());
  await server.start();
  return server;
}

describe("the way of a job", () => {
  test("a registered job is placed and its node is told", async (t) => {
    const bench = await started(t);
    const node = paperNode();
    await bench.register(node);
    const answer = await bench.server.endpoints.jobs.register(registration(paperJob("web", 3)));
    assert.equal(answer.Index, answer.JobModifyIndex);
    await eventually("three allocations", () => bench.live("web").length === 3);
    await eventually("three assigned", () => bench.transport.assigned.get(node.ID)?.size === 3);
    await eventually("evaluation complete", () => {
      using snapshot = bench.state.snapshot();
      return snapshot.evaluation(answer.EvalID)?.Status === "complete";
    });
  });

  test("a job as the API shows it can be submitted again, and keeps its version", async (t) => {
    const bench = await started(t);
    await bench.server.endpoints.jobs.register(registration(paperJob("again", 1)));
    const stored = (): Job => {
      using snapshot = bench.state.snapshot();
      return snapshot.job("default", "again")!;
    };
    // What crosses is JSON, its nanoseconds rounded to what a number holds.
    const shown = JSON.parse(JSON.stringify(stored())) as object;
    await bench.server.endpoints.jobs.register(registration(shown));
    assert.equal(stored().Version, 0);
  });

  test("evaluations end in about the order in which they came, while others keep coming", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const jobs = Array.from({ length: 60 }, (_, i) => `queued-${i}`);
    const submit = async (next: () => string | undefined): Promise<void> => {
      for (let id = next(); id !== undefined; id = next())
        await bench.server.endpoints.jobs.register(registration(paperJob(id, 1, 1)));
    };
    const rest = jobs.values();
    await Promise.all(Array.from({ length: 8 }, () => submit(() => rest.next().value)));
    const ended = (): { CreateIndex: number; ModifyIndex: number }[] => {
      using snapshot = bench.state.snapshot();
      return jobs
        .flatMap((id) => snapshot.evaluationsByJob("default", id))
        .filter(({ Status }) => Status === "complete");
    };
    await eventually("all complete", () => ended().length === jobs.length);
    const came = ended().sort((a, b) => a.CreateIndex - b.CreateIndex);
    const went = [...came].sort((a, b) => a.ModifyIndex - b.ModifyIndex);
    for (const [place, evaluation] of came.entries()) {
      const moved = Math.abs(went.indexOf(evaluation) - place);
      assert.ok(moved <= 8, `the evaluation that came as number ${place} ended ${moved} places away`);
    }
  });

  test("what does not fit waits blocked, and is placed when a node comes", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await bench.server.endpoints.jobs.register(registration(paperJob("big", 3, 3_000)));
    await eventually("one placed", () => bench.live("big").length === 1);
    await eventually("the rest blocked", () => {
      using snapshot = bench.state.snapshot();
      return snapshot.evaluationsByJob("default", "big").some((each) => each.Status === "blocked");
    });
    await bench.register(paperNode());
    await eventually("two placed", () => bench.live("big").length === 2);
    await bench.register(paperNode());
    await eventually("three placed", () => bench.live("big").length === 3);
    await eventually("nothing blocked", () => {
      using snapshot = bench.state.snapshot();
      return snapshot.evaluationsByJob("default", "big").every((each) => each.Status !== "blocked");
    });
  });

  test("capacity that an ended allocation frees goes to what waits", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await bench.server.endpoints.jobs.register(registration(paperJob("first", 1, 3_000)));
    await eventually("first placed", () => bench.live("first").length === 1);
    await bench.server.endpoints.jobs.register(registration(paperJob("second", 1, 3_000)));
    await eventually("second blocked", () => {
      using snapshot = bench.state.snapshot();
      return snapshot.evaluationsByJob("default", "second").some((each) => each.Status === "blocked");
    });
    const [allocation] = bench.live("first");
    await bench.server.endpoints.jobs.deregister({ namespace: "default", jobId: "first", purge: false });
    await eventually("first stopped", () => bench.live("first").length === 0);
    await bench.report(allocation!, "complete");
    await eventually("second placed", () => bench.live("second").length === 1);
  });

  test("what ends well though it should run is replaced where it runs for ever, and only there", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await bench.server.endpoints.jobs.register(registration(paperJob("web", 1)));
    await bench.server.endpoints.jobs.register(registration(paperJob("once", 1, 100, { Type: "batch" })));
    await eventually("both placed", () => bench.live("web").length + bench.live("once").length === 2);
    const [service] = bench.live("web");
    const [batch] = bench.live("once");
    await bench.report(batch!, "complete");
    await bench.report(service!, "complete");
    await eventually("the service is replaced", () => bench.live("web").some(({ ID }) => ID !== service!.ID));
    using snapshot = bench.state.snapshot();
    const evaluations = (job: string) =>
      snapshot.evaluationsByJob("default", job).map((each) => each.TriggeredBy);
    assert.deepEqual(evaluations("web").sort(), ["alloc-stop", "job-register"]);
    assert.deepEqual(evaluations("once"), ["job-register"]);
  });

  test("a node that misses its heartbeat loses its allocations to another", async (t) => {
    const timing = { min_heartbeat_ttl: 500, heartbeat_grace: 500 };
    const bench = new BenchServer([], [], undefined, { server: timing });
    t.after(() => bench.stop());
    await bench.start();
    const doomed = paperNode();
    await bench.register(doomed);
    const beat = (node: Node) => bench.handler.handle(node.ID, "node.heartbeat", { status: "ready" });
    await bench.server.endpoints.jobs.register(registration(paperJob("web", 2)));
    await eventually("two placed", async () => {
      await beat(doomed);
      return bench.live("web").length === 2;
    });
    const spare = paperNode();
    await bench.register(spare);
    await eventually("both on the other node", async () => {
      await beat(spare);
      const live = bench.live("web");
      return live.length === 2 && live.every((each) => each.NodeID === spare.ID);
    });
    using snapshot = bench.state.snapshot();
    assert.equal(snapshot.node(doomed.ID)?.Status, "down");
    assert.ok(snapshot.allocationsByNode(doomed.ID).every((each) => each.ClientStatus === "lost"));
  });

  test("a stopped job stops its allocations; scaling goes up and down; an update replaces", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const jobs = bench.server.endpoints.jobs;
    await jobs.register(registration(paperJob("web", 2)));
    await eventually("two", () => bench.live("web").length === 2);
    await jobs.register(registration(paperJob("web", 4)));
    await eventually("four", () => bench.live("web").length === 4);
    await jobs.register(registration(paperJob("web", 1)));
    await eventually("one", () => bench.live("web").length === 1);
    const [old] = bench.live("web");
    await jobs.register(registration(paperJob("web", 1, 250)));
    await eventually("a replacement", () => {
      const [only, ...others] = bench.live("web");
      return only !== undefined && others.length === 0 && only.ID !== old!.ID;
    });
    await jobs.deregister({ namespace: "default", jobId: "web", purge: false });
    await eventually("none", () => bench.live("web").length === 0);
  });
});

test("what a job asks for and this version does not do is told at registration", async (t) => {
  const bench = await started(t);
  const { jobs } = bench.server.endpoints;
  assert.equal((await jobs.register(registration(paperJob("plain", 1)))).Warnings, "");
  const periodic = { Type: "batch", Periodic: { Spec: "*/15 * * * *", SpecType: "cron", Enabled: true } };
  const { Warnings, EvalID } = await jobs.register(registration(paperJob("cron", 1, 100, periodic)));
  assert.match(Warnings, /periodic jobs are kept, but this version does not launch them/);
  assert.equal(EvalID, "");
});

describe("refusals", () => {
  test("an invalid job shows every error and leaves no trace", async (t) => {
    const bench = await started(t);
    const before = bench.state.index();
    await assert.rejects(
      bench.server.endpoints.jobs.register(registration({ ID: "x", Type: "service", TaskGroups: [] })),
      (error: Error & { status: number }) =>
        error.status === 500 && /Missing job datacenters/.test(error.message),
    );
    assert.equal(bench.state.index(), before);
  });

  test("an enforced modify index that does not match is a conflict with both indexes", async (t) => {
    const bench = await started(t);
    const { JobModifyIndex } = await bench.server.endpoints.jobs.register(registration(paperJob("web", 1)));
    await assert.rejects(
      bench.server.endpoints.jobs.register(
        registration(paperJob("web", 2), { enforceIndex: true, jobModifyIndex: 77 }),
      ),
      new RegExp(
        `Enforcing job modify index 77: job exists with conflicting job modify index: ${JobModifyIndex}`,
      ),
    );
  });

  test("an admission hook refuses by name, and one that throws refuses too", async (t) => {
    const bench = await started(t, [
      { name: "mute", order: 500, admit: () => ({ errors: ["no"], warnings: [] }) },
      {
        name: "broken",
        order: 600,
        admit: () => {
          throw new Error("out of order");
        },
      },
    ]);
    await assert.rejects(
      bench.server.endpoints.jobs.register(registration(paperJob("web", 1))),
      (error: Error) => {
        assert.match(error.message, /\* no/);
        assert.match(error.message, /admission hook "broken": out of order/);
        return true;
      },
    );
  });

  test("validation asks the hooks as registration does, says all at once, and stores nothing", async (t) => {
    const operations: string[] = [];
    const bench = await started(t, [
      { name: "mute", order: 500, admit: () => ({ errors: ["no"], warnings: ["hm"] }) },
      {
        name: "renames",
        order: 1,
        admit: ({ job, operation }) => {
          operations.push(operation);
          return { job: { ...job, Type: "nightly" }, warnings: ["renamed"] };
        },
      },
    ]);
    const before = bench.state.index();
    const answer = await bench.server.endpoints.jobs.validate({
      job: paperJob("web", 1, 100, { Meta: { "drover.filters": "nowhere", "drover.scorers": "nothing" } }),
      namespace: "default",
    });
    assert.equal(bench.state.index(), before, "nothing is written to the log");
    assert.deepEqual(operations, ["validate"]);
    assert.deepEqual(answer.ValidationErrors?.slice(0, 3), [
      "no",
      'meta drover.filters: no plugin of this server brings a node filter "nowhere"; known: none',
      'meta drover.scorers: no plugin of this server brings a node scorer "nothing"; known: none',
    ]);
    assert.match(answer.ValidationErrors?.[3] ?? "", /nightly/, "the job that the hooks leave is validated");
    assert.match(answer.Error, /^4 errors occurred/);
    assert.match(answer.Warnings, /renamed.*hm/s);
    assert.equal(answer.DriverConfigValidated, true);
  });

  test("a node can't report another node's allocation", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await bench.server.endpoints.jobs.register(registration(paperJob("web", 1)));
    await eventually("placed", () => bench.live("web").length === 1);
    const [allocation] = bench.live("web");
    const stranger = paperNode();
    await bench.register(stranger);
    await bench.report({ ...allocation!, NodeID: stranger.ID }, "failed");
    assert.equal(bench.live("web").length, 1);
  });
});

test("leadership lost and found again: what was pending is worked on", async (t) => {
  const bench = await started(t);
  bench.consensus.lead(false);
  await bench.consensus.elsewhere(async () => {
    await bench.register(paperNode());
    await bench.server.endpoints.jobs.register(registration(paperJob("web", 2)));
  });
  assert.equal(bench.live("web").length, 0);
  bench.consensus.lead(true);
  await eventually("two placed", () => bench.live("web").length === 2);
});

test("event sinks are told of every change in log order; one that throws harms nobody", async (t) => {
  const seen: { index: number; topic: string; type: string }[] = [];
  const bench = new BenchServer(
    [],
    [
      {
        name: "broken",
        publish() {
          throw new Error("sink is broken");
        },
      },
      {
        name: "recorder",
        publish: (index, events) =>
          seen.push(...events.map(({ Topic, Type }) => ({ index, topic: Topic, type: Type }))),
      },
    ],
  );
  t.after(() => bench.stop());
  await bench.start();
  await bench.register(paperNode());
  await bench.server.endpoints.jobs.register(registration(paperJob("web", 1)));
  await eventually("an allocation", () => seen.some(({ topic }) => topic === "Allocation"));
  const order = seen.map(({ index }) => index);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
  const types = new Set(seen.map(({ topic, type }) => `${topic}/${type}`));
  for (const expected of [
    "Node/NodeRegistration",
    "Job/JobRegistered",
    "Evaluation/JobRegistered",
    "Allocation/PlanResult",
  ]) {
    assert.ok(types.has(expected), `${expected} in ${[...types].join(", ")}`);
  }
});
