/** Schedulers that plan at the same time on stale snapshots, and the real applier: who gets what, in any order. */
import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  DEFAULT_SCHEDULER_SETTINGS,
  type PackedPlan,
  type Scheduler,
  type StateSnapshot,
} from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";
import { makeEvaluation, quietLogger, quietMetrics } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { CommandLog } from "../../core/server/command-log.js";
import type { EvalBroker } from "../../core/server/evaluations/eval-broker.js";
import { PlanApplier } from "../../core/server/plans/plan-applier.js";
import { type Command, CommandRefused, CommandType } from "../../core/state/index.js";
import { SharedNodeColumns } from "../../core/state/read/index.js";
import type { MainPort } from "../../workers/main-port.js";
import { FeasibleRowsCache } from "../../workers/placement/index.js";
import { TaskContext } from "../../workers/task-context.js";
import { UnderwayPlans } from "../../workers/underway.js";
import { type Machine, nodeRegistration, openMachine, registration, TIME } from "../core/state/support.js";
import {
  checkComplete,
  checkEvictions,
  checkRefused,
  closedNodes,
  firstOvercommitted,
} from "./race/checks.js";
import { type Race, races } from "./race/clusters.js";
import { GatedConsensus, Gates } from "./race/gates.js";
import { commandOf, type Happening, healthReports, promotion } from "./race/happenings.js";
import { holdsResources } from "./reference/holdings.js";

const WORKERS = 2;
/** Turns of the event loop without a step after which somebody waits in vain. */
const PATIENCE = 5_000;

/** What came of races: counted, so that a run can tell that plans met at all. */
export interface RaceOutcome {
  plans: number;
  /** Of these, of which a node was refused. */
  refused: number;
  /** Of those, that were to push others aside. */
  refusedPreempting: number;
  /** Plans of which a node was closed while they were made. */
  closedMeanwhile: number;
  live: number;
  /** Allocations that were pushed aside. */
  evicted: number;
  /** Allocations that left a draining node. */
  migrated: number;
  /** Deployments that ended well. */
  deployed: number;
}

const nothing = (): RaceOutcome => ({
  plans: 0,
  refused: 0,
  refusedPreempting: 0,
  closedMeanwhile: 0,
  live: 0,
  evicted: 0,
  migrated: 0,
  deployed: 0,
});

/** Runs so many races. */
export async function checkRaces(numRuns: number): Promise<RaceOutcome> {
  const seen = nothing();
  await fc.assert(
    fc.asyncProperty(races, async (race) => {
      const run = new RaceRun(race);
      try {
        await run.run();
      } finally {
        await run.close();
      }
      for (const key of Object.keys(seen) as (keyof RaceOutcome)[]) seen[key] += run.outcome[key];
    }),
    { numRuns },
  );
  return seen;
}

class RaceRun {
  readonly outcome = nothing();
  readonly #race: Race;
  readonly #nodes: readonly string[];
  readonly #jobs: readonly string[];
  readonly #machine: Machine = openMachine();
  readonly #consensus = new GatedConsensus();
  readonly #log = new CommandLog(this.#consensus);
  readonly #applier: PlanApplier;
  readonly #scheduler: Scheduler = genericScheduler({ type: "service", batch: false });
  /** Jobs that each worker is to look at: the evaluations of one job never run at the same time. */
  readonly #queues: string[][] = Array.from({ length: WORKERS }, () => []);
  /** Allocations of which it is known that they were pushed aside. */
  readonly #evicted = new Set<string>();
  /** The first node that was found overcommitted. */
  #broken: string | null = null;
  #gates: Gates | null = null;
  #allHappened = false;

