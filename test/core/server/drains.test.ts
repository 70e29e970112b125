/** Drains: what leaves a node, when, and how the drain ends. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Allocation, Node } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { BenchServer, paperJob, paperNode } from "./bench-server.js";
import { PaperAgents, registration, service, updateOf } from "./paper-agent.js";

const HOUR = 3600e9;

interface Bench {
  readonly bench: BenchServer;
  readonly agents: PaperAgents;
  readonly first: Node;
  run(job: object & { readonly ID?: string }, count: number): Promise<void>;
  addNode(): Promise<Node>;
  drain(
    spec: { Deadline?: number; IgnoreSystemJobs?: boolean } | null,
    markEligible?: boolean,
  ): Promise<void>;
  node(): Node;
  on(node: Node, job: string): Allocation[];
}

/** One node that everything is placed on, before others come. */
async function started(t: TestContext): Promise<Bench> {
  const bench = new BenchServer();
  t.after(() => bench.stop());
  await bench.start();
  const first = paperNode();
  await bench.register(first);
  const agents = new PaperAgents(bench);
  return {
    bench,
    agents,
    first,
    run: async (job, count) => {
      const { ID: id } = job as { ID: string };
      await bench.server.endpoints.jobs.register(registration(job));
      await eventually(`${count} of ${id} healthy`, async () => {
        await agents.act(id);
        return bench.live(id).filter((each) => each.DeploymentStatus?.Healthy === true).length === count;
      });
    },
    addNode: async () => {
      const node = paperNode();
      await bench.register(node);
      return node;
    },
    drain: async (spec, markEligible = false) => {
      await bench.server.endpoints.nodes.setDrain({
        nodeId: first.ID,
        spec: spec === null ? null : { Deadline: HOUR, IgnoreSystemJobs: false, ...spec },
        markEligible,
        meta: { message: "disk" },
      });
    },
    node: () => {
      using snapshot = bench.state.snapshot();
      return snapshot.node(first.ID)!;
    },
    on: (node, job) => bench.live(job).filter((each) => each.NodeID === node.ID),
  };
}

const events = (node: Node) => node.Events.map(({ Message, Subsystem }) => `${Subsystem}: ${Message}`);

test("at most max_parallel of a group are away at once, and the drain ends when all have left", async (t) => {
  const { bench, agents, first, run, addNode, drain, node, on } = await started(t);
  await run(service("web", 4, { group: { Migrate: { MaxParallel: 1 } } }), 4);
  const second = await addNode();
  agents.fate = () => "silent";
  await drain({});
  await eventually("one on the other node", () => on(second, "web").length === 1);
  assert.equal(node().SchedulingEligibility, "ineligible");
  assert.equal(node().LastDrain?.Status, "draining");
  assert.deepEqual(node().LastDrain?.Meta, { message: "disk" });
  for (let moved = 1; moved <= 4; moved++) {
    await eventually(`${moved} moved`, async () => {
      await agents.act("web");
      return on(second, "web").length === moved;
    });
    // Longer than news are gathered: nothing else leaves before the replacement is healthy.
    const since = performance.now();
    await eventually("the drainer had its turn", () => performance.now() > since + 400);
    const marked = on(first, "web").filter((each) => each.DesiredTransition?.Migrate === true);
    assert.deepEqual([on(first, "web").length, marked.length], [4 - moved, 0]);
    const fresh = on(second, "web").find((each) => each.DeploymentStatus?.Healthy !== true)!;
    await bench.handler.handle(second.ID, "allocation.update", {
      updates: [updateOf(fresh, "running", true)],
    });
  }
  await eventually("the drain is complete", async () => {
    await agents.act("web");
    return node().DrainStrategy === null;
  });
  assert.deepEqual([node().Drain, node().SchedulingEligibility], [false, "ineligible"]);
  assert.equal(node().LastDrain?.Status, "complete");
  assert.deepEqual(events(node()).slice(-2), [
    "Drain: Node drain strategy set",
    "Drain: Node drain complete",
  ]);
  using snapshot = bench.state.snapshot();
  assert.ok(snapshot.evaluationsByJob("default", "web").some((each) => each.TriggeredBy === "node-drain"));
});

test("batch jobs may finish; at the deadline they go", async (t) => {
  const { bench, agents, first, addNode, drain, node, on } = await started(t);
  agents.fate = () => "silent";
  await bench.server.endpoints.jobs.register(registration(paperJob("sums", 1, 100, { Type: "batch" })));
  await eventually("placed", () => on(first, "sums").length === 1);
  await agents.act("sums");
  const second = await addNode();
  await drain({ Deadline: 1e9 });
  const deadline = Date.parse(node().DrainStrategy!.ForceDeadline);
  await eventually("it leaves", () => on(second, "sums").length === 1);
  assert.ok(Date.now() >= deadline - 1, "not before the deadline");
  await eventually("the drain is complete", async () => {
    await agents.act("sums");
    return node().DrainStrategy === null;
  });
  assert.deepEqual(node().Events.at(-1)?.Details, { deadline_reached: "true" });
});

