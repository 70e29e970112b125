import assert from "node:assert/strict";
import { test } from "node:test";
import { normalizeArgv } from "../../../core/cli/argv.js";

const normal = (...argv: string[]) =>
  normalizeArgv(argv, (flag) => ["dev", "detach", "verbose", "diff", "no-diff"].includes(flag));

test("long flags with one dash get their second, with a value after a blank or an equals sign", () => {
  assert.deepEqual(normal("agent", "-config", "a.hcl", "-config=b.hcl", "--config", "c.hcl", "-dev"), [
    "agent",
    "--config",
    "a.hcl",
    "--config=b.hcl",
    "--config",
    "c.hcl",
    "--dev",
  ]);
  assert.deepEqual(normal("-check-index=7", "-var=a=b=c"), ["--check-index=7", "--var=a=b=c"]);
});

test("flags of Go take true and false after an equals sign", () => {
  assert.deepEqual(normal("-detach=true", "-verbose=false", "-dev=1"), ["--detach", "--dev"]);
  assert.deepEqual(normal("-meta=true"), ["--meta=true"], "a flag with a value keeps it");
});

test("single letters, numbers, a lone dash and what follows -- stay", () => {
  const argv = ["logs", "-f", "-n", "-5", "-", "-1.5", "x=-y", "--", "-la", "-config"];
  assert.deepEqual(normal(...argv), argv);
});

test("what is on unless it is turned off is turned off as in Go", () => {
  assert.deepEqual(normal("-diff=false"), ["--no-diff"]);
  assert.deepEqual(normal("-diff=true"), ["--diff"]);
});
