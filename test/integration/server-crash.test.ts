import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "@drover/plugin-sdk/testing";
import { Cluster, sleepJob, uniqueSleep } from "./cluster.js";
import { processesWith } from "./process.js";

const JOBS = 200;
const KILLS = 5;

test(`kill -9 of the server ${KILLS} times in a run of ${JOBS} jobs: what was answered is there and runs exactly count times`, {
  timeout: 300_000,
}, async (t) => {
  const cluster = await Cluster.create();
  const marker = uniqueSleep();
  cluster.mark(`sleep\0${marker}`);
  t.after(() => cluster.destroy());
  await cluster.startServer();
  await cluster.startClient();

  const wanted = new Map<string, number>();
  let answered = 0;
  let done = false;
  const submit = async (): Promise<void> => {
    for (let i = 0; i < JOBS; i++) {
      const id = `crash-${i}`;
      const count = 1 + (i % 2);
      // Told nothing, the submitter tries again, as a person would; the registration is idempotent.
      await eventually(
        `job ${id} registered`,
        async () => {
          await cluster.register(sleepJob(id, count, marker));
          return true;
        },
        60_000,
      );
      wanted.set(id, count);
      answered++;
    }
    done = true;
  };
  const crash = async (): Promise<void> => {
    for (let kill = 1; kill <= KILLS; kill++) {
      const at = Math.floor((JOBS * kill) / (KILLS + 1));
      await eventually(`${at} answered jobs`, () => answered >= at || done, 120_000);
      // Any moment: also between two writes of one job.
      await delay(Math.random() * 50);
      await cluster.server?.kill("SIGKILL");
      await cluster.startServer();
    }
  };
  await Promise.all([submit(), crash()]);

  assert.equal(wanted.size, JOBS);
  for (const [id, count] of wanted) {
    await eventually(
      `job ${id} runs ${count}`,
      async () => {
        assert.ok(await cluster.job(id), `job ${id} was answered and is gone`);
        const live = (await cluster.allocations(id)).filter((each) => each.DesiredStatus === "run");
        assert.equal(live.length, count, `job ${id} has ${live.length} allocations`);
        return live.every((each) => each.ClientStatus === "running");
      },
      120_000,
    );
  }
  const total = [...wanted.values()].reduce((sum, count) => sum + count, 0);
  await eventually(
    "as many processes as allocations",
    () => processesWith(`sleep\0${marker}`).length === total,
  );
});
