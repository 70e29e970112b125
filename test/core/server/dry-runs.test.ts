import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { DryRunOutcome, DryRunTask } from "@drover/plugin-sdk";
import { eventually, makeEvaluation, makeJob } from "@drover/plugin-sdk/testing";
import { type DryRunLimits, DryRuns } from "../../../core/server/dry-runs.js";

const OUTCOME: DryRunOutcome = {
  annotations: { DesiredTGUpdates: {}, PreemptedAllocs: null },
  createdEvals: [],
  failedGroups: null,
  failure: "",
};

const request = (id: string) => {
  const job = makeJob({ ID: id });
  return { job, evaluation: makeEvaluation(job), minIndex: 1, now: 0 };
};

/** Dry runs that end when the test lets them. */
function held(threads: number, limits: Partial<DryRunLimits> = {}) {
  const started: { readonly task: DryRunTask; end(error?: Error): void }[] = [];
  const runs = new DryRuns(
    (task) =>
      new Promise((resolve, reject) => {
        started.push({ task, end: (error) => (error === undefined ? resolve(OUTCOME) : reject(error)) });
      }),
    threads,
    limits,
  );
  return { runs, started, ids: () => started.map(({ task }) => task.job.ID) };
}

describe("dry runs at once", () => {
  test("are one on a single thread, and take turns in order", async () => {
    const { runs, started, ids } = held(1, { budget: 77 });
    const all = ["a", "b", "c"].map((id) => runs.plan(request(id)));
    for (const count of [1, 2, 3]) {
      await eventually(`${count} started`, () => started.length === count);
      started[count - 1]!.end();
      assert.equal(await all[count - 1], OUTCOME);
    }
    assert.deepEqual(ids(), ["a", "b", "c"]);
    assert.equal(started[0]!.task.budget, 77);
  });

  test("are one for two threads", async () => {
    const { runs, started, ids } = held(4);
    const all = ["a", "b", "c"].map((id) => runs.plan(request(id)));
    await eventually("two started", () => started.length === 2);
    started[1]!.end();
    await eventually("the third started", () => started.length === 3);
    for (const run of started) run.end();
    await Promise.all(all);
    assert.deepEqual(ids(), ["a", "b", "c"]);
  });

  test("are refused when too many wait", async () => {
    const { runs, started } = held(1, { waiting: 1 });
    const first = runs.plan(request("a"));
    const second = runs.plan(request("b"));
    await assert.rejects(runs.plan(request("c")), { status: 429, message: /1 dry runs wait already/ });
    started[0]!.end();
    await eventually("the second started", () => started.length === 2);
    started[1]!.end();
    await Promise.all([first, second]);
  });

  test("are given up after the deadline, and one that waits then leaves its place", async () => {
    const { runs, started } = held(1, { deadline: 30, waiting: 1, rest: 0 });
    const late = { status: 503, message: /no dry run of job ".*" within 0\.03 s/ };
    const stuck = runs.plan(request("stuck"));
    await Promise.all([assert.rejects(stuck, late), assert.rejects(runs.plan(request("waits")), late)]);
    assert.equal(started.length, 1, "a thread that is not done takes no other");
    started[0]!.end();
    const next = runs.plan(request("next"));
    await eventually("the next started", () => started.length === 2);
    started[1]!.end();
    await next;
    assert.equal(started[1]!.task.job.ID, "next");
  });

  test("that fail name the job, and the next has its turn", async () => {
    const { runs, started } = held(1);
    const first = runs.plan(request("broken"));
    const second = runs.plan(request("fine"));
    await eventually("the first started", () => started.length === 1);
    started[0]!.end(new Error("no scheduler for it"));
    await assert.rejects(first, { status: 500, message: 'dry run of job "broken": no scheduler for it' });
    await eventually("the next started", () => started.length === 2);
    started[1]!.end();
    await second;
  });
});
