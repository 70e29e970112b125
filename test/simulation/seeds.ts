import { type Coverage, noCoverage } from "./coverage.js";
import { Violation } from "./invariants.js";
import type { Plant } from "./plants.js";
import type { ProfileName } from "./profile.js";
import { simulate } from "./simulation.js";

export interface SeedsOptions {
  readonly first: number;
  readonly count: number;
  readonly steps: number;
  readonly plant?: Plant | null;
  readonly profile?: ProfileName;
  /** Told about every second how far it is. */
  readonly progress?: (line: string) => void;
}

export interface Failure {
  readonly seed: number;
  /** The broken property, or `error` when the core itself gave up. */
  readonly property: string;
  readonly error: Error;
}

export interface Summary {
  readonly first: number;
  /** Seeds that ran, with the failed one. */
  readonly seeds: number;
  readonly steps: number;
  readonly plant: Plant | null;
  readonly profile: ProfileName;
  readonly elections: number;
  readonly coverage: Coverage;
  readonly milliseconds: number;
  readonly stepsPerSecond: number;
  readonly failure: Failure | null;
}

/** Runs seeds one after the other, up to the first that fails. */
export function runSeeds(options: SeedsOptions): Summary {
  const { first, count, steps, plant = null, profile = "swarm", progress } = options;
  const started = performance.now();
  let told = started;
  const coverage = noCoverage();
  let elections = 0;
  let failure: Failure | null = null;
  let seeds = 0;
  while (seeds < count && failure === null) {
    const seed = first + seeds++;
    try {
      const result = simulate({ seed, steps, plant, profile });
      elections += result.elections;
      for (const key of Object.keys(coverage) as (keyof Coverage)[]) coverage[key] += result.coverage[key];
    } catch (thrown) {
      const error = thrown as Error;
      failure = { seed, property: error instanceof Violation ? error.property : "error", error };
    }
    if (performance.now() - told < 1000) continue;
    told = performance.now();
    progress?.(
      `seed ${seed}: ${seeds} of ${count}, ${elections} elections, ${coverage.applied} entries applied`,
    );
  }
  const milliseconds = performance.now() - started;
  progress?.(`${seeds} of ${count} seeds, ${elections} elections, ${coverage.applied} entries applied`);
  return {
    first,
    seeds,
    steps,
    plant,
    profile,
    elections,
    coverage,
    milliseconds: Math.round(milliseconds),
    stepsPerSecond: Math.round((seeds * steps * 1000) / milliseconds),
    failure,
  };
}
