import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkCases, checkRepeats, checkSchedulers } from "./proof-cases.js";

describe("the placement engine beside the reference, at length", () => {
  it("takes the best of all nodes and counts the others", () => {
    const seen = checkCases(6_000, false);
    assert.ok(seen.placed > 6_000 && seen.failed > 6_000, JSON.stringify(seen));
  });

  it("pushes others aside only where nothing is free, and no more of them than it takes", () => {
    const seen = checkCases(3_000, true);
    assert.ok(seen.evicting > 500, JSON.stringify(seen));
  });

  it("makes the same plan of the same snapshot and evaluation", () => checkRepeats(1_000));

  it("fills the plans of whole schedulers, which leave nothing out that has room", async () => {
    const seen = await checkSchedulers(2_000);
    assert.ok(seen.placed > 1000 && seen.failed > 1000, JSON.stringify(seen));
  });
});
