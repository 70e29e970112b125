import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TimeTable } from "../../../../core/server/garbage/time-table.js";

/** A table with a clock of its own. */
function table(): { times: TimeTable; clock: { now: number } } {
  const clock = { now: 1_000_000 };
  return { times: new TimeTable(() => clock.now), clock };
}

test("an index is as old as the time at which the log had reached it", () => {
  const { times, clock } = table();
  assert.equal(times.indexBefore(0), 0);
  times.witness(10);
  clock.now += 60_000;
  times.witness(20);
  assert.equal(times.indexBefore(0), 20);
  assert.equal(times.indexBefore(30_000), 10);
  assert.equal(times.indexBefore(60_000), 10);
  assert.equal(times.indexBefore(60_001), 0);
});

test("what rows tell of the time before is taken over, with what was witnessed meanwhile", () => {
  const { times, clock } = table();
  times.witness(30);
  clock.now += 1_000;
  times.seed([
    { index: 20, age: 5_000 },
    { index: 5, age: 20_000 },
    // Its clock was wrong: it can't be older than what was written before it.
    { index: 10, age: 90_000 },
  ]);
  assert.equal(times.indexBefore(0), 30);
  assert.equal(times.indexBefore(1_001), 20);
  assert.equal(times.indexBefore(30_000), 10);
  assert.equal(times.indexBefore(90_001), 0);
});

test("nothing is ever told to be older than it is, and the table stays small", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ pause: fc.integer({ min: 0, max: 60_000 }), entries: fc.integer({ min: 1, max: 5 }) }),
        {
          minLength: 1,
          maxLength: 200,
        },
      ),
      fc.integer({ min: 0, max: 5_000_000 }),
      (steps, age) => {
        const { times, clock } = table();
        const written: { index: number; at: number }[] = [];
        let index = 0;
        for (const { pause, entries } of steps) {
          clock.now += pause;
          index += entries;
          written.push({ index, at: clock.now });
          times.witness(index);
        }
        const old = times.indexBefore(age);
        const reached = written.filter(({ at }) => at <= clock.now - age).at(-1)?.index ?? 0;
        assert.ok(old <= reached, `${old} is told to be ${age} ms old; the log was at ${reached} then`);
      },
    ),
  );
  const { times, clock } = table();
  for (let index = 1; index <= 50_000; index++) {
    clock.now += 1_000;
    times.witness(index);
  }
  assert.ok(times.size <= 4_096, `${times.size} entries`);
  const hour = times.indexBefore(3_600_000);
  assert.ok(hour > 46_000 && hour <= 46_400, `index of an hour ago: ${hour}`);
});
