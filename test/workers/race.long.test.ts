import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkRaces } from "./race-cases.js";

describe("schedulers that race, at length", () => {
  it("overcommit no node in any order of plans, commits and happenings, and place all that has room", async () => {
    const seen = await checkRaces(2_000);
    const text = `the plans hardly met: ${JSON.stringify(seen)}`;
    assert.ok(seen.refused > 800 && seen.live > 4_000 && seen.closedMeanwhile > 80, text);
    assert.ok(seen.evicted > 200 && seen.refusedPreempting > 50, text);
    assert.ok(seen.migrated > 100 && seen.deployed > 800, text);
  });
});
