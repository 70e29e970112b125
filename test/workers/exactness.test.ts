/** 1,000 random clusters by default (a few seconds); exactness.long.test.ts runs 20,000. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { cases, checkCase, crowded } from "./placement-cases.js";

describe("placement is exact", () => {
  it("has the feasible nodes, scores, failures and evictions of a reference that looks at every node", () => {
    fc.assert(
      fc.property(cases, (input) => void checkCase(input)),
      { numRuns: 500 },
    );
  });

  it("evicts only who is less important by ten and needed, on full clusters", () => {
    fc.assert(
      fc.property(crowded, (input) => void checkCase(input)),
      { numRuns: 400 },
    );
  });

  it("makes the same plan twice from the same seed", () => {
    fc.assert(
      fc.property(cases, (input) => assert.deepEqual(checkCase(input), checkCase(input))),
      { numRuns: 100 },
    );
  });
});
