/** A whole agent's state saved, changed and restored by command, while tasks run. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster, sleepJob, uniqueSleep } from "./cluster.js";
import { processesWith, run } from "./process.js";

test("a state is saved and restored while jobs run: tasks go on, those of later jobs end, stopped jobs come back", {
  timeout: 300_000,
}, async (t) => {
  const cluster = await Cluster.create();
  const markers = { kept: uniqueSleep(), stopped: uniqueSleep(), later: uniqueSleep() };
  for (const marker of Object.values(markers)) cluster.mark(`sleep\0${marker}`);
  t.after(() => cluster.destroy());
  const running = (marker: string): number => processesWith(`sleep\0${marker}`).length;
  const operator = async (...argv: string[]): Promise<string> => {
    const { code, output } = await run(["operator", ...argv], { NOMAD_ADDR: cluster.address });
    assert.equal(code, 0, output);
    return output;
  };
  await cluster.startServer();
  await cluster.startClient();
  await cluster.register(sleepJob("kept", 2, markers.kept));
  await cluster.register(sleepJob("stopped", 1, markers.stopped));
  const live = async (job: string): Promise<string[]> =>
    (await cluster.allocations(job))
      .filter((each) => each.DesiredStatus === "run" && each.ClientStatus === "running")
      .map(({ ID }) => ID);
  await eventually(
    "both run",
    async () => (await live("kept")).length === 2 && (await live("stopped")).length === 1,
  );
  const kept = (await live("kept")).sort();
  const pids = processesWith(`sleep\0${markers.kept}`).sort();

  assert.match(await operator("raft", "list-peers"), /\bleader +true +3\n/);
  const file = join(cluster.folder, "backup.snap");
  assert.match(await operator("snapshot", "save", file), /State file written to .*backup\.snap/);
  assert.match(await operator("snapshot", "inspect", file), /\njobs +2 /);

  await run(["job", "stop", "-detach", "stopped"], { NOMAD_ADDR: cluster.address });
  await cluster.register(sleepJob("later", 1, markers.later));
  await eventually("the later job runs", async () => (await live("later")).length === 1);
  await eventually("the stopped one is gone", () => running(markers.stopped) === 0);

  assert.match(await operator("snapshot", "restore", file), /Snapshot Restored/);
  assert.equal((await cluster.job("stopped"))?.Stop, false);
  assert.equal(await cluster.job("later"), undefined);
  // The agent says what became of the stopped task, which the restored state takes for running: it is replaced.
  await eventually("the stopped job runs again", () => running(markers.stopped) === 1);
  await eventually("the later job's task is ended", () => running(markers.later) === 0);
  assert.deepEqual((await live("kept")).sort(), kept);
  assert.deepEqual(
    processesWith(`sleep\0${markers.kept}`).sort(),
    pids,
    "no task of the kept job was touched",
  );

  // And it goes on from there: after a restart too.
  await cluster.register(sleepJob("after", 1, markers.later));
  await eventually("a new job runs", async () => (await live("after")).length === 1);
  await cluster.server?.kill("SIGKILL");
  await cluster.startServer();
  await eventually("all is there", async () => {
    const jobs = await Promise.all(["kept", "stopped", "after"].map((id) => cluster.job(id)));
    return jobs.every((job) => job !== undefined) && (await cluster.job("later")) === undefined;
  });
  await eventually(
    "and runs",
    async () => (await live("kept")).length === 2 && (await live("after")).length === 1,
  );
  assert.deepEqual(processesWith(`sleep\0${markers.kept}`).sort(), pids);
});
