/** Commands of deployments and drains against an agent with prepared answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Allocation, Deployment, JobListStub, Node, NodeListStub } from "@drover/plugin-sdk";
import { exchange } from "../../plugins/http-api/recordings.js";
import { FakeAgent, type Reply } from "./run-command.js";

process.env.TZ = "UTC";

const NODE = "c1fe0aab-ae22-a84f-64cf-0a0a63ac126a";
const DEPLOYMENT = "2c473644-bc8e-88e7-f68a-fa8dcc0a2580";
const EVAL = "095a1cbb-7765-2537-d134-12af8384707c";

const recorded = <T>(file: string, path: string, method = "GET", nth = 0) =>
  exchange(file, method, path, nth).json as T;
const json = (body: unknown, index = 1): Reply => ({ body, headers: { "X-Nomad-Index": String(index) } });
const deployments = () => recorded<Deployment[]>("deployments.http", "/v1/deployments");
const web = () => recorded<JobListStub[]>("jobs.http", "/v1/jobs?prefix=we");
const written = (changes: object = {}) =>
  json({
    DeploymentModifyIndex: 9,
    EvalCreateIndex: 9,
    EvalID: EVAL,
    Index: 9,
    RevertedJobVersion: null,
    ...changes,
  });

test("deployment list prints what Nomad prints, newest first", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/deployments": json(deployments().filter((each) => each.JobID === "web")),
  });
  const { out, code } = await agent.run("deployment", "list");
  assert.equal(code, 0);
  assert.equal(
    out,
    [
      "ID        Job ID  Job Version  Status      Description",
      "2c473644  web     1            running     Deployment is running but requires manual promotion",
      "ded21583  web     0            successful  Deployment completed successfully",
      "",
    ].join("\n"),
  );
});

test("deployment status shows what is placed and healthy", async () => {
  await using agent = await FakeAgent.start({ "GET /v1/deployments": json(deployments().slice(0, 1)) });
  const { out } = await agent.run("deployment", "status", "2c473644");
  assert.match(out, /^ID {10}= 2c473644\nJob ID {6}= web\nJob Version = 1\n/);
  assert.match(out, /app {9}true {9}false {5}2 {8}1 {9}1 {7}1 {8}0 {10}2026-11-23T14:49:59Z/);
});

test("deployment promote, fail, pause and resume send what was asked", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/deployments": json(deployments().slice(0, 1)),
    [`PUT /v1/deployment/promote/${DEPLOYMENT}`]: written(),
    [`PUT /v1/deployment/fail/${DEPLOYMENT}`]: written({ RevertedJobVersion: 3 }),
    [`PUT /v1/deployment/pause/${DEPLOYMENT}`]: written({ EvalID: "", EvalCreateIndex: 0 }),
  });
  assert.equal((await agent.run("deployment", "promote", "-detach", "2c473644")).code, 0);
  await agent.run("deployment", "promote", "-detach", "-group", "a", "-group", "b", "2c473644");
  const failed = await agent.run("deployment", "fail", "-detach", "2c473644");
  assert.equal(failed.out, `Deployment "${DEPLOYMENT}" failed. Auto-reverted to job version 3.\n`);
  const paused = await agent.run("deployment", "pause", "2c473644");
  assert.equal(paused.out, `Deployment "${DEPLOYMENT}" paused\n`);
  const resumed = await agent.run("deployment", "resume", "2c473644");
  assert.equal(resumed.out, `Deployment "${DEPLOYMENT}" resumed\n`);
  assert.deepEqual(
    agent.asked.filter(({ method }) => method === "PUT").map(({ body }) => body),
    [
      { DeploymentID: DEPLOYMENT, All: true },
      { DeploymentID: DEPLOYMENT, All: false, Groups: ["a", "b"] },
      { DeploymentID: DEPLOYMENT },
      { DeploymentID: DEPLOYMENT, Pause: true },
      { DeploymentID: DEPLOYMENT, Pause: false },
    ],
  );
});

test("a deployment that can't be failed says why, and an unknown one is named", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/deployments?prefix=2c473644": json(deployments().slice(0, 1)),
    "GET /v1/deployments": json([]),
    [`PUT /v1/deployment/fail/${DEPLOYMENT}`]: { status: 500, body: "can't fail terminal deployment" },
  });
  const { code, err } = await agent.run("deployment", "fail", "2c473644");
  assert.equal(code, 1);
  assert.match(err, /Error failing deployment: .*can't fail terminal deployment/);
  assert.match(
    (await agent.run("deployment", "status", "ffff")).err,
    /No deployment\(s\) with prefix or id "ffff" found/,
  );
});

test("job deployments lists those of a job, job promote promotes its latest, job revert goes back", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/jobs": json(web()),
    "GET /v1/job/web/deployments": json(deployments().filter((each) => each.JobID === "web")),
    "GET /v1/job/web/deployment": json(deployments()[0]),
    [`PUT /v1/deployment/promote/${DEPLOYMENT}`]: written(),
    "PUT /v1/job/web/revert": json({ EvalID: EVAL, Warnings: "", Index: 9 }),
  });
  assert.match((await agent.run("job", "deployments", "web")).out, /2c473644 {2}web {5}1 .*\nded21583/);
  assert.match((await agent.run("job", "deployments", "-latest", "web")).out, /^ID {10}= 2c473644\n/);
  assert.equal((await agent.run("job", "promote", "-detach", "web")).code, 0);
  const reverted = await agent.run("job", "revert", "-detach", "web", "0");
  assert.equal(reverted.out, `Evaluation ID: ${EVAL}\n`);
  assert.deepEqual(agent.asked.at(-1)?.body, { JobID: "web", JobVersion: 0, EnforcePriorVersion: null });
  assert.match((await agent.run("job", "revert", "web", "last")).err, /it must be a whole number/);
});

test("alloc stop asks for the allocation's stop and prints its evaluation", async () => {
  const id = "1b2cb536-d176-7984-bab9-e6f02863b2c7";
  await using agent = await FakeAgent.start({
    "GET /v1/allocations": json(recorded("allocations.http", "/v1/allocations?prefix=1b2cb536")),
    [`PUT /v1/allocation/${id}/stop`]: json({ EvalID: EVAL, Index: 9 }),
  });
  assert.equal((await agent.run("alloc", "stop", "-detach", "1b2cb536")).out, `${EVAL}\n`);
});

test("node drain sends the deadline, the flags and the record, and follows until the node is empty", async () => {
  const node = recorded<Node>("nodes.http", `/v1/node/${NODE}`);
  const alloc = recorded<Allocation>(
    "allocations.http",
    "/v1/allocation/1b2cb536-d176-7984-bab9-e6f02863b2c7",
  );
  const steps: Partial<Allocation>[] = [
    { ClientStatus: "running", DesiredStatus: "run" },
    {
      ClientStatus: "running",
      DesiredStatus: "stop",
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    },
    {
      ClientStatus: "complete",
      DesiredStatus: "stop",
      DesiredTransition: { ForceReschedule: null, Migrate: true, Reschedule: null },
    },
  ];
  let asked = 0;
  await using agent = await FakeAgent.start(({ method, path }) => {
    if (path === "/v1/nodes") return json([{ ID: NODE } as NodeListStub]);
    if (method === "PUT") return json({ NodeModifyIndex: 91, EvalIDs: null, Index: 91, EvalCreateIndex: 0 });
    if (path.endsWith("/allocations")) {
      const step = steps[Math.min(asked++, steps.length - 1)];
      return json([{ ...alloc, NodeID: NODE, ...step }], asked);
    }
    const drains = asked < steps.length;
    return json({
      ...node,
      DrainStrategy: drains ? { Deadline: 0 } : null,
      LastDrain: { Status: drains ? "draining" : "complete" },
    });
  });
  const { out, code } = await agent.run(
    ...["node", "drain", "-enable", "-deadline", "10m", "-ignore-system", "-m", "disk", NODE],
  );
  assert.equal(code, 0, out);
  assert.deepEqual(
    out
      .trim()
      .split("\n")
      .map((line) => line.replace(/^\S+Z: /, "")),
    [
      "Ctrl-C to stop monitoring: will not cancel the node drain",
      `Node "${NODE}" drain strategy set`,
      `Alloc "${alloc.ID}" marked for migration`,
      `Alloc "${alloc.ID}" draining`,
      `Alloc "${alloc.ID}" status running -> complete`,
      `Drain complete for node ${NODE}`,
      `All allocations on node "${NODE}" have stopped`,
    ],
  );
  assert.deepEqual(agent.asked.find(({ method }) => method === "PUT")?.body, {
    NodeID: NODE,
    DrainSpec: { Deadline: 600e9, IgnoreSystemJobs: true },
    MarkEligible: false,
    Meta: { message: "disk" },
  });
});

test("node drain: every kind of deadline, the end of a drain, and refusals that say what to do", async () => {
  await using agent = await FakeAgent.start({
    "GET /v1/nodes": json([{ ID: NODE } as NodeListStub]),
    [`PUT /v1/node/${NODE}/drain`]: json({ NodeModifyIndex: 1, EvalIDs: null, Index: 1, EvalCreateIndex: 0 }),
  });
  const sent = async (...flags: string[]) => {
    const { code, err } = await agent.run("node", "drain", ...flags, NODE);
    assert.equal(code, 0, err);
    return agent.asked.at(-1)!.body as { DrainSpec: { Deadline: number } | null; MarkEligible: boolean };
  };
  assert.equal((await sent("-enable", "-detach")).DrainSpec?.Deadline, 3600e9);
  assert.equal((await sent("-enable", "-detach", "-force")).DrainSpec?.Deadline, -1e9);
  assert.equal((await sent("-enable", "-detach", "-no-deadline")).DrainSpec?.Deadline, 0);
  const ended = await sent("-disable");
  assert.deepEqual([ended.DrainSpec, ended.MarkEligible], [null, true]);
  assert.equal((await sent("-disable", "-keep-ineligible")).MarkEligible, false);
  const refused = async (pattern: RegExp, ...argv: string[]) => {
    const { code, err } = await agent.run("node", "drain", ...argv);
    assert.equal(code, 1);
    assert.match(err, pattern);
  };
  await refused(/Exactly one of/, NODE);
  await refused(/Node ID must be specified/, "-enable");
  await refused(/exclude one another/, "-enable", "-force", "-deadline", "1h", NODE);
  await refused(/it must be a duration above zero/, "-enable", "-deadline", "soon", NODE);
  await refused(/only the beginning of node/, "-enable", "c1fe0aab");
  await refused(/no key=value pair/, "-enable", "-meta", "why", NODE);
});
