import "reflect-metadata";
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { MessageChannel } from "node:worker_threads";
import type {
  Evaluation,
  Job,
  PackedPlan,
  SchedulingAnswer,
  SchedulingOutcome,
  SchedulingRequest,
  SchedulingTask,
  SchedulingWorkerData,
  Taken,
} from "@drover/plugin-sdk";
import {
  makeEvaluation,
  makeGroup,
  makeJob,
  makeNode,
  quietLogger,
  quietMetrics,
} from "@drover/plugin-sdk/testing";
import { Piscina } from "piscina";
import { CommandLog } from "../../core/server/command-log.js";
import type { EvalBroker } from "../../core/server/evaluations/eval-broker.js";
import { PlanApplier } from "../../core/server/plans/plan-applier.js";
import { type Command, CommandType, encodeCommand, StateFsm, StateStore } from "../../core/state/index.js";
import { SingleConsensus } from "../core/server/single-consensus.js";

const compiled = (path: string): string => new URL(`../../${path}`, import.meta.url).href;

/** A leader's state and a pool of one scheduling thread. */
class Leader {
  readonly requests: Exclude<SchedulingRequest, { kind: "started" | "decided" }>[] = [];
  /** Called before each plan is checked; plays the others who change the state. */
  beforePlan: (plan: PackedPlan) => void = () => {};
  /** Resolves before a plan is answered; lets tests hold plans back. */
  holdPlan: (plan: PackedPlan) => Promise<void> = async () => {};
  readonly #applier: PlanApplier;

  private constructor(
    readonly store: StateStore,
    readonly fsm: StateFsm,
    readonly pool: Piscina,
    readonly folder: string,
  ) {
    // The log that remembers nothing, and a broker that lets every delivery stand.
    const consensus = new SingleConsensus();
    consensus.propose = async (data) => this.#append(data);
    this.#applier = new PlanApplier({
      state: store,
      usage: store.usage,
      commands: new CommandLog(consensus),
      broker: {
        pauseNackTimeout() {},
        resumeNackTimeout() {},
        outstandingToken: () => "token",
      } as unknown as EvalBroker,
      log: quietLogger,
      metrics: quietMetrics,
    });
    this.#applier.queue.setEnabled(true);
  }

  static async start(extraModules: readonly string[] = []): Promise<Leader> {
    const folder = await mkdtemp(join(tmpdir(), "drover-scheduling-"));
    const path = join(folder, "state");
    const store = StateStore.open({ path });
    const workerData: SchedulingWorkerData = {
      statePath: path,
      columns: store.columns,
      modules: [
        ...["service", "batch"].map((type) => compiled(`plugins/scheduler-${type}/plugin.js`)),
        ...extraModules,
      ].map((module) => ({ module, config: {} })),
      rules: {},
    };
    const pool = new Piscina({
      filename: compiled("workers/scheduling.js"),
      workerData,
      minThreads: 1,
      maxThreads: 1,
      concurrentTasksPerWorker: 4,
    });
    return new Leader(store, new StateFsm(store), pool, folder);
  }

  async stop(): Promise<void> {
    await this.pool.destroy();
    await this.store.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  apply(command: Command): number {
    return this.#append(encodeCommand(command)).index;
  }

  #append(data: Uint8Array): { readonly index: number; readonly result: unknown } {
    const index = this.store.index() + 1;
    const [result] = this.fsm.apply([{ index, term: 1, data }]);
    if (result instanceof Error) throw result;
    return { index, result };
  }

  addNodes(count: number): void {
    for (let i = 0; i < count; i++) {
      this.apply({
        type: CommandType.NodeRegister,
        payload: { Node: makeNode(), Evaluations: [], Time: 1e18 },
      });
    }
  }

  register(job: Job): Evaluation {
    const evaluation = makeEvaluation(job);
    this.apply({
      type: CommandType.JobRegister,
      payload: { Job: job, Evaluation: evaluation, EnforceIndex: false, JobModifyIndex: 0, Time: 1e18 },
    });
    return evaluation;
  }

  async schedule(evaluation: Evaluation): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    port1.on("message", (request: SchedulingRequest) => {
      if (request.kind === "started" || request.kind === "decided") return;
      this.requests.push(request);
      void this.#answer(request).then((answer) => port1.postMessage(answer));
    });
    const minIndex = this.store.index();
    const task: SchedulingTask & Taken = {
      evaluation,
      token: "token",
      minIndex,
      now: 1_800_000_000_000,
      port: port2,
      takenBy: new SharedArrayBuffer(4),
    };
    try {
      const outcome = (await this.pool.run(task, { transferList: [port2] })) as SchedulingOutcome;
      if (outcome.error !== null) throw new Error(outcome.error);
    } finally {
      port1.close();
    }
  }

  async #answer(
    request: Exclude<SchedulingRequest, { kind: "started" | "decided" }>,
  ): Promise<SchedulingAnswer> {
    const { id } = request;
    try {
      if (request.kind === "plan") {
        this.beforePlan(request.plan);
        await this.holdPlan(request.plan);
        return { id, result: await this.#applier.submit(request.plan) };
      }
      if (request.kind === "garbage") throw new Error("nobody here collects garbage");
      const payload = { Evaluations: [request.evaluation], Time: 1e18 };
      this.apply({ type: CommandType.EvaluationUpdate, payload });
      return { id, result: null };
    } catch (error) {
      return { id, error: (error as Error).message };
    }
  }
}

