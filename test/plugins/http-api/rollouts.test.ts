/** What may be said to deployments, drains and versions of jobs, and what is refused with a reason. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startApi } from "./harness.js";

const ID = "2c473644-bc8e-88e7-f68a-fa8dcc0a2580";

test("a drain takes nanoseconds or a duration, its record, and the end of it", async () => {
  const asked: unknown[] = [];
  const answer = { EvalCreateIndex: 0, EvalIDs: null, Index: 7, NodeModifyIndex: 7 };
  await using api = await startApi({
    endpoints: {
      nodes: {
        setDrain: async (request) => {
          asked.push(request);
          return answer;
        },
      },
    },
  });
  const send = async (body: object) => {
    const response = await api.send("PUT", `/v1/node/${ID}/drain`, body);
    assert.equal(response.status, 200, await response.clone().text());
    assert.equal(response.headers.get("x-nomad-index"), "7");
    assert.deepEqual(await response.json(), answer);
  };
  await send({ DrainSpec: { Deadline: "1h30m", IgnoreSystemJobs: true }, Meta: { message: "m" } });
  await send({ DrainSpec: { Deadline: -1e9 } });
  await send({ DrainSpec: null, MarkEligible: true, NodeID: ID });
  assert.deepEqual(asked, [
    {
      nodeId: ID,
      spec: { Deadline: 5400e9, IgnoreSystemJobs: true },
      markEligible: false,
      meta: { message: "m" },
    },
    { nodeId: ID, spec: { Deadline: -1e9, IgnoreSystemJobs: false }, markEligible: false, meta: null },
    { nodeId: ID, spec: null, markEligible: true, meta: null },
  ]);
});

test("what makes no sense is refused with the reason", async () => {
  await using api = await startApi({ endpoints: { nodes: {}, deployments: {}, jobs: {} } });
  const refused: [path: string, body: object, status: number, text: RegExp][] = [
    [`/v1/node/${ID}/drain`, { DrainSpec: 5 }, 400, /DrainSpec: it must be an object/],
    [`/v1/node/${ID}/drain`, { DrainSpec: { Deadline: "soon" } }, 400, /a duration like "1h"/],
    [`/v1/node/${ID}/drain`, { DrainSpec: { Deadline: 1e18 } }, 400, /at most 10 years/],
    [`/v1/node/${ID}/drain`, { DrainSpec: { IgnoreSystemJobs: "no" } }, 400, /must be true or false/],
    [`/v1/node/${ID}/drain`, { DrainSpec: null, Meta: { a: 1 } }, 400, /object of strings/],
    [`/v1/node/${ID}/drain`, { DrainSpec: null, NodeID: "x" }, 400, /Node ID does not match/],
    ["/v1/node/zzz/drain", { DrainSpec: null }, 500, /UUID must be 36 characters/],
    [`/v1/deployment/promote/${ID}`, { DeploymentID: ID }, 400, /all groups \(All\) or a list/],
    [`/v1/deployment/promote/${ID}`, { Groups: [1] }, 400, /Groups must be a list of strings/],
    [`/v1/deployment/promote/${ID}`, { DeploymentID: "x", All: true }, 400, /Deployment ID does not match/],
    [`/v1/deployment/pause/${ID}`, { DeploymentID: ID }, 400, /Pause must be true or false/],
    [`/v1/deployment/allocation-health/${ID}`, { HealthyAllocationIDs: "a" }, 400, /list of strings/],
    ["/v1/deployment/fail/xyz", {}, 500, /UUID must be 36 characters/],
    ["/v1/job/web/stable", { JobID: "web", JobVersion: 1 }, 400, /Stable must be true or false/],
    ["/v1/job/web/stable", { JobVersion: 1, Stable: true }, 400, /JobID must be specified/],
    ["/v1/job/web/revert", { JobID: "other", JobVersion: 1 }, 400, /Job ID does not match/],
    ["/v1/job/web/revert", { JobID: "web", JobVersion: -1 }, 400, /must be the number of a version/],
    [
      "/v1/job/web/revert",
      { JobID: "web", JobVersion: 1, EnforcePriorVersion: "2" },
      400,
      /EnforcePriorVersion/,
    ],
  ];
  for (const [path, body, status, text] of refused) {
    const response = await api.send("POST", path, body);
    const said = await response.text();
    assert.equal(response.status, status, `${path} ${JSON.stringify(body)}: ${said}`);
    assert.match(said, text);
  }
});
