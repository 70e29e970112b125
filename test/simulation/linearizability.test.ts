import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { checkLinearizable, type Operation } from "./linearizability.js";
import { after } from "./machine.js";

const UNKNOWN = Number.POSITIVE_INFINITY;
const operation = (
  kind: Operation["kind"],
  value: string,
  called: number,
  returned: number,
  key = "k",
): Operation => ({ key, kind, value, called, returned });

const judge = (...history: Operation[]): boolean => checkLinearizable(history).linearizable;

/** Tries every order: what the search must agree with. */
function byBruteForce(history: readonly Operation[], state = ""): boolean {
  if (history.every(({ returned }) => returned === UNKNOWN)) return true;
  const firstReturn = Math.min(...history.map(({ returned }) => returned));
  return history.some((one, position) => {
    if (one.called > firstReturn) return false;
    if (one.kind === "read" && one.value !== state) return false;
    const rest = history.filter((_, other) => other !== position);
    return byBruteForce(
      rest,
      one.kind === "read" ? state : after(state, { kind: one.kind, value: one.value }),
    );
  });
}

describe("checkLinearizable", () => {
  it("accepts a sequential history, and concurrent operations in either order", () => {
    assert.ok(judge(operation("append", "a", 1, 2), operation("read", "a,", 3, 4)));
    for (const seen of ["a,b,", "b,a,"]) {
      const concurrent = [operation("append", "a", 1, 3), operation("append", "b", 2, 4)];
      assert.ok(judge(...concurrent, operation("read", seen, 5, 6)));
    }
  });

  it("refuses a stale read, a lost write and a value out of nowhere", () => {
    assert.ok(!judge(operation("append", "a", 1, 2), operation("read", "", 3, 4)));
    assert.ok(
      !judge(operation("append", "a", 1, 2), operation("append", "b", 3, 4), operation("read", "b,", 5, 6)),
    );
    assert.ok(!judge(operation("read", "z,", 1, 2)));
  });

  it("refuses reads that go back in time", () => {
    const write = operation("write", "a", 1, 10);
    assert.ok(judge(write, operation("read", "", 2, 3), operation("read", "a,", 4, 5)));
    assert.ok(!judge(write, operation("read", "a,", 2, 3), operation("read", "", 4, 5)));
  });

  it("lets an operation of unknown outcome have happened, at any later time, or not at all", () => {
    const lost = operation("append", "a", 1, UNKNOWN);
    assert.ok(judge(lost, operation("read", "", 2, 3), operation("read", "a,", 4, 5)));
    assert.ok(judge(lost, operation("read", "", 2, 3), operation("read", "", 4, 5)));
    assert.ok(!judge(lost, operation("read", "a,", 2, 3), operation("read", "", 4, 5)));
  });

  it("judges every key by itself, and names the one that is wrong", () => {
    const verdict = checkLinearizable([
      operation("append", "a", 1, 2, "good"),
      operation("read", "a,", 3, 4, "good"),
      operation("append", "b", 5, 6, "bad"),
      operation("read", "", 7, 8, "bad"),
    ]);
    assert.ok(!verdict.linearizable);
    assert.equal(verdict.key, "bad");
    assert.equal(verdict.history.length, 2);
  });

  it("agrees with a search through every order on random small histories", () => {
    let refused = 0;
    const intervals = fc.array(
      fc.record({
        kind: fc.constantFrom("append", "write", "read"),
        length: fc.integer({ min: 1, max: 6 }),
        seen: fc.constantFrom("", "v0,", "v1,", "v0,v1,", "v1,v0,", "v2,", "v0,v2,"),
        lost: fc.boolean(),
      }),
      { minLength: 1, maxLength: 6 },
    );
    fc.assert(
      fc.property(intervals, (drawn) => {
        const history = drawn.map(({ kind, length, seen, lost }, position) => {
          // Calls on even, returns on odd positions: no two of them tie.
          const returned = lost && kind !== "read" ? UNKNOWN : 2 * (position + length) + 1 + position / 100;
          return operation(
            kind as Operation["kind"],
            kind === "read" ? seen : `v${position}`,
            2 * position,
            returned,
          );
        });
        const expected = byBruteForce(history);
        if (!expected) refused++;
        assert.equal(judge(...history), expected, JSON.stringify(history));
      }),
      { numRuns: 3000 },
    );
    assert.ok(refused > 100, `only ${refused} histories were wrong`);
  });
});
