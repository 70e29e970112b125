import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkRaces } from "./race-cases.js";

describe("schedulers that race, at length", () => {
  it("overcommit no node in any order of plans, commits and events, and place all that has room", async () => {
    const seen = await checkRaces(2_000);
    assert.ok(seen.refused > 300 && seen.live > 2_000, `the plans hardly met: ${JSON.stringify(seen)}`);
  });
});
