/** The long form of exactness.test.ts: 20,000 random clusters. */
import { describe, it } from "node:test";
import fc from "fast-check";
import { cases, checkCase, crowded } from "./placement-cases.js";

describe("placement is exact, at length", () => {
  it("agrees with the reference on ten thousand clusters", () => {
    fc.assert(
      fc.property(cases, (input) => void checkCase(input)),
      { numRuns: 10_000 },
    );
  });

  it("evicts only who is needed on ten thousand full clusters", () => {
    fc.assert(
      fc.property(crowded, (input) => void checkCase(input)),
      { numRuns: 10_000 },
    );
  });
});
