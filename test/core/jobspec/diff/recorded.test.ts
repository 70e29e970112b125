/** Differences compared with those that were recorded, field by field. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job, JobDiff, JobPlanResponse } from "@drover/plugin-sdk";
import { annotate, canonicalizeForState, diffJobs, parseJob } from "../../../../core/jobspec/index.js";
import { recorded as exchanges } from "../../../plugins/http-api/recordings.js";
import { jobText } from "../fixtures.js";

const plans = (id: string) => exchanges("jobs.http").filter(({ path }) => path === `/v1/job/${id}/plan`);
const stored = async (text: string): Promise<Job> =>
  canonicalizeForState(await parseJob(text, { allowFS: false }));

/** The recording was cut in the middle of a list: what was opened is closed after the last whole element. */
function closeCut(text: string): unknown {
  const whole = text.slice(0, text.lastIndexOf("}", text.indexOf("…cut")) + 1);
  const open: string[] = [];
  for (const [bracket] of whole.replace(/"(?:[^"\\]|\\.)*"/g, "").matchAll(/[[\]{}]/g)) {
    if (bracket === "[" || bracket === "{") open.push(bracket);
    else open.pop();
  }
  const close = open.reverse().map((bracket) => (bracket === "[" ? "]" : "}"));
  return JSON.parse(whole + close.join(""));
}

/** Everything in `expected` is the same in `actual`; only what the recording cut off, at its very end, may be more. */
function assertBegins(actual: unknown, expected: unknown, path: string, last: boolean): void {
  if (typeof expected !== "object" || expected === null) {
    assert.deepEqual(actual, expected, path);
    return;
  }
  assert.ok(typeof actual === "object" && actual !== null, `${path} is missing`);
  const entries = Object.entries(expected);
  if (!last) assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort(), path);
  for (const [at, [key, value]] of entries.entries()) {
    const isLast = last && at === entries.length - 1;
    assertBegins((actual as Record<string, unknown>)[key], value, `${path}.${key}`, isLast);
  }
}

test("a new job is the difference that was recorded", async () => {
  const recording = closeCut(plans("web")[0]!.body) as JobPlanResponse;
  const job = await stored(jobText("web"));
  const diff = diffJobs(null, job, true);
  annotate(diff, null, job, recording.Annotations);
  assertBegins(diff, recording.Diff, "Diff", true);
  assert.equal(diff.Type, "Added");
  assert.deepEqual(diff.TaskGroups?.[0]?.Updates, { create: 2 });
});

test("a changed argument is the difference that was recorded", async () => {
  const recording = plans("web")[1]!.json as JobPlanResponse;
  const before = exchanges("jobs.http").find(
    ({ method, path }) => method === "GET" && path === "/v1/job/web",
  )!.json as Job;
  const after = await stored(jobText("web").replace("echo hello", "echo v2 hello"));
  const diff = diffJobs(before, after, true);
  annotate(diff, before, after, recording.Annotations);
  assert.deepEqual(diff, recording.Diff satisfies JobDiff | null);
});
