/** Dry runs on a server with the real state store and scheduling pool. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { AdmissionHook, JobPlanResponse, JobRegistration } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { canonicalizeForApi, parseJob } from "../../../core/jobspec/index.js";
import { recorded } from "../../plugins/http-api/recordings.js";
import { jobText } from "../jobspec/fixtures.js";
import { BenchServer, paperJob, paperNode } from "./bench-server.js";

async function started(t: TestContext, hooks: readonly AdmissionHook[] = []): Promise<BenchServer> {
  const bench = new BenchServer(hooks);
  t.after(() => bench.stop());
  await bench.start();
  return bench;
}

const registration = (job: object): JobRegistration => ({
  job,
  namespace: "default",
  region: "global",
  enforceIndex: false,
  jobModifyIndex: 0,
  preserveCounts: false,
});

async function run(bench: BenchServer, job: object, live: number): Promise<number> {
  const { JobModifyIndex, EvalID } = await bench.server.endpoints.jobs.register(registration(job));
  const { ID } = job as { ID: string };
  await eventually(`${live} of ${ID}`, () => bench.live(ID).length === live);
  await eventually("evaluation complete", () => {
    using snapshot = bench.state.snapshot();
    return snapshot.evaluation(EvalID)?.Status === "complete";
  });
  return JobModifyIndex;
}

const plan = (bench: BenchServer, job: object, diff = true): Promise<JobPlanResponse> =>
  bench.server.endpoints.jobs.plan({ job, namespace: "default", diff });

/** Plans, and checks that nothing was written. */
async function dryly(bench: BenchServer, job: object, diff = true): Promise<JobPlanResponse> {
  const before = bench.state.index();
  const answer = await plan(bench, job, diff);
  assert.equal(bench.state.index(), before, "nothing is written to the log");
  return answer;
}

const nonZero = (answer: JobPlanResponse, group = "g"): Record<string, number> =>
  Object.fromEntries(
    Object.entries(answer.Annotations?.DesiredTGUpdates?.[group] ?? {}).filter(([, count]) => count > 0),
  );

