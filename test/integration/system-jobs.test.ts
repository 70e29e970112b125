import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster } from "./cluster.js";
import { run } from "./process.js";

const job = (id: string, type: string, script: string): object => ({
  ID: id,
  Name: id,
  Type: type,
  Datacenters: ["dc1"],
  TaskGroups: [
    {
      Name: "g",
      Tasks: [
        {
          Name: "t",
          Driver: "raw_exec",
          Config: { command: "/bin/sh", args: ["-c", script] },
          Resources: { CPU: 20, MemoryMB: 16 },
        },
      ],
    },
  ],
});

test("system and sysbatch jobs run on a node that joins after them, and garbage collection takes what is over", {
  timeout: 120_000,
}, async (t) => {
  const cluster = await Cluster.create();
  t.after(() => cluster.destroy());
  await cluster.startServer();
  await cluster.register(job("agent", "system", `echo ${cluster.folder}; exec sleep 300`));
  await cluster.register(job("once", "sysbatch", "true"));
  await cluster.startClient();
  const statuses = async (id: string): Promise<string[]> =>
    (await cluster.allocations(id)).map(({ ClientStatus }) => ClientStatus);
  await eventually("the system job runs", async () => (await statuses("agent")).includes("running"));
  await eventually("the sysbatch job is done", async () => (await statuses("once")).includes("complete"));
  await eventually("and dead", async () => (await cluster.job("once"))?.Status === "dead");
  assert.equal((await cluster.job("agent"))?.Status, "running");

  const { code, output } = await run(["system", "gc", "-address", cluster.address]);
  assert.equal(code, 0, output);
  await eventually("the dead job is gone", async () => (await cluster.job("once")) === undefined);
  assert.deepEqual(await statuses("agent"), ["running"]);
});

test("an operator holds the schedulers and lets them go on, and a restart of the server changes nothing about it", {
  timeout: 120_000,
}, async (t) => {
  const cluster = await Cluster.create();
  t.after(() => cluster.destroy());
  const server = await cluster.startServer();
  await cluster.startClient();
  const setConfig = async (flag: string): Promise<void> => {
    const { code, output } = await run([
      ...["operator", "scheduler", "set-config", flag, "-address", cluster.address],
    ]);
    assert.equal(code, 0, output);
  };
  await setConfig("-pause-eval-broker=true");
  await cluster.register(job("held", "system", "exec sleep 300"));
  await server.kill("SIGKILL");
  await cluster.startServer();
  const shown = await run(["operator", "scheduler", "get-config", "-address", cluster.address]);
  assert.match(shown.output, /Pause Eval Broker {13}= true/);
  const self = await cluster.get<{ stats: { broker: { enabled: string } } }>("/agent/self");
  assert.equal(self?.stats.broker.enabled, "false");
  assert.deepEqual(await cluster.allocations("held"), []);
  await setConfig("-pause-eval-broker=false");
  await eventually("the job runs", async () =>
    (await cluster.allocations("held")).some(({ ClientStatus }) => ClientStatus === "running"),
  );

  await setConfig("-reject-job-registration=true");
  await assert.rejects(
    cluster.register(job("refused", "sysbatch", "true")),
    /403 Permission denied: job registration, dispatch, and scale are disabled/,
  );
});
