import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ProfileName } from "./profile.js";
import { runSeeds } from "./seeds.js";

const SEEDS: readonly (readonly [ProfileName, number])[] = [
  ["swarm", 2000],
  ["storm", 500],
];

describe("simulated Raft clusters, at length", () => {
  for (const [profile, count] of SEEDS) {
    it(`keep every property over ${count} seeds of profile ${profile}`, () => {
      const { failure } = runSeeds({ first: 100_000, count, steps: 20_000, profile });
      assert.equal(failure, null, `seed ${failure?.seed}: ${failure?.error.stack}`);
    });
  }
});
