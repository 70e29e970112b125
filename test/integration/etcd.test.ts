/** Whole agents whose consensus is an etcd cluster. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { EtcdCluster } from "../plugins/consensus-etcd/etcd-cluster.js";
import { Cluster, sleepJob, uniqueSleep } from "./cluster.js";
import { processesWith, run } from "./process.js";

test("one block of configuration puts an agent on etcd: it runs jobs, and keeps them over kill -9 of server and etcd member", {
  timeout: 120_000,
}, async (t) => {
  const etcd = await EtcdCluster.start();
  t.after(() => etcd.destroy());
  const cluster = await Cluster.create();
  const marker = uniqueSleep();
  cluster.mark(`sleep\0${marker}`);
  t.after(() => cluster.destroy());
  const block = `plugin "consensus-etcd" {\n  config {\n    endpoints = ${JSON.stringify(etcd.endpoints)}\n    lease_ttl = 2000\n  }\n}`;
  const server = await cluster.startServer(block);
  await cluster.startClient();

  const runs = async (job: string, count: number): Promise<void> => {
    await eventually(`${count} allocations of ${job} run`, async () => {
      const running = (await cluster.allocations(job)).filter((each) => each.ClientStatus === "running");
      return running.length === count;
    });
  };
  await cluster.register(sleepJob("first", 2, marker));
  await runs("first", 2);
  await etcd.kill(await etcd.leader());
  await eventually("a job is registered with two members", async () => {
    await cluster.register(sleepJob("second", 1, marker));
    return true;
  });
  await runs("second", 1);
  await server.kill("SIGKILL");
  await cluster.startServer(block);
  await cluster.register(sleepJob("third", 1, marker));
  await runs("third", 1);
  await runs("first", 2);
  assert.equal(processesWith(`sleep\0${marker}`).length, 4);
});

test("an agent that is told to use both engines, or an etcd that is not there, says so and does not start", async (t) => {
  const cluster = await Cluster.create();
  t.after(() => cluster.destroy());
  const { http, rpc, serf } = cluster.serverPorts;
  const start = async (name: string, more: string): Promise<string> => {
    const config = join(cluster.folder, `${name}.hcl`);
    writeFileSync(
      config,
      `data_dir = "${join(cluster.folder, name)}"\nbind_addr = "127.0.0.1"\nports {\n  http = ${http}\n  rpc = ${rpc}\n  serf = ${serf}\n}\n` +
        `server {\n  enabled = true\n  bootstrap_expect = 1\n}\nplugin "mqtt" {\n  config {\n    broker {\n      listen = "127.0.0.1:${cluster.broker}"\n    }\n  }\n}\n${more}`,
    );
    const { code, output } = await run(["agent", "-config", config]);
    assert.equal(code, 1, output);
    return output;
  };
  const both = await start("both", 'plugin "consensus-raft" {}\nplugin "consensus-etcd" {}\n');
  assert.match(both, /plugins "consensus-raft" and "consensus-etcd" both provide Consensus.*enabled = false/);
  const absent = await start(
    "absent",
    `plugin "consensus-etcd" {\n  config {\n    endpoints = ["http://127.0.0.1:1"]\n    start_timeout = 500\n  }\n}\n`,
  );
  assert.match(absent, /etcd at http:\/\/127\.0\.0\.1:1 does not answer .*ECONNREFUSED/);
});
