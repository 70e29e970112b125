import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkRaces } from "./race-cases.js";

describe("schedulers that race", () => {
  it("overcommit no node in any order of plans, commits and events, and place all that has room", async () => {
    const seen = await checkRaces(40);
    assert.ok(seen.refused > 5 && seen.live > 40, `the plans hardly met: ${JSON.stringify(seen)}`);
  });
});
