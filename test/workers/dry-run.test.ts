/** Dry runs in the thread: the state a scheduler sees, and what is gathered of what it does. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import type {
  Allocation,
  DryRunOutcome,
  DryRunTask,
  Evaluation,
  Job,
  Scheduler,
  SchedulerContext,
  SchedulingWorkerData,
  StateSnapshot,
  Taken,
} from "@drover/plugin-sdk";
import { placeAllocation, preemptAllocation, stopAllocation } from "@drover/plugin-sdk/scheduling";
import { makeEvaluation, makeGroup, makeJob, makeNode, quietLogger } from "@drover/plugin-sdk/testing";
import { Piscina } from "piscina";
import { CommandType, registeredJob } from "../../core/state/index.js";
import { SharedNodeColumns } from "../../core/state/read/index.js";
import { runDry } from "../../workers/dry-run.js";
import { FeasibleRowsCache } from "../../workers/placement/index.js";
import { SubmittedJobSnapshot } from "../../workers/submitted-job.js";
import { UnderwayPlans } from "../../workers/underway.js";
import {
  type Machine,
  makeAllocation,
  openMachine,
  plan,
  registration,
  TIME,
} from "../core/state/support.js";

let machine: Machine;
beforeEach(() => {
  machine = openMachine();
});
afterEach(() => machine.close());

const job = (id: string, extra: Partial<Job> = {}): Job => makeJob({ ID: id, Name: id, ...extra });

/** The job and its evaluation, as the registration at the next index would write them. */
function submission(next: Job): { job: Job; evaluation: Evaluation } {
  using snapshot = machine.store.snapshot();
  const existing = snapshot.job(next.Namespace, next.ID);
  const stored = registeredJob(existing, next, snapshot.index + 1, TIME);
  return { job: stored, evaluation: makeEvaluation(stored, { AnnotatePlan: true }) };
}

describe("the state that a dry run sees", () => {
  const look = (state: StateSnapshot, own: Job) => ({
    index: state.index,
    tables: state.tableIndex("jobs", "job_versions", "evals"),
    job: state.job(own.Namespace, own.ID),
    version: state.jobVersion(own.Namespace, own.ID, state.job(own.Namespace, own.ID)?.Version ?? 0),
    versions: state.jobVersions(own.Namespace, own.ID),
    jobs: [...state.jobs()].map(({ Namespace, ID, Version }) => [Namespace, ID, Version]),
    prefixed: [...state.jobs({ namespace: "default", prefix: "m" })].map(({ ID }) => ID),
    elsewhere: [...state.jobs({ namespace: "other" })].map(({ ID }) => ID),
    system: state.systemJobs().map(({ ID }) => ID),
    summary: state.jobSummary(own.Namespace, own.ID)?.Summary,
    evaluations: [...state.evaluations()].map(({ ID }) => ID),
    ofJob: state
      .evaluationsByJob(own.Namespace, own.ID)
      .map(({ ID }) => ID)
      .sort(),
    ofOther: state.evaluationsByJob("default", "a").length,
    other: state.job("default", "a"),
  });

  const cases: Record<string, Job> = {
    "a new job": job("middle"),
    "a new job of a namespace": job("x", { Namespace: "other" }),
    "a new system job": job("sys", { Type: "system" }),
    "the next version of a job": job("mine", {
      Priority: 80,
      TaskGroups: [makeGroup(), makeGroup({ Name: "h" })],
    }),
    "a job that becomes another type": job("zsys", { Type: "service" }),
    "a job that did not change": job("mine"),
  };
  for (const [what, next] of Object.entries(cases)) {
    test(`is that after the registration of ${what}`, () => {
      for (const known of [job("a"), job("mine"), job("z"), job("zsys", { Type: "system" })]) {
        machine.apply(registration(known, makeEvaluation(known)));
      }
      const submitted = submission(next);
      const dry = new SubmittedJobSnapshot(machine.store.snapshot(), submitted.job, submitted.evaluation);
      const before = look(dry, next);
      assert.equal(dry.evaluation(submitted.evaluation.ID)?.JobID, next.ID);
      dry.close();
      machine.apply(registration({ ...next, SubmitTime: submitted.job.SubmitTime }, submitted.evaluation));
      using after = machine.store.snapshot();
      const real = look(after, next);
      const version = real.version;
      // Of a version the status stays what it was at its registration.
      const plain = (state: ReturnType<typeof look>) => ({
        ...state,
        version: null,
        versions: state.versions.map(({ ID, Version, Priority, Type }) => [ID, Version, Priority, Type]),
      });
      assert.deepEqual(plain(before), plain(real));
      assert.equal(before.version?.Version, version?.Version);
    });
  }

  test("joins allocations of the submitted version with it, and others with theirs", () => {
    machine.apply(registration(job("mine")));
    const { job: next, evaluation } = submission(job("mine", { Priority: 80 }));
    using dry = new SubmittedJobSnapshot(machine.store.snapshot(), next, evaluation);
    const of = (JobVersion: number, JobCreateIndex = next.CreateIndex): number | undefined =>
      dry.allocationJob(makeAllocation({ JobID: "mine", Namespace: "default", JobVersion, JobCreateIndex }))
        ?.Priority;
    assert.equal(of(1), 80);
    assert.equal(of(0), 50);
    assert.equal(of(1, 999), undefined, "a job of the same name that was purged");
  });

  test("gives copies: what a scheduler changes of them changes nothing", () => {
    const { job: next, evaluation } = submission(job("mine"));
    using dry = new SubmittedJobSnapshot(machine.store.snapshot(), next, evaluation);
    dry.job("default", "mine")!.Priority = 1;
    dry.jobVersions("default", "mine")[0]!.Priority = 1;
    [...dry.evaluations()][0]!.Priority = 1;
    assert.equal(dry.job("default", "mine")?.Priority, 50);
    assert.equal([...dry.jobs()][0]?.Priority, 50);
    assert.equal(dry.evaluation(evaluation.ID)?.Priority, evaluation.Priority);
  });
});