  constructor(race: Race) {
    this.#race = race;
    this.#nodes = race.nodes.map(({ ID }) => ID);
    this.#jobs = race.jobs.map(({ ID }) => ID);
    this.#applier = new PlanApplier({
      state: this.#machine.store,
      usage: this.#machine.store.usage,
      commands: this.#log,
      broker: {
        pauseNackTimeout() {},
        resumeNackTimeout() {},
        outstandingToken: () => "token",
      } as unknown as EvalBroker,
      log: quietLogger,
      metrics: quietMetrics,
    });
    this.#consensus.onCommit = () => {
      this.#broken ??= this.#look(firstOvercommitted);
    };
  }

  async run(): Promise<void> {
    await this.#consensus.start(this.#machine.fsm);
    this.#applier.queue.setEnabled(true);
    const PreemptionConfig = {
      ...DEFAULT_SCHEDULER_SETTINGS.PreemptionConfig,
      ServiceSchedulerEnabled: this.#race.preemption,
    };
    const Config = { ...DEFAULT_SCHEDULER_SETTINGS, PreemptionConfig, CreateIndex: 0, ModifyIndex: 0 };
    await this.#propose({ type: CommandType.SchedulerConfigUpdate, payload: { Config } });
    for (const node of this.#race.nodes) await this.#propose(nodeRegistration(node));
    for (const job of this.#race.jobs) {
      await this.#propose(registration(job));
      this.#enqueue(job.ID);
    }
    await this.#disorder();
    assert.equal(this.#broken, null);
    await this.#settle();
    assert.equal(this.#broken, null);
    this.#look(checkEvictions);
    this.#look((snapshot) => checkComplete(snapshot, this.#jobs));
    this.#look((snapshot) => this.#count(snapshot));
  }

  close(): Promise<void> {
    return this.#machine.close();
  }

  /** Workers and happenings step by step, in the order that the race tells. */
  async #disorder(): Promise<void> {
    const gates = new Gates();
    this.#gates = gates;
    this.#consensus.gates = gates;
    let ended = 0;
    const actors = [...this.#queues.keys()].map((worker) => this.#work(worker)).concat(this.#happen());
    const all = actors.map((actor) => actor.finally(() => ended++));
    const done = Promise.all(all);
    // Waited for below, once nothing is left to be let on.
    done.catch(() => {});
    let step = 0;
    for (let idle = 0; ended < all.length && this.#broken === null; ) {
      await nextTurn();
      if (gates.size === 0) {
        assert.ok(++idle < PATIENCE, "a plan is not answered");
        continue;
      }
      idle = 0;
      gates.open(this.#race.picks[step++ % this.#race.picks.length]!);
    }
    this.#gates = null;
    this.#consensus.gates = null;
    while (gates.size > 0) gates.open(0);
    await done;
  }

  async #work(worker: number): Promise<void> {
    const queue = this.#queues[worker]!;
    for (let id = queue.shift(); id !== undefined || !this.#allHappened; id = queue.shift()) {
      if (id !== undefined) await this.#evaluate(id, `worker ${worker}`);
      await this.#gates?.pass(`worker ${worker}`);
    }
  }

  async #evaluate(jobId: string, worker: string): Promise<void> {
    const snapshot = this.#machine.store.snapshot();
    const job = snapshot.job("default", jobId)!;
    const open = closedNodes(snapshot);
    await this.#gates?.pass(worker);
    const main = {
      decided: () => undefined,
      poll: () => undefined,
      request: async ({ plan }: { kind: string; plan?: PackedPlan }, _: unknown, settled?: () => void) => {
        if (plan === undefined) return null;
        await this.#gates?.pass(worker);
        this.outcome.plans++;
        const closed = this.#look(closedNodes);
        if (plan.nodes.some((node) => closed.has(node) && !open.has(node))) this.outcome.closedMeanwhile++;
        const result = await this.#applier.submit(plan);
        settled?.();
        checkRefused(plan, result, closed, this.#look(closedNodes));
        if (result.refused.length > 0) this.outcome.refused++;
        if (result.refused.length > 0 && plan.preempts) this.outcome.refusedPreempting++;
        this.#callVictims();
        return result;
      },
    };
    const columns = new SharedNodeColumns(this.#machine.store.columns);
    const parts = {
      snapshot: () => this.#machine.store.snapshot(),
      columns,
      underway: new UnderwayPlans(columns),
      feasible: new FeasibleRowsCache(),
      select: () => ({ filters: [], scorers: [] }),
      log: quietLogger,
    };
    const task = { evaluation: makeEvaluation(job), token: "token", now: TIME / 1e6, index: snapshot.index };
    const context = new TaskContext(parts, task as never, main as unknown as MainPort, snapshot);
    try {
      await this.#scheduler.process(context);
    } finally {
      context.close();
    }
  }

  /** Whose allocations were pushed aside is looked at again, as by the evaluations that the applier commits with them. */
  #callVictims(): void {
    using snapshot = this.#machine.store.snapshot();
    for (const { ID, JobID, DesiredStatus } of snapshot.allocations()) {
      if (DesiredStatus !== "evict" || this.#evicted.has(ID)) continue;
      this.#evicted.add(ID);
      this.#enqueue(JobID);
    }
  }

  async #happen(): Promise<void> {
    for (const one of this.#race.happenings) {
      await this.#gates?.pass("happenings");
      await this.#make(one);
    }
    this.#allHappened = true;
  }

  async #make(one: Happening): Promise<void> {
    const command = this.#look((snapshot) => commandOf(snapshot, one, this.#nodes, this.#jobs));
    if (command === null) return;
    await this.#propose(command);
    if ("job" in one) this.#enqueue(this.#jobs[one.job % this.#jobs.length]!);
    // Whose allocations are lost, have to leave or have a new place to go to.
    else for (const id of this.#jobs) this.#enqueue(id);
  }

  /**
   * Looks at every job again, one after the other, until nobody plans anything; what drains is asked to leave, what runs
   * becomes healthy, and canaries are promoted.
   */
  async #settle(): Promise<void> {
    for (let round = 0; ; round++) {
      assert.ok(round < 60, "the schedulers come to no end");
      const before = this.#machine.store.index();
      await this.#make({ kind: "migrate" });
      for (const id of this.#jobs) {
        await this.#evaluate(id, "settle");
        for (const next of [healthReports, promotion]) {
          const command = this.#look((snapshot) => next(snapshot, id));
          if (command !== null) await this.#propose(command);
        }
      }
      if (this.#machine.store.index() === before) return;
    }
  }

  #count(snapshot: StateSnapshot): void {
    for (const one of snapshot.allocations()) {
      if (holdsResources(one)) this.outcome.live++;
      if (one.DesiredStatus === "evict") this.outcome.evicted++;
      if (one.DesiredStatus === "stop" && one.DesiredTransition?.Migrate === true) this.outcome.migrated++;
    }
    for (const { Status } of snapshot.deployments()) if (Status === "successful") this.outcome.deployed++;
  }

  #look<T>(at: (snapshot: StateSnapshot) => T): T {
    using snapshot = this.#machine.store.snapshot();
    return at(snapshot);
  }

  #enqueue(jobId: string): void {
    const queue = this.#queues[this.#jobs.indexOf(jobId) % WORKERS]!;
    if (!queue.includes(jobId)) queue.push(jobId);
  }

  async #propose({ type, payload }: Command): Promise<void> {
    try {
      await this.#log.propose(type, payload as never);
    } catch (error) {
      // What it was about may have changed while it waited to be committed.
      if (!(error instanceof CommandRefused)) throw error;
    }
  }
}
