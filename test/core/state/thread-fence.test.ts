/** The fence alone: threads that go in and out are closed out, and never ended inside. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { Worker } from "node:worker_threads";
import { eventually } from "@drover/plugin-sdk/testing";
import { ThreadFence } from "../../../core/state/read/index.js";

const MODULE = new URL("../../../core/state/read/index.js", import.meta.url).href;

interface Subject {
  readonly worker: Worker;
  readonly fence: ThreadFence;
  /** Whether the thread is inside (1), and how often it came out. */
  readonly seen: Int32Array;
}

/** A thread that goes in and out for ever; `inside` is what it does there. */
async function subject(t: TestContext, inside: string, outside = ""): Promise<Subject> {
  const fence = new ThreadFence();
  const seen = new Int32Array(new SharedArrayBuffer(8));
  const source = `
    const { workerData: { memory, seen } } = require("node:worker_threads");
    import(${JSON.stringify(MODULE)}).then(({ ThreadFence }) => {
      const fence = new ThreadFence(memory);
      for (;;) {
        fence.within(() => { Atomics.store(seen, 0, 1); ${inside} Atomics.store(seen, 0, 0); });
        Atomics.add(seen, 1, 1);
        ${outside}
      }
    });`;
  const worker = new Worker(source, { eval: true, workerData: { memory: fence.memory, seen } });
  t.after(() => worker.terminate());
  await once(worker, "online");
  return { worker, fence, seen };
}

test("a closed thread is outside and stays there; opened it goes on", async (t) => {
  const { fence, seen } = await subject(t, "for (let i = 0; i < 10_000; i++);");
  for (let round = 0; round < 50; round++) {
    const before = Atomics.load(seen, 1);
    await eventually("it goes in and out", () => Atomics.load(seen, 1) > before);
    assert.equal(await fence.close(10_000), true);
    assert.equal(await fence.close(10_000), true, "closing again changes nothing");
    const times = Atomics.load(seen, 1);
    assert.equal(Atomics.load(seen, 0), 0, "it is inside");
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    assert.ok(Atomics.load(seen, 1) - times <= 1, "it went in again");
    assert.equal(Atomics.load(seen, 0), 0, "it is inside");
    fence.open();
  }
});

test("one that stays inside is told so after the limit, and waits once it comes out", async (t) => {
  const { fence, seen } = await subject(
    t,
    "while (Atomics.load(seen, 1) === 0 && Atomics.load(seen, 0) !== 2);",
  );
  await eventually("it is inside", () => Atomics.load(seen, 0) === 1);
  assert.equal(await fence.close(5), false);
  Atomics.store(seen, 0, 2);
  assert.equal(await fence.close(10_000), true);
  assert.deepEqual([Atomics.load(seen, 0), Atomics.load(seen, 1)], [0, 0]);
});

test("one that was asked out and is opened before it came out goes on", async (t) => {
  const { fence, seen } = await subject(
    t,
    "while (Atomics.load(seen, 1) === 0 && Atomics.load(seen, 0) !== 2);",
  );
  await eventually("it is inside", () => Atomics.load(seen, 0) === 1);
  assert.equal(await fence.close(5), false);
  fence.open();
  Atomics.store(seen, 0, 2);
  await eventually("it goes in and out", () => Atomics.load(seen, 1) > 100);
});

test("a thread that waits at the fence can be ended", async (t) => {
  const { worker, fence, seen } = await subject(t, "");
  await eventually("it goes in and out", () => Atomics.load(seen, 1) > 100);
  assert.equal(await fence.close(10_000), true);
  await worker.terminate();
});

test("what throws inside comes out", () => {
  const fence = new ThreadFence();
  assert.throws(
    () =>
      fence.within(() => {
        throw new Error("no such row");
      }),
    /no such row/,
  );
  assert.equal(
    fence.within(() => 7),
    7,
  );
});
