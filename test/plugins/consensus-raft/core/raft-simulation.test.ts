import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type Coverage, type Faults, Simulation } from "./simulation.js";

/** Runs histories of random seeds; fast-check prints the seed of a failing one. */
function explore(size: number, faults: Faults, runs: number, steps: number): Coverage {
  const total: Coverage = { elections: 0, commits: 0, crashes: 0, installs: 0, reads: 0, changes: 0 };
  fc.assert(
    fc.property(fc.noShrink(fc.integer({ min: 0, max: 0xffffffff })), (seed) => {
      const simulation = new Simulation(seed, size, faults);
      simulation.run(steps);
      simulation.settle();
      for (const key of Object.keys(total) as (keyof Coverage)[]) total[key] += simulation.coverage[key];
    }),
    { numRuns: runs },
  );
  return total;
}

const CALM = { drop: 0.01, duplicate: 0.01, crash: 0, partition: 0, membership: 0 };
const ROUGH = { drop: 0.1, duplicate: 0.05, crash: 0.002, partition: 0.002, membership: 0 };

describe("Raft core, simulated cluster", () => {
  for (const size of [1, 3, 5]) {
    it(`keeps its safety properties on ${size} servers under loss, reordering, duplication, partitions and crashes`, () => {
      const coverage = explore(size, ROUGH, 100, 6000);
      assert.ok(
        coverage.elections > 30 && coverage.commits > 300 && coverage.crashes > 30,
        JSON.stringify(coverage),
      );
      assert.ok(coverage.reads > 0, JSON.stringify(coverage));
      if (size > 1) assert.ok(coverage.installs > 0, JSON.stringify(coverage));
    });
  }

  it("keeps its safety properties while servers are added, demoted and removed one at a time", () => {
    const coverage = explore(3, { ...ROUGH, membership: 0.01 }, 150, 6000);
    assert.ok(coverage.changes > 30 && coverage.installs > 0, JSON.stringify(coverage));
  });

  it("keeps one leader for long when the network is calm", () => {
    const coverage = explore(5, CALM, 10, 6000);
    assert.ok(coverage.elections <= 40, JSON.stringify(coverage));
  });
});