describe("a job plan", () => {
  test("of a new job shows what would be created, and creates nothing", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const answer = await dryly(bench, paperJob("web", 3));
    assert.deepEqual(nonZero(answer), { Place: 3 });
    assert.equal(answer.FailedTGAllocs, null);
    assert.equal(answer.CreatedEvals, null);
    assert.equal(answer.JobModifyIndex, 0);
    assert.equal(answer.Index, 0);
    assert.equal(answer.Warnings, "");
    assert.equal(answer.NextPeriodicLaunch, null);
    assert.equal(answer.Diff?.Type, "Added");
    assert.deepEqual(answer.Diff?.TaskGroups?.[0]?.Updates, { create: 3 });
    assert.deepEqual(answer.Diff?.TaskGroups?.[0]?.Tasks?.[0]?.Annotations, ["forces create"]);
    using snapshot = bench.state.snapshot();
    assert.equal(snapshot.job("default", "web"), null);
    assert.deepEqual([...snapshot.evaluations()], []);
    assert.deepEqual([...snapshot.allocations()], []);
  });

  test("without Diff answers no difference", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    assert.equal((await dryly(bench, paperJob("web", 1), false)).Diff, null);
  });

  test("of what runs already ignores it", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const index = await run(bench, paperJob("web", 2), 2);
    const answer = await dryly(bench, paperJob("web", 2));
    assert.deepEqual(nonZero(answer), { Ignore: 2 });
    assert.equal(answer.Diff?.Type, "None");
    assert.deepEqual(answer.Diff?.TaskGroups?.[0]?.Updates, { ignore: 2 });
    assert.equal(answer.JobModifyIndex, index);
    assert.equal(answer.Index, index);
  });

  test("tells what is replaced, updated in place, created and destroyed", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await run(bench, paperJob("web", 2), 2);
    const replaced = await dryly(bench, paperJob("web", 2, 200));
    assert.deepEqual(replaced.Diff?.TaskGroups?.[0]?.Tasks?.[0]?.Annotations, [
      "forces create/destroy update",
    ]);
    assert.ok((nonZero(replaced).DestructiveUpdate ?? 0) > 0);

    const delayed = paperJob("web", 2) as { TaskGroups: { Tasks: { KillTimeout?: number }[] }[] };
    delayed.TaskGroups[0]!.Tasks[0]!.KillTimeout = 7e9;
    const inPlace = await dryly(bench, delayed);
    assert.deepEqual(inPlace.Diff?.TaskGroups?.[0]?.Tasks?.[0]?.Annotations, ["forces in-place update"]);
    assert.deepEqual(nonZero(inPlace), { InPlaceUpdate: 2 });

    const more = await dryly(bench, paperJob("web", 4));
    assert.equal(nonZero(more).Place, 2);
    assert.deepEqual(more.Diff?.TaskGroups?.[0]?.Fields, [
      { Annotations: ["forces create"], Name: "Count", New: "4", Old: "2", Type: "Edited" },
    ]);

    const fewer = await dryly(bench, paperJob("web", 1));
    assert.equal(nonZero(fewer).Stop, 1);
    assert.deepEqual(fewer.Diff?.TaskGroups?.[0]?.Fields?.[0]?.Annotations, ["forces destroy"]);

    const stopped = await dryly(bench, paperJob("web", 2, 100, { Stop: true }));
    assert.deepEqual(nonZero(stopped), { Stop: 2 });
  });

  test("of what does not fit is answered as recorded", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const recording = recorded("jobs.http").find(({ path }) => path === "/v1/job/toobig/plan")!
      .json as JobPlanResponse;
    const group = (
      paperJob("toobig", 2, 500_000) as {
        TaskGroups: object[];
      }
    ).TaskGroups[0];
    const job = paperJob("toobig", 2, 500_000, {
      TaskGroups: [
        {
          ...group,
          Tasks: [
            { Name: "t", Driver: "raw_exec", Config: { command: "/bin/true" }, Resources: { CPU: 500_000 } },
          ],
        },
      ],
    });
    const answer = await dryly(bench, job, false);
    const [blocked] = answer.CreatedEvals ?? [];
    const [theirs] = recording.CreatedEvals!;
    for (const key of [
      "JobID",
      "Namespace",
      "Priority",
      "Status",
      "StatusDescription",
      "TriggeredBy",
      "Type",
    ] as const) {
      assert.equal(blocked?.[key], theirs![key], key);
    }
    const timeless = (metrics: JobPlanResponse["FailedTGAllocs"]) =>
      Object.fromEntries(
        Object.entries(metrics ?? {}).map(([name, metric]) => [name, { ...metric, AllocationTime: 0 }]),
      );
    assert.deepEqual(timeless(answer.FailedTGAllocs), timeless(recording.FailedTGAllocs));
    assert.deepEqual(answer.Annotations, recording.Annotations);
    assert.equal(answer.Index, recording.Index);
    assert.equal(answer.JobModifyIndex, recording.JobModifyIndex);
  });

  test("of a change with canaries is answered as recorded", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const recording = recorded("jobs.http").filter(({ path }) => path === "/v1/job/web/plan")[1]!
      .json as JobPlanResponse;
    const text = jobText("web");
    const index = await run(bench, canonicalizeForApi(await parseJob(text)), 2);
    const changed = canonicalizeForApi(await parseJob(text.replace("echo hello", "echo v2 hello")));
    const answer = await dryly(bench, changed);
    assert.deepEqual({ ...answer, Warnings: "" }, { ...recording, Index: index, JobModifyIndex: index });
  });

  test("of a periodic job shows whether a launch would fit and when the next is", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const periodic = { Type: "batch", Periodic: { Spec: "0 0 1 1 *", SpecType: "cron", Enabled: true } };
    const answer = await dryly(bench, paperJob("cron", 2, 100, periodic));
    assert.equal(answer.NextPeriodicLaunch, `${new Date().getUTCFullYear() + 1}-01-01T00:00:00Z`);
    assert.deepEqual(nonZero(answer), { Place: 2 });
  });

  test("of a system job counts every node", async (t) => {
    const bench = await started(t);
    for (let nodes = 0; nodes < 3; nodes++) await bench.register(paperNode());
    const answer = await dryly(bench, paperJob("everywhere", 1, 100, { Type: "system" }));
    assert.deepEqual(nonZero(answer), { Place: 3 });
    assert.equal(answer.FailedTGAllocs, null);
  });

  test("asks admission hooks as for a plan, and takes what they change", async (t) => {
    const operations: string[] = [];
    const bench = await started(t, [
      {
        name: "doubles",
        order: 1,
        admit({ job, operation }) {
          operations.push(operation);
          const groups = job.TaskGroups.map((group) => ({ ...group, Count: group.Count * 2 }));
          return { job: { ...job, TaskGroups: groups }, warnings: ["doubled"] };
        },
      },
    ]);
    await bench.register(paperNode());
    const answer = await dryly(bench, paperJob("web", 2));
    assert.deepEqual(operations, ["plan"]);
    assert.deepEqual(nonZero(answer), { Place: 4 });
    assert.match(answer.Warnings, /doubled/);
  });

  test("of an invalid job is refused like its registration", async (t) => {
    const bench = await started(t);
    await assert.rejects(plan(bench, { ID: "x", Type: "service", TaskGroups: [] }), {
      status: 500,
      message: /Missing job datacenters/,
    });
  });

  test("counts the allocations of other jobs", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    await run(bench, paperJob("first", 1, 3_000), 1);
    const answer = await dryly(bench, paperJob("second", 1, 3_000));
    assert.deepEqual(answer.FailedTGAllocs?.g?.DimensionExhausted, { cpu: 1 });
  });

  test("many at once are all answered, and evaluations go on meanwhile", async (t) => {
    const bench = await started(t);
    await bench.register(paperNode());
    const plans = Array.from({ length: 20 }, (_, at) => plan(bench, paperJob(`plan-${at}`, 2)));
    await run(bench, paperJob("web", 3), 3);
    for (const answer of await Promise.all(plans)) assert.deepEqual(nonZero(answer), { Place: 2 });
  });
});

test("versions are compared each with the one before it", async (t) => {
  const bench = await started(t);
  await bench.register(paperNode());
  await run(bench, paperJob("web", 1), 1);
  await run(bench, paperJob("web", 2), 2);
  await run(bench, paperJob("web", 2, 100, { Meta: { owner: "a" } }), 2);
  using snapshot = bench.state.snapshot();
  const versions = snapshot.jobVersions("default", "web");
  const diffs = bench.server.endpoints.jobs.diffVersions(versions);
  assert.deepEqual(
    diffs?.map((diff) => diff.Fields?.[0]?.Name ?? diff.TaskGroups?.[0]?.Fields?.[0]?.Name),
    ["Meta[owner]", "Count"],
  );
  assert.equal(bench.server.endpoints.jobs.diffVersions(versions.slice(0, 1)), null);
});
