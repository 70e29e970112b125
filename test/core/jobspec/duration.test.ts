import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDuration, parseDuration } from "../../../core/jobspec/index.js";

test("durations are read as Go reads them", () => {
  const cases: Record<string, number | undefined> = {
    "30s": 30e9,
    "1h5m": 3900e9,
    "1.5h": 5400e9,
    "250ms": 250e6,
    "10us": 10e3,
    "10µs": 10e3,
    "-1m": -60e9,
    "+2s": 2e9,
    ".5s": 0.5e9,
    "0": 0,
    "": undefined,
    "30": undefined,
    s: undefined,
    "1x": undefined,
    "1 s": undefined,
    "9999999999h": undefined,
  };
  for (const [text, expected] of Object.entries(cases)) assert.equal(parseDuration(text), expected, text);
});

test("durations are printed as Go prints them", () => {
  const cases: [number, string][] = [
    [0, "0s"],
    [1, "1ns"],
    [1500, "1.5µs"],
    [250e6, "250ms"],
    [30e9, "30s"],
    [1.1e9, "1.1s"],
    [60e9, "1m0s"],
    [3900e9, "1h5m0s"],
    [-90e9, "-1m30s"],
  ];
  for (const [nanoseconds, text] of cases) assert.equal(formatDuration(nanoseconds), text);
});

test("what was printed is read back, for every duration up to 100 days", () => {
  const nanoseconds = fc.integer({ min: -100 * 86400e9, max: 100 * 86400e9 });
  fc.assert(fc.property(nanoseconds, (n) => assert.equal(parseDuration(formatDuration(n)), n)));
});
