/** A drain in real agents with real processes, seen over HTTP. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Node } from "@drover/plugin-sdk";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster, sleepJob, uniqueSleep } from "./cluster.js";
import { drover, freePorts, run } from "./process.js";

const SECOND = 1e9;

test("a drain of one of two nodes moves its allocations, one after the other, to the other", {
  timeout: 120_000,
}, async (t) => {
  const cluster = await Cluster.create();
  const marker = uniqueSleep();
  cluster.mark(`sleep\0${marker}`);
  t.after(() => cluster.destroy());
  await cluster.startServer();
  await cluster.startClient();
  await cluster.startClient("", "second");

  const running = async () =>
    (await cluster.allocations("web")).filter(
      (each) => each.DesiredStatus === "run" && each.ClientStatus === "running",
    );

  const job = sleepJob("web", 3, marker) as { readonly TaskGroups: [object] };
  Object.assign(job.TaskGroups[0], {
    Migrate: {
      MaxParallel: 1,
      MinHealthyTime: SECOND / 5,
      HealthyDeadline: 8 * SECOND,
      HealthCheck: "task_states",
    },
  });
  await cluster.register(job);
  await eventually("three run", async () => (await running()).length === 3);

  const [one] = await running();
  const drained = one!.NodeID;
  await cluster.post(`/node/${drained}/drain`, {
    DrainSpec: { Deadline: 60 * SECOND, IgnoreSystemJobs: false },
    Meta: { message: "test" },
  });
  let fewest = 3;
  await eventually(
    "the drain is complete",
    async () => {
      fewest = Math.min(fewest, (await running()).length);
      return (await cluster.get<Node>(`/node/${drained}`))?.DrainStrategy === null;
    },
    40_000,
  );
  assert.ok(fewest >= 2, `never less than two ran: ${fewest}`);
  const node = (await cluster.get<Node>(`/node/${drained}`))!;
  assert.equal(node.LastDrain?.Status, "complete");
  assert.equal(node.SchedulingEligibility, "ineligible");
  assert.ok(node.Events.some((each) => each.Message === "Node drain complete" && each.Subsystem === "Drain"));
  await eventually("three on the other node", async () => {
    const rows = await running();
    return rows.length === 3 && rows.every((each) => each.NodeID !== drained);
  });
});

test("node drain -self drains the node of the agent that is asked, and -monitor follows it", {
  timeout: 60_000,
}, async (t) => {
  const [http] = await freePorts(1);
  const agent = drover(["agent", "-dev", `-http-port=${http}`]);
  t.after(() => agent.kill("SIGINT"));
  const address = `http://127.0.0.1:${http}`;
  const nodes = async () => (await (await fetch(`${address}/v1/nodes`)).json()) as Node[];
  await eventually("a ready node", async () => {
    if (!agent.alive) throw new Error(agent.output);
    return (await nodes()).some((node) => node.Status === "ready");
  });
  const [{ ID }] = (await nodes()) as [Node];
  const drained = await run(["node", "drain", "-enable", "-self", "-address", address]);
  assert.equal(drained.code, 0, drained.output);
  assert.match(
    drained.output,
    new RegExp(`Node "${ID}" drain strategy set\n(.*\n)*.*Drain complete for node ${ID}`),
  );
  assert.equal((await nodes())[0]?.SchedulingEligibility, "ineligible");
  const followed = await run(["node", "drain", "-monitor", "-self", "-address", address]);
  assert.equal(followed.code, 0, followed.output);
  assert.match(followed.output, new RegExp(`No drain strategy set for node ${ID}`));
  const ended = await run(["node", "drain", "-disable", "-self", "-address", address]);
  assert.equal(ended.output, `Node "${ID}" drain strategy unset\n`);
  assert.equal((await nodes())[0]?.SchedulingEligibility, "eligible");
});
