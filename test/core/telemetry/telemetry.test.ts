import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Logger } from "@drover/plugin-sdk";
import { openLog } from "../../../core/telemetry/index.js";
import { AgentMetrics } from "../../../core/telemetry/metrics.js";
import { PrometheusMetrics } from "../../../core/telemetry/prometheus.js";
import { MAX_SERIES } from "../../../core/telemetry/series.js";
import { silent } from "../kernel/fixtures.js";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drover-telemetry-"));
});
after(() => rm(folder, { recursive: true, force: true }));

/** What a log file holds after `use`. */
async function logged(name: string, json: boolean, use: (log: Logger) => void): Promise<string> {
  const file = join(folder, name);
  const log = openLog({ level: "INFO", json, stdout: false, file });
  use(log.logger);
  log.close();
  return readFile(file, "utf8");
}

test("a line for people looks like Nomad's, below the level nothing is written, the file is private", async () => {
  const text = await logged("human.log", false, (log) => {
    const raft = log.child({ module: "nomad" }).child({ module: "raft" });
    raft.info({ term: 2, peer: "a b" }, "entering leader state");
    raft.debug({}, "not this");
    log.warn({}, "two\nlines");
  });
  const lines = text.split("\n");
  assert.match(
    lines[0]!,
    /^\d{4}-\d\d-\d\dT[\d:]+\.\d{3}Z \[INFO\] {2}nomad\.raft: entering leader state: term=2 peer="a b"$/,
  );
  assert.match(lines[1]!, /Z \[WARN\] {2}two ⏎ lines$/);
  assert.equal(lines.length, 3);
  assert.equal((await stat(join(folder, "human.log"))).mode & 0o777, 0o600);
});

test("log_json writes objects with the keys of Nomad's log", async () => {
  const text = await logged("json.log", true, (log) =>
    log.child({ module: "a" }).child({ module: "b" }).error({ n: 1 }, "m"),
  );
  const { "@timestamp": time, ...rest } = JSON.parse(text) as Record<string, unknown>;
  assert.match(String(time), /^\d{4}-/);
  assert.deepEqual(rest, { "@level": "error", "@module": "a.b", n: 1, "@message": "m" });
});

test("values of fields named like secrets are not written, at any depth, in lines and in children", async () => {
  const text = await logged("secret.log", false, (log) => {
    log
      .child({ joinToken: "s3cret" })
      .info({ SecretID: "s3cret", nested: { db: { password: "s3cret" } }, kept: "yes" }, "m");
    log.info({ error: new Error("outer", { cause: new Error("inner") }) }, "m");
  });
  assert.doesNotMatch(text, /s3cret/);
  assert.match(text, /kept=yes/);
  assert.match(text, /error="outer: inner"/);
});

test("the level of a running log can be changed, for children too", async () => {
  const file = join(folder, "level.log");
  const log = openLog({ level: "ERROR", json: false, stdout: false, file });
  const child = log.logger.child({ module: "c" });
  child.info({}, "hidden");
  log.setLevel("INFO");
  child.info({}, "shown");
  log.close();
  assert.match(await readFile(file, "utf8"), /^[^\n]*shown\n$/);
});

test("counters and samples of the last whole interval are summed up as Nomad does", () => {
  let now = Date.UTC(2026, 10, 23, 14, 49, 20);
  const metrics = new AgentMetrics({
    log: silent,
    labels: { host: "h" },
    prometheus: undefined,
    now: () => now,
  });
  for (const value of [2, 4, 4, 6]) metrics.sample("nomad.plan.apply", value);
  metrics.increment("nomad.rpc", 3, { kind: "read" });
  metrics.gauge("nomad.broker.total_ready", 7);
  now += 10_000;
  metrics.increment("nomad.rpc", 100);
  metrics.onCollect(() => metrics.gauge("nomad.read", 1));
  const summary = metrics.toJSON();
  assert.deepEqual(summary, {
    Counters: [
      {
        Count: 1,
        Labels: { kind: "read", host: "h" },
        Max: 3,
        Mean: 3,
        Min: 3,
        Name: "nomad.rpc",
        Rate: 0.3,
        Stddev: 0,
        Sum: 3,
      },
    ],
    Gauges: [
      { Labels: { host: "h" }, Name: "nomad.broker.total_ready", Value: 7 },
      { Labels: { host: "h" }, Name: "nomad.read", Value: 1 },
    ],
    Points: [],
    Samples: [
      {
        Count: 4,
        Labels: { host: "h" },
        Max: 6,
        Mean: 4,
        Min: 2,
        Name: "nomad.plan.apply",
        Rate: 1.6,
        Stddev: Math.sqrt(8 / 3),
        Sum: 16,
      },
    ],
    Timestamp: "2026-11-23 14:49:20 +0000 UTC",
  });
  now += 60_000;
  assert.deepEqual(metrics.toJSON().Counters, [], "an old interval is not the last one");
});

test("label values are bounded a name; the rest is counted together and said once", () => {
  const warnings: object[] = [];
  const log = { ...silent, warn: (fields: object) => void warnings.push(fields) };
  const metrics = new AgentMetrics({ log, labels: {}, prometheus: undefined });
  for (let i = 0; i < MAX_SERIES + 50; i++) metrics.gauge("g", i, { id: String(i) });
  const { Gauges } = metrics.toJSON();
  assert.equal(Gauges.length, MAX_SERIES + 1);
  assert.deepEqual(Gauges.at(-1)?.Labels, { overflow: "true" });
  assert.deepEqual(warnings, [{ metric: "g" }]);
});

test("the same metrics come in Prometheus' text", async () => {
  const metrics = new AgentMetrics({
    log: silent,
    labels: { host: "h" },
    prometheus: new PrometheusMetrics(),
  });
  metrics.increment("nomad.raft.apply", 2);
  metrics.increment("nomad.raft.apply", 1, { type: "job" });
  metrics.gauge("nomad.client.uptime-s", 5);
  metrics.sample("nomad.plan.apply", 12);
  const text = await metrics.toPrometheus();
  assert.match(text, /# TYPE nomad_raft_apply counter/);
  assert.match(text, /nomad_raft_apply\{.*type="job".*\} 1/);
  assert.match(text, /nomad_client_uptime_s\{host="h"\} 5/);
  assert.match(text, /nomad_plan_apply_sum\{host="h"\} 12/);
  assert.match(text, /nomad_plan_apply\{quantile="0\.5",host="h"\} 12/);
});
