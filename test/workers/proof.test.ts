import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkCases, checkRepeats, checkSchedulers } from "./proof-cases.js";

describe("the placement engine beside the reference", () => {
  it("takes the best of all nodes and counts the others", () => {
    const seen = checkCases(250, false);
    assert.ok(seen.placed > 100 && seen.failed > 100, `hardly anything was tried: ${JSON.stringify(seen)}`);
  });

  it("pushes others aside only where nothing is free, and no more of them than it takes", () => {
    const seen = checkCases(150, true);
    assert.ok(seen.evicting > 10, `hardly anything was tried: ${JSON.stringify(seen)}`);
  });

  it("makes the same plan of the same snapshot and evaluation", () => checkRepeats(50));

  it("fills the plans of whole schedulers, which leave nothing out that has room", async () => {
    const seen = await checkSchedulers(60);
    assert.ok(seen.placed > 30 && seen.failed > 30, JSON.stringify(seen));
  });
});