describe("a dry run", () => {
  const run = (
    process: (context: SchedulerContext) => Promise<void>,
    next: Job,
    task: Partial<DryRunTask> = {},
  ): Promise<DryRunOutcome> => {
    const scheduler: Scheduler = { type: next.Type, process };
    const columns = new SharedNodeColumns(machine.store.columns);
    const parts = {
      snapshot: () => machine.store.snapshot(),
      columns,
      underway: new UnderwayPlans(columns),
      feasible: new FeasibleRowsCache(),
      select: () => ({ filters: [], scorers: [] }),
      log: quietLogger,
    };
    const complete = { ...submission(next), minIndex: 0, now: 1_800_000_000_000, budget: 60_000, ...task };
    return runDry(scheduler, parts, complete, machine.store.snapshot());
  };

  const node = () => {
    const registered = makeNode();
    const payload = { Node: registered, Evaluations: [], Time: TIME };
    machine.apply({ type: CommandType.NodeRegister, payload });
    return registered;
  };

  /** An allocation of the job that runs on the node. */
  function running(of: string, nodeId: string, name: string): Allocation {
    const allocation = makeAllocation({
      JobID: of,
      Namespace: "default",
      NodeID: nodeId,
      Name: name,
      TaskGroup: "g",
      JobVersion: 0,
      ClientStatus: "running",
    });
    delete allocation.JobCreateIndex;
    machine.apply(plan({ Placed: [allocation] }));
    return allocation;
  }

  test("counts the updates of a scheduler that does not annotate its plans", async () => {
    const { ID: nodeId } = node();
    machine.apply(registration(job("mine")));
    machine.apply(registration(job("low")));
    const [kept, stopped, replaced, updated] = [0, 1, 2, 3].map((at) =>
      running("mine", nodeId, `mine.g[${at}]`),
    );
    const victim = running("low", nodeId, "low.g[0]");
    const outcome = await run(
      async (context) => {
        const { state, evaluation } = context;
        const next = state.job(evaluation.Namespace, evaluation.JobID)!;
        const filled = context.newPlan(next);
        const current = (one: Allocation | undefined): Allocation => state.allocation(one!.ID)!;
        stopAllocation(filled, current(stopped), { description: "" });
        stopAllocation(filled, current(replaced), { description: "" });
        placeAllocation(filled, { ...current(updated), JobVersion: next.Version });
        placeAllocation(filled, {
          ...current(replaced),
          ID: "00000000-0000-4000-8000-00000000000a",
          PreviousAllocation: replaced!.ID,
        });
        const created = { ...current(kept), ID: "00000000-0000-4000-8000-00000000000b" };
        placeAllocation(filled, created);
        preemptAllocation(filled, current(victim), created.ID);
        const { result, refreshed } = await context.submitPlan(filled);
        assert.equal(refreshed, false);
        assert.deepEqual(result.NodeAllocation, filled.NodeAllocation);
        assert.deepEqual(result.RejectedNodes, []);
      },
      job("mine", { Priority: 80 }),
    );
    assert.deepEqual(outcome.annotations.DesiredTGUpdates, {
      g: {
        Canary: 0,
        DestructiveUpdate: 1,
        Ignore: 1,
        InPlaceUpdate: 1,
        Migrate: 0,
        Place: 1,
        Preemptions: 1,
        Stop: 1,
      },
    });
    assert.deepEqual(outcome.annotations.PreemptedAllocs, [
      { ID: victim.ID, JobID: "low", Name: "low.g[0]", Namespace: "default", NodeID: nodeId, TaskGroup: "g" },
    ]);
  });

  test("takes the scheduler's own annotations, and gathers its evaluations", async () => {
    const desired = { g: { Place: 7 } } as never;
    const outcome = await run(async (context) => {
      const filled = context.newPlan(null);
      filled.Annotations = { DesiredTGUpdates: desired, PreemptedAllocs: null };
      await context.submitPlan(filled);
      await context.createEvaluation({ ...context.evaluation, ID: "follow-up" });
      await context.updateEvaluation({
        ...context.evaluation,
        Status: "complete",
        FailedTGAllocs: { g: { NodesEvaluated: 3 } as never },
      });
    }, job("mine"));
    assert.equal(outcome.annotations.DesiredTGUpdates, desired);
    assert.deepEqual(
      outcome.createdEvals.map(({ ID }) => ID),
      ["follow-up"],
    );
    assert.equal(outcome.failedGroups?.g?.NodesEvaluated, 3);
    assert.equal(outcome.failure, "");
  });

  test("of a scheduler that plans nothing leaves everything as it is", async () => {
    const outcome = await run(async () => undefined, job("mine"));
    assert.equal(outcome.annotations.DesiredTGUpdates?.g?.Ignore, 0);
    assert.equal(outcome.failedGroups, null);
  });

  test("tells why its evaluation would have failed", async () => {
    const outcome = await run(
      (context) =>
        context.updateEvaluation({ ...context.evaluation, Status: "failed", StatusDescription: "no luck" }),
      job("mine"),
    );
    assert.equal(outcome.failure, "no luck");
  });

  test("rejects with what the scheduler throws, and closes its snapshot", async () => {
    let seen: StateSnapshot | undefined;
    await assert.rejects(
      run(async ({ state }) => {
        seen = state;
        throw new Error("scheduler is broken");
      }, job("mine")),
      { message: "scheduler is broken" },
    );
    assert.throws(() => seen!.node("x"), /closed/);
  });

  test("ends when its budget is spent, whether the scheduler waits or works", async () => {
    const late = /the scheduler was not done with job "mine" after 0\.001 s/;
    await assert.rejects(
      run(() => new Promise(() => undefined), job("mine"), { budget: 1 }),
      late,
    );
    node();
    const works = run(
      async (context) => {
        const next = context.state.job("default", "mine")!;
        const placer = context.placer(context.newPlan(next));
        for (;;) placer.place({ job: next, group: next.TaskGroups[0]!, name: "mine.g[0]", previous: null });
      },
      job("mine"),
      { budget: 1 },
    );
    await assert.rejects(works, late);
  });
});