test("a negative deadline takes everything away at once", async (t) => {
  const { agents, run, addNode, drain, node, on } = await started(t);
  await run(service("web", 3, { group: { Migrate: { MaxParallel: 1 } } }), 3);
  const second = await addNode();
  agents.fate = () => "silent";
  await drain({ Deadline: -1 });
  await eventually("all on the other node", () => on(second, "web").length === 3);
  await eventually("the drain is complete", async () => {
    await agents.act("web");
    return node().DrainStrategy === null;
  });
});

test("an empty node's drain is complete at once", async (t) => {
  const { drain, node } = await started(t);
  await drain({ Deadline: 0 });
  await eventually("complete", () => node().LastDrain?.Status === "complete");
});

test("a drain that is cancelled leaves the rest where it is; the node takes jobs again", async (t) => {
  const { bench, agents, first, run, addNode, drain, node, on } = await started(t);
  await run(service("web", 3, { group: { Migrate: { MaxParallel: 1 } } }), 3);
  await addNode();
  agents.fate = () => "silent";
  await drain({});
  await eventually("one left", () => on(first, "web").length === 2);
  await drain({ Deadline: 2 * HOUR });
  assert.ok(events(node()).includes("Drain: Node drain strategy updated"));
  await drain(null, true);
  assert.deepEqual([node().Drain, node().SchedulingEligibility], [false, "eligible"]);
  assert.equal(node().LastDrain?.Status, "canceled");
  assert.equal(events(node()).at(-1), "Drain: Node drain disabled");
  const replacement = bench.live("web").find((each) => each.NodeID !== first.ID)!;
  await bench.handler.handle(replacement.NodeID, "allocation.update", {
    updates: [updateOf(replacement, "running", true)],
  });
  assert.equal(on(first, "web").filter((each) => each.DesiredTransition?.Migrate === true).length, 0);
});

test("a new leader goes on with the drains that it finds", async (t) => {
  const { bench, agents, run, addNode, drain, node, on } = await started(t);
  await run(service("web", 2, { group: { Migrate: { MaxParallel: 1 } } }), 2);
  const second = await addNode();
  bench.consensus.lead(false);
  await bench.consensus.elsewhere(() => drain({}));
  agents.fate = () => "healthy";
  bench.consensus.lead(true);
  await eventually("the drain is complete", async () => {
    await agents.act("web");
    return node().DrainStrategy === null;
  });
  assert.equal(on(second, "web").length, 2);
});

test("a draining node can't be made eligible", async (t) => {
  const { bench, agents, first, run, drain } = await started(t);
  await run(service("web", 1), 1);
  agents.fate = () => "silent";
  await drain({});
  await assert.rejects(
    bench.server.endpoints.nodes.setEligibility(first.ID, "eligible"),
    /can not set node's scheduling eligibility to eligible while it is draining/,
  );
});

test("system jobs leave last, or stay where they are to be ignored", async (t) => {
  const { bench, agents, first, run, addNode, drain, node, on } = await started(t);
  await run(service("web", 1), 1);
  agents.fate = () => "silent";
  await bench.server.endpoints.jobs.register(registration(paperJob("watch", 1, 50, { Type: "system" })));
  await eventually("the system job runs", () => on(first, "watch").length === 1);
  await agents.act("watch");
  const second = await addNode();
  await drain({});
  await eventually("the service is on its way", () => on(second, "web").length === 1);
  assert.notEqual(on(first, "watch")[0]?.DesiredTransition?.Migrate, true, "while the service still stops");
  await agents.act("web");
  await eventually("the system job leaves", () => on(first, "watch").length === 0);
  assert.equal(node().LastDrain?.Status, "draining", "while the system job still stops");
  await agents.act("watch");
  await eventually("the drain is complete", () => node().LastDrain?.Status === "complete");

  await bench.server.endpoints.nodes.setDrain({
    nodeId: second.ID,
    spec: { Deadline: -1, IgnoreSystemJobs: true },
    markEligible: false,
    meta: null,
  });
  await eventually("the drain is complete without it", async () => {
    await agents.act("web");
    using snapshot = bench.state.snapshot();
    return snapshot.node(second.ID)?.LastDrain?.Status === "complete";
  });
  assert.equal(on(second, "watch").length, 1);
});
