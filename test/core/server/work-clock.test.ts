import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { WorkClock } from "../../../core/server/work-clock.js";

test("a deadline passes by time at work alone, and not once the work is done", async (t) => {
  let now = 0;
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(performance, "now", () => now);
  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
  });
  const pass = (milliseconds: number): Promise<void> => {
    now += milliseconds;
    mock.timers.tick(milliseconds);
    return turn();
  };
  let passed = 0;
  const clock = new WorkClock(() => passed++);
  clock.start(100);
  await pass(60);
  clock.pause();
  clock.pause();
  await pass(1_000);
  clock.resume();
  await pass(1_000);
  assert.equal(passed, 0, "one of two requests is still under way");
  clock.resume();
  await pass(39);
  assert.equal(passed, 0);
  await pass(1);
  assert.equal(passed, 1);

  const done = new WorkClock(() => passed++);
  done.start(100);
  now += 100;
  mock.timers.tick(100);
  // The word that the work is done comes in the same turn as the timer.
  done.stop();
  await turn();
  assert.equal(passed, 1);
});
