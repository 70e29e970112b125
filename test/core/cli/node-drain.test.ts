/** `node drain -monitor` and `-self` against an agent with prepared answers. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Allocation, DrainStrategy, Node } from "@drover/plugin-sdk";
import { makeJob } from "@drover/plugin-sdk/testing";
import { exchange } from "../../plugins/http-api/recordings.js";
import { type Answerer, FakeAgent, type Reply, runCommand } from "./run-command.js";

const NODE = "c1fe0aab-ae22-a84f-64cf-0a0a63ac126a";
const json = (body: unknown, index = 1): Reply => ({ body, headers: { "X-Nomad-Index": String(index) } });
const node = exchange("nodes.http", "GET", `/v1/node/${NODE}`).json as Node;
const alloc = exchange("allocations.http", "GET", "/v1/allocation/1b2cb536-d176-7984-bab9-e6f02863b2c7")
  .json as Allocation;

const NO_DRAIN: Partial<Node> = { DrainStrategy: null, LastDrain: null };
const drains = (IgnoreSystemJobs = false): Partial<Node> => ({
  DrainStrategy: {
    Deadline: 0,
    ForceDeadline: "0001-01-01T00:00:00Z",
    IgnoreSystemJobs,
    StartedAt: "2026-11-23T14:49:52Z",
  } satisfies DrainStrategy,
  LastDrain: { Status: "draining" } as Node["LastDrain"],
});
const ended = (Status: "complete" | "canceled"): Partial<Node> => ({
  DrainStrategy: null,
  LastDrain: { Status } as Node["LastDrain"],
});
const STAYS = { ForceReschedule: null, Migrate: null, Reschedule: null };
const runs: Partial<Allocation> = { ClientStatus: "running", DesiredStatus: "run", DesiredTransition: STAYS };
const MOVES = { ForceReschedule: null, Migrate: true, Reschedule: null };
const leaves: Partial<Allocation> = {
  ClientStatus: "running",
  DesiredStatus: "stop",
  DesiredTransition: MOVES,
};
const left: Partial<Allocation> = { ...leaves, ClientStatus: "complete" };

interface Step {
  readonly node: Partial<Node>;
  readonly rows: readonly Partial<Allocation>[];
}

/** A node that is as the steps say, one after the other; the last one stays. */
function following(steps: readonly Step[]): Answerer {
  let at = 0;
  const step = (): Step => steps[Math.min(at, steps.length - 1)]!;
  return ({ method, path }) => {
    if (method !== "GET") return undefined;
    if (path === "/v1/nodes") return json([{ ID: NODE }]);
    if (path === "/v1/agent/self") return json({ stats: { client: { node_id: NODE } } });
    if (path === `/v1/node/${NODE}`) return json({ ...node, ...step().node });
    if (path !== `/v1/node/${NODE}/allocations`) return undefined;
    const rows = step().rows.map((row) => ({ ...alloc, NodeID: NODE, ...row }));
    return json(rows, ++at);
  };
}

/** What it says, without times. */
const said = (out: string): string[] =>
  out
    .trim()
    .split("\n")
    .map((line) => line.replace(/^\S+Z: /, ""));

const FIRST = "Ctrl-C to stop monitoring: will not cancel the node drain";

