/**
 * Runs the compiled tests:
 *
 *   npm test                  everything but *.long.test.ts
 *   npm test -- --long        everything
 *   npm test -- kernel        files whose path contains "kernel"; where none does, tests whose name matches
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const COMPILED = join(ROOT, "dist", "test");
/** Files at a time; each is a process, and several of them start agents. */
const CONCURRENCY = 2;
/** Milliseconds a test may take. */
const TIMEOUT = 120_000;
const LONG_TIMEOUT = 1_800_000;

const args = process.argv.slice(2);
const long = args.includes("--long");
const patterns = args.filter((argument) => argument !== "--long");
const unknown = patterns.find((pattern) => pattern.startsWith("-"));
if (unknown !== undefined) {
  console.error(`unknown option ${unknown}; usage: npm test -- [--long] [PATTERN...]`);
  process.exit(2);
}

const files = testFiles().filter((file) => long || !file.endsWith(".long.test.js"));
const named = files.filter((file) => patterns.some((pattern) => source(file).includes(pattern)));
const chosen = patterns.length > 0 && named.length > 0 ? named : files;
if (chosen.length === 0) {
  console.error("there are no compiled tests: run npm run build first");
  process.exit(1);
}

const byName = patterns.length > 0 && named.length === 0 ? patterns : [];
const child = spawn(
  process.execPath,
  [
    "--test",
    `--test-concurrency=${CONCURRENCY}`,
    `--test-timeout=${long ? LONG_TIMEOUT : TIMEOUT}`,
    "--test-reporter=spec",
    ...byName.map((pattern) => `--test-name-pattern=${pattern}`),
    ...chosen,
  ],
  { cwd: ROOT, stdio: "inherit" },
);
// The tests' process group gets a Ctrl-C of its own; this one must stay to tell how it ended.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => {
  console.error(`the test runner can't be started: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  if (signal !== null) console.error(`the test runner was ended by ${signal}`);
  process.exit(code ?? 1);
});

/** Compiled test files that still have a source. */
function testFiles() {
  if (!existsSync(COMPILED)) return [];
  return readdirSync(COMPILED, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.js"))
    .map((name) => join(COMPILED, name))
    .filter((file) => existsSync(join(ROOT, source(file))))
    .sort();
}

/** `test/core/kernel/order.test.ts` of `dist/test/core/kernel/order.test.js`. */
function source(file) {
  return relative(join(ROOT, "dist"), file).split(sep).join("/").replace(/\.js$/, ".ts");
}
