import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { CronError, parseCron } from "../../../core/jobspec/index.js";

describe("cron expressions", () => {
  test("five fields start with the minute; a sixth is the year, seven start with the second", () => {
    assert.deepEqual([...parseCron("*/15 * * * *").minutes], [0, 15, 30, 45]);
    // The recorded job: every 15 minutes, not every 15 seconds.
    const six = parseCron("*/15 * * * * *");
    assert.deepEqual([...six.minutes], [0, 15, 30, 45]);
    assert.deepEqual([...six.seconds], [0]);
    assert.equal(six.years.size, 130);
    assert.deepEqual([...parseCron("0 0 1 1 * 2030").years], [2030]);
    assert.deepEqual([...parseCron("*/30 0 0 1 1 * *").seconds], [0, 30]);
  });

  test("names, ranges, lists, steps and shorthands", () => {
    const schedule = parseCron("0 9-17/4 1,15 jan-mar MON-FRI");
    assert.deepEqual([...schedule.hours], [9, 13, 17]);
    assert.deepEqual([...schedule.daysOfMonth.numbers], [1, 15]);
    assert.deepEqual([...schedule.months], [1, 2, 3]);
    assert.deepEqual([...schedule.daysOfWeek.numbers], [1, 2, 3, 4, 5]);
    assert.deepEqual([...parseCron("0 0 * * 7").daysOfWeek.numbers], [0]);
    assert.deepEqual([...parseCron("@daily").hours], [0]);
  });

  test("last days, working days and nth weekdays", () => {
    assert.equal(parseCron("0 0 L * *").daysOfMonth.last, true);
    assert.deepEqual([...parseCron("0 0 15W,LW * *").daysOfMonth.nearestWorkdays], [15, 0]);
    assert.deepEqual([...parseCron("0 0 * * 5L").daysOfWeek.lastWeekdays], [5]);
    assert.deepEqual(parseCron("0 0 * * tue#3").daysOfWeek.nthWeekdays, [[2, 3]]);
  });

  const bad = [
    "",
    "* * * *",
    "* * * * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "5-1 * * * *",
    "*/0 * * * *",
    "a * * * *",
    "@often",
    "* * * * 1#6",
    "1-2-3 * * * *",
  ];
  for (const spec of bad) {
    test(`"${spec}" is refused`, () => assert.throws(() => parseCron(spec), CronError));
  }

  test("any text is either read or refused with a CronError", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), (spec) => {
        try {
          parseCron(spec);
        } catch (error) {
          assert.ok(error instanceof CronError);
        }
      }),
      { examples: [["__proto__"], ["constructor"], ["@"]] },
    );
  });
});
