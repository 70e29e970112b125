import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster, sleepJob, uniqueSleep } from "./cluster.js";
import { drover, processesWith } from "./process.js";

test("kill -9 of the agent: tasks keep their pids, and are supervised again after its restart", {
  timeout: 120_000,
}, async (t) => {
  const cluster = await Cluster.create();
  const marker = uniqueSleep();
  const tasks = (): number[] => processesWith(`sleep\0${marker}`).sort((a, b) => a - b);
  cluster.mark(`sleep\0${marker}`);
  t.after(() => cluster.destroy());
  await cluster.startServer();
  await cluster.startClient();
  await cluster.register(sleepJob("steady", 3, marker));
  const running = async (): Promise<boolean> => {
    const live = (await cluster.allocations("steady")).filter((each) => each.DesiredStatus === "run");
    return live.length === 3 && live.every((each) => each.ClientStatus === "running");
  };
  await eventually("three running allocations", running);
  const before = await eventually("three processes", () => (tasks().length === 3 ? tasks() : undefined));

  await cluster.client?.kill("SIGKILL");
  assert.deepEqual(tasks(), before, "tasks ended with their agent");
  cluster.client = drover(["agent", "-config", join(cluster.folder, "client.hcl")]);
  await eventually("the agent's API", async () => {
    const answer = await fetch(`http://127.0.0.1:${cluster.clientPorts.http}/v1/agent/health`);
    return answer.ok;
  });
  assert.deepEqual(tasks(), before, "tasks were interrupted by the agent's restart");

  // Supervised again: a task that ends is seen, restarted by its policy, and told of.
  process.kill(before[0]!, "SIGTERM");
  await eventually("the ended task restarted", () => tasks().length === 3 && !tasks().includes(before[0]!));
  assert.ok(tasks().includes(before[1]!) && tasks().includes(before[2]!));
  await eventually("the restart in the API", async () =>
    (await cluster.allocations("steady")).some((each) => (each.TaskStates?.t?.Restarts ?? 0) === 1),
  );
  const stop = await fetch(`${cluster.api}/job/steady`, { method: "DELETE" });
  assert.equal(stop.status, 200);
  await eventually("every task stopped", () => tasks().length === 0);
  await eventually("allocations complete", async () =>
    (await cluster.allocations("steady")).every((each) => each.ClientStatus === "complete"),
  );
});