describe("node drain -monitor", () => {
  test("follows the drain that is under way to its end, and changes nothing", async () => {
    await using agent = await FakeAgent.start(
      following([
        { node: drains(), rows: [runs] },
        { node: drains(), rows: [leaves] },
        { node: drains(), rows: [left] },
        { node: ended("complete"), rows: [left] },
      ]),
    );
    const { code, out, err } = await agent.run("node", "drain", "-monitor", "c1fe0aab");
    assert.equal(code, 0, err);
    assert.deepEqual(said(out), [
      FIRST,
      `Alloc "${alloc.ID}" marked for migration`,
      `Alloc "${alloc.ID}" draining`,
      `Alloc "${alloc.ID}" status running -> complete`,
      `Drain complete for node ${NODE}`,
      `All allocations on node "${NODE}" have stopped`,
    ]);
    assert.deepEqual([...new Set(agent.asked.map(({ method }) => method))], ["GET"]);
    const waits = agent.asked.filter(({ path }) => path.endsWith("/allocations"));
    assert.deepEqual(
      waits.map(({ query }) => query.get("index")),
      [null, "1", "2", null],
    );
  });

  test("of a node that doesn't drain says so, however its last drain ended", async () => {
    for (const last of [NO_DRAIN, ended("complete"), ended("canceled")]) {
      await using agent = await FakeAgent.start(following([{ node: last, rows: [runs] }]));
      const { code, out } = await agent.run("node", "drain", "-monitor", NODE);
      assert.equal(code, 0);
      assert.deepEqual(said(out), [FIRST, `No drain strategy set for node ${NODE}`]);
    }
  });

  test("ends with a drain that is cancelled, and doesn't claim that all has stopped", async () => {
    await using agent = await FakeAgent.start(
      following([
        { node: drains(), rows: [runs] },
        { node: ended("canceled"), rows: [runs] },
      ]),
    );
    const { code, out } = await agent.run("node", "drain", "-monitor", NODE);
    assert.equal(code, 0);
    assert.deepEqual(said(out), [FIRST, `Drain of node ${NODE} was cancelled`]);
  });

  test("doesn't wait for system jobs that the drain leaves alone", async () => {
    const system = { ...runs, ID: "aaaaaaaa-0000-4000-8000-000000000000", Job: makeJob({ Type: "system" }) };
    await using agent = await FakeAgent.start(
      following([
        { node: drains(true), rows: [leaves, system] },
        { node: drains(true), rows: [left, { ...system, ClientStatus: "failed" }] },
        { node: ended("complete"), rows: [left, system] },
      ]),
    );
    const { out } = await agent.run("node", "drain", "-monitor", NODE);
    assert.deepEqual(said(out).slice(-2), [
      `Drain complete for node ${NODE}`,
      `All allocations on node "${NODE}" have stopped`,
    ]);
    assert.doesNotMatch(out, /aaaaaaaa/);
  });

  test("ends with 0 when it is interrupted, and the drain goes on", async () => {
    const interrupt = new AbortController();
    const answer = following([{ node: drains(), rows: [runs] }]);
    await using agent = await FakeAgent.start((asked, response) => {
      // The second look waits for news, as a blocking query does.
      if (!asked.query.has("index")) return answer(asked, response);
      response.writeHead(200);
      response.write(" ");
      interrupt.abort();
      return undefined;
    });
    const { code, out, err } = await runCommand(
      ["node", "drain", "-monitor", NODE],
      { NOMAD_ADDR: agent.address },
      { signal: interrupt.signal },
    );
    assert.deepEqual([code, err], [0, ""]);
    assert.deepEqual(said(out), [FIRST]);
    assert.ok(agent.asked.every(({ method }) => method === "GET"));
  });

  test("reports a node that can't be read", async () => {
    await using agent = await FakeAgent.start(({ path }) =>
      path === "/v1/nodes" ? json([{ ID: NODE }]) : { status: 500, body: "no leader" },
    );
    const { code, err } = await agent.run("node", "drain", "-monitor", NODE);
    assert.equal(code, 1);
    assert.match(err, /Error monitoring drain: .*no leader/);
  });
});

describe("node drain -self", () => {
  const written = { NodeModifyIndex: 91, EvalIDs: null, Index: 91, EvalCreateIndex: 0 };

  test("drains the node of the agent that is asked, by its whole id and without -yes", async () => {
    await using agent = await FakeAgent.start({
      "GET /v1/agent/self": json({ stats: { client: { node_id: NODE } } }),
      [`PUT /v1/node/${NODE}/drain`]: json(written),
    });
    const { code, out, err } = await agent.run("node", "drain", "-enable", "-self", "-detach");
    assert.equal(code, 0, err);
    assert.equal(out, `Node "${NODE}" drain strategy set\n`);
    assert.deepEqual(
      agent.asked.map(({ method, path }) => `${method} ${path}`),
      ["GET /v1/agent/self", `PUT /v1/node/${NODE}/drain`],
    );
  });

  test("with -monitor follows the drain of that node", async () => {
    await using agent = await FakeAgent.start(
      following([
        { node: drains(), rows: [left] },
        { node: ended("complete"), rows: [left] },
      ]),
    );
    const { code, out } = await agent.run("node", "drain", "-monitor", "-self");
    assert.equal(code, 0);
    assert.deepEqual(said(out).at(-1), `All allocations on node "${NODE}" have stopped`);
  });

  test("is refused where the agent runs no client, and beside the name of a node", async () => {
    await using agent = await FakeAgent.start({ "GET /v1/agent/self": json({ stats: { nomad: {} } }) });
    const alone = await agent.run("node", "drain", "-enable", "-self");
    assert.equal(alone.code, 1);
    assert.match(alone.err, /The agent that was asked runs no client: name a node/);
    const both = await agent.run("node", "drain", "-enable", "-self", NODE);
    assert.equal(both.code, 1);
    assert.match(both.err, /Name a node or give -self, not both/);
    assert.ok(agent.asked.every(({ method }) => method === "GET"));
  });
});
