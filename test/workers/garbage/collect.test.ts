import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Allocation, Evaluation, GarbageBatch, GarbageCutoffs, Job } from "@drover/plugin-sdk";
import { allocIsTerminal, clientTerminal, evalTerminal } from "@drover/plugin-sdk";
import fc from "fast-check";
import { CommandType } from "../../../core/state/index.js";
import { collectGarbage } from "../../../workers/garbage/collect.js";
import {
  type Machine,
  makeAllocation,
  makeDeployment,
  makeEvaluation,
  makeJob,
  makeNode,
  nodeRegistration,
  openMachine,
  plan,
  registration,
  TIME,
} from "../../core/state/support.js";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

const ALL = Number.MAX_SAFE_INTEGER;
const everything: GarbageCutoffs = { evaluations: ALL, jobs: ALL, nodes: ALL, deployments: ALL };

/** Lets the collector work as `kind` says, and gives the batches that it had deleted. */
async function collect(kind: string, cutoffs: Partial<GarbageCutoffs> = {}): Promise<GarbageBatch[]> {
  const batches: GarbageBatch[] = [];
  await collectGarbage({
    evaluation: makeEvaluation({ Type: "_core", JobID: `${kind}:1` }),
    cutoffs: { ...everything, ...cutoffs },
    now: TIME / 1e6,
    snapshot: () => machine.store.view(),
    send: async (batch) => {
      batches.push(batch);
      if (batch.table === "evaluations")
        machine.run(CommandType.EvaluationDelete, {
          EvalIDs: [...batch.evaluations],
          AllocIDs: [...batch.allocations],
        });
      else if (batch.table === "jobs") machine.run(CommandType.JobBatchDeregister, { Jobs: [...batch.jobs] });
      else if (batch.table === "deployments")
        machine.run(CommandType.DeploymentDelete, { IDs: [...batch.deployments] });
      else if (batch.table === "nodes") machine.run(CommandType.NodeCollect, { Nodes: [...batch.nodes] });
      else machine.run(CommandType.JoinTokenDelete, { Hashes: [...batch.hashes] });
    },
  });
  return batches;
}

function left(): {
  evaluations: string[];
  allocations: string[];
  jobs: string[];
  nodes: string[];
  deployments: string[];
} {
  using state = machine.store.snapshot();
  const ids = (rows: Iterable<{ readonly ID: string }>): string[] => [...rows].map(({ ID }) => ID).sort();
  return {
    evaluations: ids(state.evaluations()),
    allocations: ids(state.allocations()),
    jobs: ids(state.jobs()),
    nodes: ids(state.nodes()),
    deployments: ids(state.deployments()),
  };
}

/** A job with an evaluation that ended, and allocations of it. */
function jobWith(
  job: Partial<Job>,
  allocations: readonly Partial<Allocation>[],
  evaluation: Partial<Evaluation> = {},
): { evaluation: Evaluation; allocations: Allocation[] } {
  const made = makeJob({ ID: randomUUID(), ...job });
  const ended = makeEvaluation({ JobID: made.ID, Type: made.Type, Status: "complete", ...evaluation });
  machine.apply(registration(made, ended));
  using state = machine.store.snapshot();
  const JobCreateIndex = state.job("default", made.ID)!.CreateIndex;
  const rows = allocations.map((changes) =>
    makeAllocation({ JobID: made.ID, JobCreateIndex, EvalID: ended.ID, ...changes }),
  );
  machine.apply(plan({ Placed: rows }));
  return { evaluation: ended, allocations: rows };
}

const stopJob = (JobID: string): unknown =>
  machine.run(CommandType.JobDeregister, {
    Namespace: "default",
    JobID,
    Purge: false,
    Evaluation: null,
    Time: TIME,
  });

const complete = { ClientStatus: "complete", DesiredStatus: "run" } as const;
const stopped = { ClientStatus: "complete", DesiredStatus: "stop" } as const;
const running = { ClientStatus: "running", DesiredStatus: "run" } as const;

