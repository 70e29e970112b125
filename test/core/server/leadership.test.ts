import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { JobRegistration, Logger, Proposed } from "@drover/plugin-sdk";
import { eventually, quietLogger } from "@drover/plugin-sdk/testing";
import { BenchServer, paperJob, paperNode } from "./bench-server.js";
import { SingleConsensus } from "./single-consensus.js";

/** Barriers and proposals wait for the test where it says so. */
class GatedConsensus extends SingleConsensus {
  readonly barriers: { resolve(): void; reject(error: Error): void }[] = [];
  holdsBarriers = false;
  readonly proposals: { commit(): void; lose(): void }[] = [];
  holdsProposals = false;

  override async barrier(): Promise<number> {
    if (this.holdsBarriers) {
      await new Promise<void>((resolve, reject) => this.barriers.push({ resolve, reject }));
    }
    return super.barrier();
  }

  override propose(data: Uint8Array): Promise<Proposed> {
    if (!this.holdsProposals) return super.propose(data);
    return new Promise((resolve, reject) => {
      this.proposals.push({
        commit: () => void super.propose(data).then(resolve, reject),
        lose: () =>
          reject(Object.assign(new Error("leadership was lost on the way"), { code: "ERR_OUTCOME_UNKNOWN" })),
      });
    });
  }
}

class Bench {
  readonly consensus = new GatedConsensus();
  readonly lines: string[] = [];
  readonly bench: BenchServer<GatedConsensus>;

  constructor(t: TestContext) {
    const log: Logger = {
      ...quietLogger,
      info: (_fields, message) => void this.lines.push(message),
      error: (_fields, message) => void this.lines.push(message),
      child: () => log,
    };
    this.bench = new BenchServer<GatedConsensus>([], [], { consensus: this.consensus, log });
    t.after(() => this.bench.stop());
  }

  count(line: string): number {
    return this.lines.filter((each) => each === line).length;
  }

  get enabled(): boolean {
    return this.bench.server.endpoints.status.stats().broker?.enabled === "true";
  }
}

const ACQUIRED = "cluster leadership acquired";

const registration = (job: object): JobRegistration => ({
  job,
  namespace: "default",
  region: "global",
  enforceIndex: false,
  jobModifyIndex: 0,
  preserveCounts: false,
});

test("what an ended term still waited for does not switch anything on", async (t) => {
  const it = new Bench(t);
  await it.bench.start();
  it.consensus.lead(false);
  assert.equal(it.enabled, false);
  it.consensus.holdsBarriers = true;
  it.consensus.lead(true);
  await eventually("the new term waits", () => it.consensus.barriers.length === 1);
  it.consensus.lead(false);
  it.consensus.barriers[0]!.resolve();
  // A turn of everything that the barrier could have set off.
  it.consensus.holdsBarriers = false;
  await it.consensus.barrier();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(it.enabled, false);
  assert.equal(it.count(ACQUIRED), 1);
});

test("terms that follow each other quickly are established once, the last", async (t) => {
  const it = new Bench(t);
  await it.bench.start();
  it.consensus.holdsBarriers = true;
  for (let i = 0; i < 5; i++) {
    it.consensus.lead(false);
    it.consensus.lead(true);
  }
  // And without a word of the end of the one before.
  it.consensus.lead(true);
  await eventually("all wait", () => it.consensus.barriers.length === 6);
  for (const { resolve } of it.consensus.barriers.toReversed()) resolve();
  await eventually("established", () => it.enabled);
  it.consensus.holdsBarriers = false;
  await it.consensus.barrier();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(it.count(ACQUIRED), 2);
  assert.equal(it.count("cluster leadership lost"), 1, "only the first one was established");
});

test("a leadership that can't be established is tried again for as long as the term lasts", async (t) => {
  const it = new Bench(t);
  await it.bench.start();
  it.consensus.lead(false);
  it.consensus.holdsBarriers = true;
  it.consensus.lead(true);
  await eventually("it waits", () => it.consensus.barriers.length === 1);
  it.consensus.barriers[0]!.reject(new Error("the log is busy"));
  await eventually("it is told", () => it.count("leadership could not be established; tried again") === 1);
  await eventually("it tries again", () => it.consensus.barriers.length === 2);
  it.consensus.barriers[1]!.resolve();
  await eventually("established", () => it.enabled);
});

test("when leadership ends everything of it stops, and comes back from the state with the next term", async (t) => {
  const it = new Bench(t);
  await it.bench.start();
  const { bench } = it;
  const { jobs, status } = bench.server.endpoints;
  const node = paperNode();
  await bench.register(node);
  // More than the node holds, so that something waits.
  await jobs.register(registration(paperJob("web", 2, 3_000)));
  await eventually("one is placed, one waits", () => status.stats().blocked_evals?.blocked === "1");
  it.consensus.lead(false);
  const { broker, blocked_evals } = status.stats();
  assert.deepEqual(
    [broker?.enabled, broker?.ready, broker?.unacked, broker?.pending, blocked_evals?.blocked],
    ["false", "0", "0", "0", "0"],
  );
  it.consensus.lead(true);
  await eventually("what waited waits again", () => status.stats().blocked_evals?.blocked === "1");
  await bench.register(paperNode());
  await eventually("and is placed", () => bench.live("web").length === 2);
});

test("a plan that is under way when leadership ends is answered, and its evaluation done by the next term", async (t) => {
  const it = new Bench(t);
  await it.bench.start();
  const { bench, consensus } = it;
  await bench.register(paperNode());
  await bench.server.endpoints.jobs.register(registration(paperJob("first", 1)));
  await eventually("the threads are up", () => bench.live("first").length === 1);
  const register = bench.server.endpoints.jobs.register(registration(paperJob("web", 2)));
  await register;
  consensus.holdsProposals = true;
  await eventually("a plan, or the evaluation's end, is proposed", () => consensus.proposals.length > 0);
  consensus.lead(false);
  for (const { lose } of consensus.proposals.splice(0)) lose();
  consensus.holdsProposals = false;
  consensus.lead(true);
  await eventually("all is placed once", () => bench.live("web").length === 2);
  const { EvalID } = await register;
  await eventually("the evaluation is complete", () => {
    using snapshot = bench.state.snapshot();
    return snapshot.evaluation(EvalID)?.Status === "complete";
  });
  assert.equal(bench.live("web").length, 2);
});

test("the cluster is named once, whoever leads", async (t) => {
  const it = new Bench(t);
  await it.bench.start();
  const name = () => it.bench.server.endpoints.status.stats().nomad?.cluster_id;
  const first = name();
  assert.match(first ?? "", /^[0-9a-f-]{36}$/);
  it.consensus.lead(false);
  it.consensus.lead(true);
  await eventually("established again", () => it.enabled);
  assert.equal(name(), first);
});
