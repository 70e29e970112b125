import assert from "node:assert/strict";
import { test } from "node:test";
import { quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import { Heartbeats } from "../../../core/server/nodes/heartbeats.js";

const OPTIONS = { minTTL: 10_000, grace: 10_000, maxPerSecond: 50, failoverTTL: 300_000 };

function heartbeats(missed: string[]): Heartbeats {
  return new Heartbeats(OPTIONS, (node) => missed.push(node), quietLogger, quietMetrics);
}

test("a node that is not heard within TTL and grace is reported once", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const missed: string[] = [];
  const timers = heartbeats(missed);
  timers.enable([]);
  const ttl = timers.reset("a");
  assert.ok(ttl >= OPTIONS.minTTL && ttl <= 2 * OPTIONS.minTTL, `ttl ${ttl}`);
  t.mock.timers.tick(ttl + OPTIONS.grace - 1);
  assert.deepEqual(missed, []);
  t.mock.timers.tick(1);
  assert.deepEqual(missed, ["a"]);
  t.mock.timers.tick(1_000_000);
  assert.deepEqual(missed, ["a"]);
});

test("a heartbeat in time starts the TTL anew", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const missed: string[] = [];
  const timers = heartbeats(missed);
  timers.enable([]);
  for (let i = 0; i < 10; i++) t.mock.timers.tick(timers.reset("a"));
  assert.deepEqual(missed, []);
});

test("after a change of leader nodes get the failover TTL", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const missed: string[] = [];
  const timers = heartbeats(missed);
  timers.enable(["a", "b"]);
  t.mock.timers.tick(OPTIONS.failoverTTL - 1);
  timers.reset("a");
  t.mock.timers.tick(1);
  assert.deepEqual(missed, ["b"]);
});

test("after a change of leader no node gets less than the longest TTL of before, and grace", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const missed: string[] = [];
  const timers = heartbeats(missed);
  const nodes = Array.from({ length: 20_000 }, (_, i) => `node-${i}`);
  timers.enable(nodes);
  const longest = 2 * (nodes.length / OPTIONS.maxPerSecond) * 1000 + OPTIONS.grace;
  assert.ok(longest > OPTIONS.failoverTTL);
  t.mock.timers.tick(longest - 1);
  assert.deepEqual(missed, []);
  t.mock.timers.tick(1);
  assert.equal(missed.length, nodes.length);
});

test("with many nodes the TTL grows, so that no more than the allowed number arrive a second", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const timers = heartbeats([]);
  timers.enable(Array.from({ length: 5_000 }, (_, i) => `node-${i}`));
  assert.ok(timers.reset("node-1") >= (5_000 / OPTIONS.maxPerSecond) * 1000);
});

test("without leadership nobody is reported", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const missed: string[] = [];
  const timers = heartbeats(missed);
  timers.enable(["a"]);
  timers.disable();
  timers.reset("a");
  t.mock.timers.tick(10_000_000);
  assert.deepEqual(missed, []);
  assert.equal(timers.active, 0);
});
