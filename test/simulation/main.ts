import { parseArgs } from "node:util";
import { PLANTS, type Plant } from "./plants.js";
import { runSeeds } from "./seeds.js";

/**
 * `npm run sim -- --seeds N [--seed S] [--steps N] [--plant BUG]`: runs seeds S, S + 1, … and ends at the first that fails,
 * with its number and the command that replays it. One line of JSON on standard output, progress on standard error.
 */
const USAGE = `usage: npm run sim -- [--seeds N] [--seed FIRST] [--steps N] [--plant BUG]\n\nbugs to plant:\n${Object.entries(
  PLANTS,
)
  .map(([name, what]) => `  ${name.padEnd(26)}${what}`)
  .join("\n")}\n`;

function whole(name: string, text: string, least: number): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < least)
    throw new Error(`--${name} takes a whole number from ${least} on, and "${text}" is none`);
  return number;
}

try {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "100" },
      seed: { type: "string", default: "1" },
      steps: { type: "string", default: "10000" },
      plant: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) process.stdout.write(USAGE);
  else {
    if (values.plant !== undefined && !(values.plant in PLANTS))
      throw new Error(`there is no bug "${values.plant}" to plant`);
    const steps = whole("steps", values.steps, 1);
    const plant = (values.plant as Plant | undefined) ?? null;
    const summary = runSeeds({
      first: whole("seed", values.seed, 0),
      count: whole("seeds", values.seeds, 1),
      steps,
      plant,
      progress: (line) => process.stderr.write(`\r${line}`),
    });
    process.stderr.write("\n");
    const { failure, ...rest } = summary;
    if (failure !== null) {
      const planted = plant === null ? "" : ` --plant ${plant}`;
      process.stderr.write(
        `seed ${failure.seed} failed: ${failure.error.stack}\nreplay: npm run sim -- --seed ${failure.seed} --seeds 1 --steps ${steps}${planted}\n`,
      );
      process.exitCode = 1;
    }
    const failed = failure === null ? null : { seed: failure.seed, property: failure.property };
    process.stdout.write(`${JSON.stringify({ simulation: "raft", ...rest, failed })}\n`);
  }
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
  process.exitCode = 2;
}