describe("scheduling thread", () => {
  let leader: Leader;
  before(async () => {
    leader = await Leader.start();
    leader.addNodes(3);
  });
  after(() => leader.stop());

  const outcome = (evaluation: Evaluation): Evaluation => {
    using snapshot = leader.store.snapshot();
    return snapshot.evaluation(evaluation.ID)!;
  };
  const live = (job: Job): number => {
    using snapshot = leader.store.snapshot();
    return snapshot.allocationsByJob(job.Namespace, job.ID).filter((one) => one.DesiredStatus === "run")
      .length;
  };

  it("places a job from the shared state and writes the outcome", async () => {
    const job = makeJob({ ID: "placed", TaskGroups: [makeGroup({ Count: 5 })] });
    const evaluation = leader.register(job);
    await leader.schedule(evaluation);
    assert.equal(outcome(evaluation).Status, "complete");
    assert.deepEqual(outcome(evaluation).QueuedAllocations, { g: 0 });
    assert.equal(live(job), 5);
  });

  it("sees what was committed after it started, job by job", async () => {
    for (let i = 0; i < 5; i++) {
      const job = makeJob({ ID: `batch-${i}`, Type: "batch", TaskGroups: [makeGroup({ Count: 2 })] });
      await leader.schedule(leader.register(job));
      assert.equal(live(job), 2);
    }
  });

  it("plans again from newer state when a node was refused", async () => {
    const job = makeJob({ ID: "refused", TaskGroups: [makeGroup({ Count: 4 })] });
    const evaluation = leader.register(job);
    let first = true;
    leader.beforePlan = (plan) => {
      if (!first) return;
      first = false;
      const NodeID = plan.nodes[0]!;
      leader.apply({
        type: CommandType.NodeUpdateEligibility,
        payload: { NodeID, Eligibility: "ineligible", Event: null, Evaluations: [], Time: 1e18 },
      });
    };
    await leader.schedule(evaluation);
    leader.beforePlan = () => {};
    assert.equal(first, false);
    assert.equal(live(job), 4);
    assert.equal(outcome(evaluation).Status, "complete");
  });

  it("works on another evaluation while a plan is applied", async () => {
    const slow = leader.register(makeJob({ ID: "slow" }));
    const quick = leader.register(makeJob({ ID: "quick" }));
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    leader.holdPlan = (plan) => (plan.evaluation === slow.ID ? held : Promise.resolve());
    const slowDone = leader.schedule(slow);
    // The thread has one task that waits; the other one ends before it.
    await leader.schedule(quick);
    assert.equal(outcome(quick).Status, "complete");
    assert.equal(outcome(slow).Status, "pending");
    release();
    await slowDone;
    leader.holdPlan = async () => {};
    assert.equal(outcome(slow).Status, "complete");
  });

  it("names the unknown job type and the known ones", async () => {
    const evaluation = leader.register(makeJob({ ID: "odd", Type: "quantum" }));
    await assert.rejects(leader.schedule(evaluation), {
      message: 'no scheduler for jobs of type "quantum" (job odd); known types: "service", "batch"',
    });
  });

  it("passes on the main thread's refusal", async () => {
    const evaluation = leader.register(makeJob({ ID: "denied" }));
    leader.beforePlan = () => {
      throw new Error("plan of evaluation is out of date");
    };
    await assert.rejects(leader.schedule(evaluation), { message: "plan of evaluation is out of date" });
    leader.beforePlan = () => {};
  });

  it("ends an evaluation whose port the server closed", async () => {
    const evaluation = leader.register(makeJob({ ID: "orphan" }));
    const { port1, port2 } = new MessageChannel();
    port1.on("message", ({ kind }: SchedulingRequest) => {
      if (kind !== "started") port1.close();
    });
    const task = {
      evaluation,
      token: "",
      minIndex: leader.store.index(),
      now: 1_800_000_000_000,
      port: port2,
      takenBy: new SharedArrayBuffer(4),
    };
    const outcome: SchedulingOutcome = await leader.pool.run(task, { transferList: [port2] });
    assert.match(outcome.error ?? "", /closed the evaluation's port/);
  });
});

describe("plugins of a scheduling thread", () => {
  it("adds filters of a plugin given by its file, and refuses a module that is no plugin", async () => {
    const folder = await mkdtemp(join(tmpdir(), "drover-plugin-"));
    const sdk = import.meta.resolve("@drover/plugin-sdk");
    await writeFile(
      join(folder, "filter.mjs"),
      `import { definePlugin, NodeFilter } from ${JSON.stringify(sdk)};
       const filter = {
         name: "none",
         filter: (candidates) => {
           const count = candidates.count();
           candidates.words.fill(0);
           return { "nobody home": count };
         },
       };
       export default definePlugin({ name: "filter-none", register: (c) => c.registerInstance(NodeFilter, filter) });`,
    );
    await writeFile(join(folder, "plain.mjs"), "export default 1;");
    const filtered = await Leader.start([`file://${join(folder, "filter.mjs")}`]);
    try {
      filtered.addNodes(2);
      const evaluation = filtered.register(makeJob());
      await filtered.schedule(evaluation);
      using snapshot = filtered.store.snapshot();
      const metric = snapshot.evaluation(evaluation.ID)?.FailedTGAllocs?.g;
      assert.deepEqual(metric?.ConstraintFiltered, { "nobody home": 2 });
      assert.equal(metric?.NodesFiltered, 2);
    } finally {
      await filtered.stop();
    }
    const { loadSchedulers } = await import("../../workers/scheduler-modules.js");
    const { threadLogger } = await import("../../workers/thread-logger.js");
    await assert.rejects(
      loadSchedulers([{ module: `file://${join(folder, "plain.mjs")}`, config: {} }], threadLogger()),
      /plain\.mjs has no plugin as its default export/,
    );
    await rm(folder, { recursive: true, force: true });
  });
});
