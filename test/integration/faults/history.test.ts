import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type History, type Read, type Seen, violations, type Write } from "./history.js";

const write = (value: number, start: number, end: number, more: Partial<Write> = {}): Write => ({
  key: "k",
  value,
  id: `w-${value}`,
  server: "s1",
  start,
  end,
  outcome: "acknowledged",
  answer: "200",
  ...more,
});
const read = (value: number, start: number, end: number, more: Partial<Read> = {}): Read => ({
  key: "k",
  value,
  id: value === 0 ? "" : `w-${value}`,
  index: value * 10,
  server: "s2",
  start,
  end,
  ...more,
});
const seen = (value: number, more: Partial<Seen> = {}): Seen => ({
  value,
  id: `w-${value}`,
  index: value * 10,
  ...more,
});
const ending = (...states: Seen[]): History["final"] =>
  new Map(states.map((state, at) => [`s${at + 1}`, new Map([["k", state]])]));

const GOOD: History = {
  writes: [
    write(1, 0, 10),
    write(2, 20, 30, { outcome: "unknown" }),
    write(3, 31, 40, { id: "late", outcome: "refused" }),
    write(3, 50, 60),
  ],
  // The first runs beside write 1 and may see either; write 2 became known by being read.
  reads: [read(0, 1, 5), read(1, 11, 19), read(2, 25, 45), read(2, 51, 59), read(3, 52, 58), read(3, 61, 70)],
  leaders: [
    { server: "s1", term: 2 },
    { server: "s1", term: 2 },
    { server: "s2", term: 3 },
  ],
  final: ending(seen(3), seen(3), seen(3)),
};

describe("the judge of histories", () => {
  it("finds nothing in a history that is linearizable", () => {
    assert.deepEqual(violations(GOOD), []);
  });

  const planted: readonly [string, Partial<History>, RegExp][] = [
    ["an acknowledged write that a later read misses", { reads: [read(2, 61, 62)] }, /^stale: read of k = 2/],
    ["a key that is gone", { reads: [read(0, 11, 12)] }, /^stale: read of k = 0/],
    [
      "reads that go back in time, though nobody was told of the write",
      { reads: [read(2, 32, 33), read(1, 34, 35)] },
      /^stale: read of k = 1 .* after read of k = 2/,
    ],
    ["a value that nobody wrote", { reads: [read(7, 0, 1)] }, /^never written: read of k = 7/],
    [
      "a refused write that is read",
      { reads: [read(3, 45, 65, { id: "late" })] },
      /^refused and yet there: .*late/,
    ],
    ["a write that is read before it began", { reads: [read(3, 45, 46)] }, /^read before it was written/],
    [
      "two acknowledged writes of one value",
      { writes: [...GOOD.writes, write(3, 50, 60, { id: "other" })] },
      /^lost update/,
    ],
    [
      "two unknown writes of one value that are both seen",
      {
        writes: [...GOOD.writes, write(2, 20, 30, { id: "other", outcome: "unknown" })],
        reads: [read(2, 21, 29), read(2, 21, 29, { id: "other" })],
      },
      /^two histories: k = 2 is of w-2, and on s2 of other/,
    ],
    [
      "one value at two indexes of the log",
      { reads: [read(1, 11, 12), read(1, 13, 14, { index: 11 })] },
      /^two histories: k = 1 is at index 10/,
    ],
    [
      "values in another order than the log's",
      { reads: [read(1, 11, 12, { index: 30 }), read(2, 25, 26, { index: 20 })] },
      /^out of order: k = 2/,
    ],
    [
      "two leaders of one term",
      { leaders: [...GOOD.leaders, { server: "s3", term: 2 }] },
      /^two leaders in term 2/,
    ],
    [
      "an acknowledged write that one server lost",
      { final: ending(seen(3), seen(2), seen(3)) },
      /^lost: write .* of k = 3 .* is not on s2/,
    ],
    ["a server that lost everything", { final: new Map([["s1", new Map()]]) }, /^lost: .* is not on s1/],
    [
      "a refused write that is there in the end",
      { final: ending(seen(3, { id: "late" })) },
      /^refused and yet there: .* on s1/,
    ],
    ["a final value that nobody wrote", { final: ending(seen(4)) }, /^never written: k = 4/],
    [
      "servers that differ where the client was never told",
      {
        writes: [write(1, 0, 10, { outcome: "unknown" })],
        reads: [],
        final: new Map([
          ["s1", new Map([["k", seen(1)]])],
          ["s2", new Map<string, Seen>()],
        ]),
      },
      /^servers differ: k is w-1 on s1 and undefined on s2/,
    ],
  ];
  for (const [what, plant, words] of planted) {
    it(`finds ${what}`, () => {
      const found = violations({ ...GOOD, ...plant });
      assert.ok(
        found.some((line) => words.test(line)),
        found.join("\n"),
      );
    });
  }

  it("says a limited number of each kind", () => {
    const reads = Array.from({ length: 100 }, (_, at) => read(1, 100 + at, 100.5 + at));
    assert.equal(violations({ ...GOOD, reads }, 3).length, 3);
  });
});