test("a thread runs a plugin's own scheduler dry, and names the types it knows where there is none", async () => {
  const folder = await mkdtemp(join(tmpdir(), "drover-dry-run-"));
  const module = join(folder, "quantum.mjs");
  await writeFile(
    module,
    `import { definePlugin, Scheduler } from ${JSON.stringify(import.meta.resolve("@drover/plugin-sdk"))};
     const scheduler = {
       type: "quantum",
       async process(context) {
         const { evaluation, state } = context;
         await context.submitPlan(context.newPlan(state.job(evaluation.Namespace, evaluation.JobID)));
         await context.updateEvaluation({ ...evaluation, Status: "complete", FailedTGAllocs: { g: { NodesEvaluated: 9 } } });
       },
     };
     export default definePlugin({ name: "quantum", register: (c) => c.registerInstance(Scheduler, scheduler) });`,
  );
  const pool = new Piscina({
    filename: new URL("../../workers/scheduling.js", import.meta.url).href,
    workerData: {
      statePath: machine.store.path,
      columns: machine.store.columns,
      modules: [{ module: `file://${module}`, config: {} }],
      rules: {},
    } satisfies SchedulingWorkerData,
    maxThreads: 1,
  });
  const run = (type: string): Promise<DryRunOutcome> => {
    const task: DryRunTask & Taken = {
      ...submission(job("mine", { Type: type })),
      minIndex: machine.store.index(),
      now: 1_800_000_000_000,
      budget: 60_000,
      takenBy: new SharedArrayBuffer(4),
    };
    return pool.run(task, { name: "dryRun" });
  };
  try {
    machine.apply(registration(job("a")));
    const before = machine.store.index();
    assert.equal((await run("quantum")).failedGroups?.g?.NodesEvaluated, 9);
    await assert.rejects(run("service"), {
      message: 'no scheduler for jobs of type "service" (job mine); known types: "quantum"',
    });
    assert.equal(machine.store.index(), before);
  } finally {
    await pool.destroy();
    await rm(folder, { recursive: true, force: true });
  }
});