describe("collecting evaluations", () => {
  it("takes those that ended with all their allocations, and of others the allocations that ended", async () => {
    const over = jobWith({}, [stopped, complete]);
    const half = jobWith({}, [stopped, running]);
    const open = jobWith({}, [], { Status: "blocked" });
    const onItsNode = jobWith({}, [{ ClientStatus: "running", DesiredStatus: "stop" }]);
    await collect("eval-gc");
    const { evaluations, allocations } = left();
    assert.ok(!evaluations.includes(over.evaluation.ID));
    for (const each of [half, open, onItsNode]) assert.ok(evaluations.includes(each.evaluation.ID));
    assert.deepEqual(allocations, [half.allocations[1]!.ID, onItsNode.allocations[0]!.ID].sort());
  });

  it("leaves what was written after the cutoff", async () => {
    const old = jobWith({}, [stopped]);
    const cutoff = machine.store.index();
    const young = jobWith({}, [stopped]);
    await collect("eval-gc", { evaluations: cutoff });
    assert.deepEqual(left().evaluations, [young.evaluation.ID]);
    assert.deepEqual(left().allocations, [young.allocations[0]!.ID]);
    assert.notEqual(old.evaluation.ID, young.evaluation.ID);
  });

  it("keeps the record of what a batch job did while there is the job, except of older versions", async () => {
    for (const Type of ["batch", "sysbatch", "night"]) {
      const { evaluation, allocations } = jobWith({ Type }, [complete]);
      await collect("eval-gc");
      assert.ok(left().evaluations.includes(evaluation.ID), Type);
      const job = makeJob({ ID: evaluation.JobID, Type, Priority: 70 });
      machine.apply(registration(job));
      await collect("eval-gc");
      assert.ok(!left().allocations.includes(allocations[0]!.ID), Type);
      assert.ok(!left().evaluations.includes(evaluation.ID), Type);
    }
  });

  it("keeps failed allocations that may be rescheduled yet", async () => {
    const failed = { ClientStatus: "failed", DesiredStatus: "run" } as const;
    const group = (policy: object | null) => ({
      TaskGroups: [{ ...makeJob().TaskGroups[0]!, ReschedulePolicy: policy as never }],
    });
    const limited = {
      Attempts: 2,
      Interval: 3600e9,
      Delay: 5e9,
      DelayFunction: "constant",
      MaxDelay: 0,
      Unlimited: false,
    };
    const unlimited = { ...limited, Attempts: 0, Interval: 0, Unlimited: true };
    const none = { ...limited, Attempts: 0, Interval: 0 };
    const tracker = (age: number) => ({
      RescheduleTracker: {
        Events: [{ Delay: 5e9, PrevAllocID: "", PrevNodeID: "", RescheduleTime: TIME - age }],
      },
    });
    const kept = [
      jobWith(group(unlimited), [failed, running]),
      jobWith(group(limited), [failed, running]),
      jobWith(group(limited), [{ ...failed, ...tracker(60e9) }, running]),
    ];
    const gone = [
      jobWith(group(none), [failed, running]),
      jobWith(group(unlimited), [{ ...failed, NextAllocation: randomUUID() }, running]),
      jobWith(group(unlimited), [{ ...failed, DesiredStatus: "stop" }, running]),
      jobWith(group(limited), [{ ...failed, ...tracker(2 * 3600e9) }, running]),
    ];
    await collect("eval-gc");
    const failures = (rows: typeof kept) => rows.map((row) => row.allocations[0]!.ID);
    const rest = left().allocations;
    for (const id of failures(kept)) assert.ok(rest.includes(id));
    for (const id of failures(gone)) assert.ok(!rest.includes(id));
  });
});

describe("collecting jobs", () => {
  it("takes batch jobs that are dead and stopped ones of every type, with all that is left of them", async () => {
    const done = jobWith({ ID: "done", Type: "batch" }, [complete]);
    jobWith({ ID: "stopped", Type: "service" }, [stopped]);
    jobWith({ ID: "idle", Type: "service" }, [complete]);
    jobWith({ ID: "busy", Type: "batch" }, [running]);
    jobWith({ ID: "leaving", Type: "service" }, [{ ClientStatus: "running", DesiredStatus: "stop" }]);
    for (const id of ["stopped", "leaving"]) stopJob(id);
    await collect("job-gc");
    const { jobs, evaluations } = left();
    assert.deepEqual(jobs, ["busy", "idle", "leaving"]);
    assert.ok(!evaluations.includes(done.evaluation.ID));
    using state = machine.store.snapshot();
    assert.deepEqual(state.allocationsByJob("default", "done"), []);
  });

  it("leaves periodic and parameterized jobs until they are stopped", async () => {
    const Periodic = {
      Enabled: true,
      ProhibitOverlap: false,
      Spec: "@daily",
      SpecType: "cron",
      TimeZone: "UTC",
    } as Job["Periodic"];
    const ParameterizedJob = { MetaOptional: null, MetaRequired: null, Payload: "" } as never;
    jobWith({ ID: "daily", Type: "batch", Periodic }, []);
    jobWith({ ID: "render", Type: "sysbatch", ParameterizedJob }, []);
    await collect("job-gc");
    assert.deepEqual(left().jobs, ["daily", "render"]);
    for (const id of ["daily", "render"]) stopJob(id);
    await collect("job-gc");
    assert.deepEqual(left().jobs, []);
  });

  it("leaves a job whose end is younger than the cutoff, with everything of it", async () => {
    jobWith({ ID: "a", Type: "batch" }, [complete]);
    const cutoff = machine.store.index() - 1;
    await collect("job-gc", { jobs: cutoff });
    assert.deepEqual(left().jobs, ["a"]);
    assert.equal(left().allocations.length, 1);
  });
});

