import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { PLANTS, type Plant } from "./plants.js";
import type { ProfileName } from "./profile.js";
import { runSeeds, type Summary } from "./seeds.js";
import { simulate } from "./simulation.js";

const MAIN = fileURLToPath(new URL("./main.js", import.meta.url));

function explore(profile: ProfileName, first: number, count: number, steps: number): Summary {
  const summary = runSeeds({ first, count, steps, profile });
  assert.equal(
    summary.failure,
    null,
    `profile ${profile}, seed ${summary.failure?.seed}, ${steps} steps: ${summary.failure?.error.stack}`,
  );
  return summary;
}

/** Seeds within which each planted bug must be found, and the histories it is looked for in. */
const FOUND_WITHIN: Readonly<Record<Plant, { readonly seeds: number; readonly profile: ProfileName }>> = {
  "commit-older-term": { seeds: 100, profile: "storm" },
  "skip-fsync": { seeds: 5, profile: "swarm" },
  "ignore-pre-vote": { seeds: 5, profile: "swarm" },
  "stale-read": { seeds: 20, profile: "swarm" },
  "forget-vote": { seeds: 60, profile: "storm" },
  "promise-before-fsync": { seeds: 40, profile: "swarm" },
  "ignore-checksum": { seeds: 40, profile: "swarm" },
  "double-membership-change": { seeds: 60, profile: "swarm" },
  "restore-without-copy": { seeds: 20, profile: "swarm" },
};

describe("simulated Raft clusters", () => {
  it("keep every safety property, and what clients see linearizable, under all faults", () => {
    const { coverage, elections } = explore("swarm", 1, 60, 6000);
    const missed = Object.entries({ ...coverage, leftoverInstalls: 1 }).filter(([, count]) => count === 0);
    assert.deepEqual(missed, [], "every kind of fault happened");
    assert.ok(elections > 100 && coverage.applied > 10_000, JSON.stringify(coverage));
  });

  it("keep them while leaders fail as soon as they are elected or have committed", () => {
    const { elections } = explore("storm", 1, 10, 10_000);
    assert.ok(elections > 200, String(elections));
  });

  it("keep their first leader while nothing happens to them", () => {
    const { elections, seeds, coverage } = explore("calm", 1, 10, 10_000);
    assert.equal(elections, seeds);
    assert.ok(coverage.writes > 1000 && coverage.unknown === 0, JSON.stringify(coverage));
  });

  it("give the same history for the same seed, and another for another", () => {
    const run = (seed: number): string => simulate({ seed, steps: 3000 }).trace;
    assert.equal(run(7), run(7));
    assert.notEqual(run(7), run(8));
  });

  for (const plant of Object.keys(PLANTS) as Plant[]) {
    const { seeds: count, profile } = FOUND_WITHIN[plant];
    it(`find "${plant}" within ${count} seeds, and nothing in the same seeds without it`, () => {
      const planted = runSeeds({ first: 1, count, steps: 10_000, plant, profile });
      assert.notEqual(planted.failure, null);
      const { seed, error } = planted.failure!;
      assert.throws(() => simulate({ seed, steps: 10_000, plant, profile }), { message: error.message });
      explore(profile, Math.max(1, seed - 4), Math.min(seed, 5), 10_000);
    });
  }

  it("print a failing seed with the command that replays it, and tell unknown names from known ones", async () => {
    const run = promisify(execFile);
    const failing = run(process.execPath, [MAIN, "--seeds", "5", "--plant", "ignore-pre-vote"]);
    await assert.rejects(failing, (error: Error & { code: number; stdout: string; stderr: string }) => {
      assert.equal(error.code, 1);
      const { failed } = JSON.parse(error.stdout) as { failed: { seed: number; property: string } };
      assert.equal(failed.property, "no disruption");
      const replay = `npm run sim -- --seed ${failed.seed} --seeds 1 --steps 10000 --profile swarm --plant ignore-pre-vote`;
      assert.ok(error.stderr.includes(replay), error.stderr);
      return true;
    });
    const passing = await run(process.execPath, [MAIN, "--seeds", "2", "--steps", "500", "--seed", "3"]);
    assert.equal((JSON.parse(passing.stdout) as { failed: unknown }).failed, null);
    for (const wrong of [["--plant", "x"], ["--profile", "x"], ["--seeds", "0"], ["--wrong"]]) {
      await assert.rejects(run(process.execPath, [MAIN, ...wrong]), { code: 2 });
    }
  });
});
