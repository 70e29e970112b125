import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkRaces } from "./race-cases.js";

describe("schedulers that race", () => {
  it("overcommit no node in any order of plans, commits and happenings, and place all that has room", async () => {
    const seen = await checkRaces(60);
    const text = `the plans hardly met: ${JSON.stringify(seen)}`;
    assert.ok(seen.refused > 15 && seen.live > 100 && seen.closedMeanwhile > 0, text);
    assert.ok(seen.evicted > 0 && seen.migrated > 0 && seen.deployed > 10, text);
  });
});