describe("collecting deployments, nodes and join tokens", () => {
  it("takes deployments that ended and are named by no allocation", async () => {
    const [over, named, active] = [
      makeDeployment({ Status: "successful" }),
      makeDeployment({ Status: "failed" }),
      makeDeployment({ Status: "running" }),
    ];
    for (const Deployment of [over, named, active]) machine.apply(plan({ Deployment }));
    jobWith({}, [{ ...running, DeploymentID: named.ID }]);
    await collect("deployment-gc");
    assert.deepEqual(left().deployments, [named.ID, active.ID].sort());
    assert.ok(!left().deployments.includes(over.ID));
  });

  it("takes nodes that are down with nothing live on them", async () => {
    const [up, idle, ended, busy] = [makeNode(), makeNode(), makeNode(), makeNode()];
    machine.apply(nodeRegistration(up));
    for (const node of [idle, ended, busy]) machine.apply(nodeRegistration({ ...node, Status: "down" }));
    jobWith({}, [{ ...stopped, NodeID: ended.ID }]);
    jobWith({}, [{ ...running, NodeID: busy.ID }]);
    await collect("node-gc");
    assert.deepEqual(left().nodes, [up.ID, busy.ID].sort());
  });

  it("takes join tokens that expired, and used ones after the time of nodes", async () => {
    const token = (name: string) => Buffer.from(name.padEnd(32)).toString("hex");
    const issue = (name: string, Expires: number) =>
      machine.run(CommandType.JoinTokenIssue, { Hash: token(name), Expires, Time: TIME - 1e12 });
    const use = (name: string) =>
      machine.run(CommandType.NodeEnroll, {
        NodeID: randomUUID(),
        PublicKey: Buffer.alloc(32, 1).toString("base64"),
        TokenHash: token(name),
        Time: TIME - 1e12,
      });
    issue("expired", TIME - 1);
    issue("fresh", TIME + 1e12);
    issue("used", TIME + 1e12);
    use("used");
    const cutoff = machine.store.index();
    issue("just used", TIME + 1e12);
    use("just used");
    await collect("node-gc", { nodes: cutoff });
    const known = ["expired", "fresh", "used", "just used"].filter(
      (name) => machine.store.joinToken(token(name)) !== undefined,
    );
    assert.deepEqual(known, ["fresh", "just used"]);
  });
});

describe("batches", () => {
  it("are bounded, and together they are everything", async () => {
    for (let i = 0; i < 30; i++)
      jobWith(
        {},
        Array.from({ length: 20 }, () => stopped),
      );
    const batches = await collect("eval-gc");
    assert.ok(batches.length >= 3);
    for (const batch of batches) {
      assert.ok(batch.table === "evaluations" && batch.evaluations.length + batch.allocations.length <= 150);
    }
    assert.deepEqual([left().evaluations, left().allocations], [[], []]);
  });

  it("an unknown job of _core is an error that names it", async () => {
    await assert.rejects(collect("dust-gc"), /knows no job "dust-gc:1"/);
  });
});

describe("a forced collection", () => {
  const allocation = fc.record({
    ClientStatus: fc.constantFrom("pending", "running", "complete", "failed", "lost"),
    DesiredStatus: fc.constantFrom("run", "stop", "evict"),
  });
  const job = fc.record({
    type: fc.constantFrom("service", "batch", "system", "sysbatch"),
    stopped: fc.boolean(),
    evaluation: fc.constantFrom("pending", "complete", "failed", "blocked"),
    allocations: fc.array(allocation, { maxLength: 4 }),
  });

  it("takes nothing that is live, leaves no row that names a collected job, and finds nothing a second time", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(job, { maxLength: 6 }), async (jobs) => {
        const own = openMachine();
        const outer = machine;
        machine = own;
        try {
          const made = jobs.map(({ type, evaluation, allocations, stopped: stop }) => {
            const one = jobWith({ Type: type }, allocations as Partial<Allocation>[], {
              Status: evaluation as Evaluation["Status"],
            });
            if (stop) stopJob(one.evaluation.JobID);
            return one;
          });
          await collect("force-gc");
          const rest = left();
          for (const { evaluation, allocations } of made) {
            const live = allocations.filter((one) => !allocIsTerminal(one) || !clientTerminal(one));
            for (const one of live) assert.ok(rest.allocations.includes(one.ID));
            if (!evalTerminal(evaluation)) assert.ok(rest.evaluations.includes(evaluation.ID));
            if (live.length > 0 || !evalTerminal(evaluation)) assert.ok(rest.jobs.includes(evaluation.JobID));
            if (rest.jobs.includes(evaluation.JobID)) continue;
            assert.ok(!rest.evaluations.includes(evaluation.ID));
            for (const one of allocations) assert.ok(!rest.allocations.includes(one.ID));
          }
          assert.deepEqual(await collect("force-gc"), []);
        } finally {
          machine = outer;
          await own.close();
        }
      }),
      { numRuns: 40 },
    );
  });
});
