/** Schedulers that plan at the same time on stale snapshots, and the real applier: who gets what, in any order. */
import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type Allocation,
  type Job,
  type Node,
  NodeCheck,
  type PackedPlan,
  type PackedPlanResult,
  type Scheduler,
} from "@drover/plugin-sdk";
import { genericScheduler } from "@drover/plugin-sdk/scheduling";
import {
  makeEvaluation,
  makeGroup,
  makeJob,
  makeNode,
  makeTask,
  quietLogger,
  quietMetrics,
} from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { CommandLog } from "../../core/server/command-log.js";
import type { EvalBroker } from "../../core/server/evaluations/eval-broker.js";
import { PlanApplier } from "../../core/server/plans/plan-applier.js";
import { type Command, CommandType } from "../../core/state/index.js";
import { SharedNodeColumns } from "../../core/state/read/index.js";
import type { MainPort } from "../../workers/main-port.js";
import { TaskContext } from "../../workers/task-context.js";
import { UnderwayPlans } from "../../workers/underway.js";
import { SingleConsensus } from "../core/server/single-consensus.js";
import {
  type Machine,
  nodeRegistration,
  openMachine,
  registration,
  report,
  TIME,
} from "../core/state/support.js";
import { holdsResources, overcommitted } from "./reference/holdings.js";
import { judge } from "./reference/judge.js";
import { mostly } from "./reference/random-nodes.js";

const WORKERS = 2;
/** Turns of the event loop without a step after which somebody waits in vain. */
const PATIENCE = 5_000;

/** Where the test decides who goes on: of each name the one that came first. */
class Gates {
  readonly #waiting = new Map<string, (() => void)[]>();

  pass(name: string): Promise<void> {
    return new Promise((resolve) => {
      const queue = this.#waiting.get(name) ?? [];
      queue.push(resolve);
      this.#waiting.set(name, queue);
    });
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Lets one go on; `pick` is any number. */
  open(pick: number): void {
    const name = [...this.#waiting.keys()][pick % this.#waiting.size]!;
    const queue = this.#waiting.get(name)!;
    const go = queue.shift()!;
    if (queue.length === 0) this.#waiting.delete(name);
    go();
  }
}

/** Commits what is proposed in its order, when the test lets it; looks at the state after every commit. */
class GatedConsensus extends SingleConsensus {
  gates: Gates | null = null;
  onCommit = (): void => {};

  override async propose(data: Uint8Array): Promise<{ index: number; result: unknown }> {
    await this.gates?.pass("commit");
    const proposed = await super.propose(data);
    this.onCommit();
    return proposed;
  }
}

type Event =
  | { readonly kind: "down" | "ready" | "ineligible" | "eligible"; readonly node: number }
  | { readonly kind: "finish"; readonly allocation: number }
  | { readonly kind: "stop" | "grow"; readonly job: number };

interface Race {
  readonly nodes: readonly Node[];
  readonly jobs: readonly Job[];
  readonly events: readonly Event[];
  readonly picks: readonly number[];
}

const NODE_ID = (row: number): string => `${String(row).padStart(8, "0")}-0000-4000-8000-000000000000`;

const node = fc.record({
  cpu: fc.constantFrom(1000, 2000),
  memory: fc.constantFrom(500, 1000),
  gpus: fc.integer({ min: 0, max: 2 }),
  lastPort: fc.constantFrom(20_001, 32_000),
});

const job = fc.record({
  count: fc.integer({ min: 1, max: 6 }),
  cpu: fc.constantFrom(100, 300, 700),
  memory: fc.constantFrom(32, 100, 250),
  priority: fc.constantFrom(30, 50, 70),
  special: mostly<"none" | "static" | "dynamic" | "cores" | "gpu">(
    "none",
    "static",
    "dynamic",
    "cores",
    "gpu",
  ),
  allAtOnce: mostly(false, true),
});

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("down" as const, "ready" as const, "ineligible" as const, "eligible" as const),
    node: fc.nat({ max: 4 }),
  }),
  fc.record({ kind: fc.constant("finish" as const), allocation: fc.nat({ max: 20 }) }),
  fc.record({
    kind: fc.constantFrom("stop" as const, "grow" as const, "grow" as const),
    job: fc.nat({ max: 5 }),
  }),
);

const races: fc.Arbitrary<Race> = fc
  .record({
    nodes: fc.array(node, { minLength: 1, maxLength: 5 }),
    jobs: fc.array(job, { minLength: 2, maxLength: 6 }),
    events: fc.array(event, { maxLength: 8 }),
    picks: fc.array(fc.nat({ max: 59 }), { minLength: 40, maxLength: 120 }),
  })
  .map((one) => ({ ...one, nodes: one.nodes.map(makeRaceNode), jobs: one.jobs.map(makeRaceJob) }));

function makeRaceNode(
  one: { cpu: number; memory: number; gpus: number; lastPort: number },
  row: number,
): Node {
  const made = makeNode({ ID: NODE_ID(row), Name: `host-${row}` });
  const { NodeResources: has } = made;
  has.Cpu.CpuShares = one.cpu;
  has.Memory.MemoryMB = one.memory;
  has.Disk.DiskMB = 5_000;
  has.MinDynamicPort = 20_000;
  has.MaxDynamicPort = one.lastPort;
  if (one.gpus > 0) {
    const Instances = Array.from({ length: one.gpus }, (_, i) => ({
      ID: `gpu-${i}`,
      Healthy: true,
      HealthDescription: "",
      Locality: null,
    }));
    has.Devices = [{ Vendor: "nvidia", Type: "gpu", Name: "k80", Attributes: null, Instances }];
  }
  return made;
}

function makeRaceJob(
  one: {
    count: number;
    cpu: number;
    memory: number;
    priority: number;
    special: "none" | "static" | "dynamic" | "cores" | "gpu";
    allAtOnce: boolean;
  },
  number: number,
): Job {
  const task = makeTask();
  task.Resources.CPU = one.cpu;
  task.Resources.MemoryMB = one.memory;
  const { special } = one;
  if (special === "cores") Object.assign(task.Resources, { CPU: 0, Cores: 1 });
  if (special === "gpu") {
    const ask = { Name: "gpu", Count: 1, Constraints: null, Affinities: null };
    task.Resources.Devices = [ask];
  }
  const group = makeGroup({ Count: one.count, Tasks: [task] });
  if (special === "static" || special === "dynamic") {
    const port = { HostNetwork: "", Label: "http", To: 0, Value: special === "static" ? 8080 : 0 };
    group.Networks = [
      {
        CIDR: "",
        DNS: null,
        Device: "",
        IP: "",
        MBits: 0,
        Mode: "host",
        ReservedPorts: special === "static" ? [port] : null,
        DynamicPorts: special === "dynamic" ? [port] : null,
      },
    ];
  }
  return makeJob({
    ID: `job-${number}`,
    Priority: one.priority,
    TaskGroups: [group],
    AllAtOnce: one.allAtOnce,
  });
}

/** What came of races: counted, so that a run can tell that plans met at all. */
export interface RaceOutcome {
  plans: number;
  refused: number;
  live: number;
}

/** Runs so many races. */
export async function checkRaces(numRuns: number): Promise<RaceOutcome> {
  const seen: RaceOutcome = { plans: 0, refused: 0, live: 0 };
  await fc.assert(
    fc.asyncProperty(races, async (race) => {
      const run = new RaceRun(race);
      try {
        await run.run();
      } finally {
        await run.close();
      }
      seen.plans += run.outcome.plans;
      seen.refused += run.outcome.refused;
      seen.live += run.outcome.live;
    }),
    { numRuns },
  );
  return seen;
}

class RaceRun {
  readonly outcome: RaceOutcome = { plans: 0, refused: 0, live: 0 };
  readonly #race: Race;
  readonly #machine: Machine = openMachine();
  readonly #consensus = new GatedConsensus();
  readonly #log = new CommandLog(this.#consensus);
  readonly #applier: PlanApplier;
  readonly #scheduler: Scheduler = genericScheduler({ type: "service", batch: false });
  /** Jobs that each worker is to look at: the evaluations of one job never run at the same time. */
  readonly #queues: string[][] = Array.from({ length: WORKERS }, () => []);
  /** The first node that was found overcommitted. */
  #broken: string | null = null;
  #gates: Gates | null = null;
  #eventsEnded = false;

  constructor(race: Race) {
    this.#race = race;
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
      this.#broken ??= this.#overcommitted();
    };
  }

  async run(): Promise<void> {
    await this.#consensus.start(this.#machine.fsm);
    this.#applier.queue.setEnabled(true);
    for (const node of this.#race.nodes) await this.#propose(nodeRegistration(node));
    for (const job of this.#race.jobs) {
      await this.#propose(registration(job));
      this.#enqueue(job.ID);
    }
    await this.#disorder();
    assert.equal(this.#broken, null);
    await this.#settle();
    assert.equal(this.#broken, null);
    this.#checkComplete();
  }

  close(): Promise<void> {
    return this.#machine.close();
  }

  /** Workers and events step by step, in the order that the race tells. */
  async #disorder(): Promise<void> {
    const gates = new Gates();
    this.#gates = gates;
    this.#consensus.gates = gates;
    let ended = 0;
    const actors = [...this.#queues.keys()].map((worker) => this.#work(worker)).concat(this.#events());
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
    for (let id = queue.shift(); id !== undefined || !this.#eventsEnded; id = queue.shift()) {
      if (id !== undefined) await this.#evaluate(id, `worker ${worker}`);
      await this.#gates?.pass(`worker ${worker}`);
    }
  }

  async #evaluate(jobId: string, worker: string): Promise<void> {
    const snapshot = this.#machine.store.snapshot();
    const job = snapshot.job("default", jobId)!;
    await this.#gates?.pass(worker);
    const main = {
      decided: () => undefined,
      poll: () => undefined,
      request: async (request: { kind: string; plan?: PackedPlan }, _: unknown, settled?: () => void) => {
        if (request.plan === undefined) return null;
        await this.#gates?.pass(worker);
        this.outcome.plans++;
        const closed = this.#closedNodes();
        const result = await this.#applier.submit(request.plan);
        settled?.();
        this.#checkRefused(request.plan, result, closed);
        if (result.refused.length > 0) this.outcome.refused++;
        return result;
      },
    };
    const columns = new SharedNodeColumns(this.#machine.store.columns);
    const parts = {
      snapshot: () => this.#machine.store.snapshot(),
      columns,
      underway: new UnderwayPlans(columns),
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

  /** Nodes that take no new allocations: id and index of the last change. */
  #closedNodes(): Map<string, number> {
    using snapshot = this.#machine.store.snapshot();
    const closed = [...snapshot.nodes()].filter(
      (node) => node.Status !== "ready" || node.SchedulingEligibility !== "eligible",
    );
    return new Map(closed.map((node) => [node.ID, node.ModifyIndex]));
  }

  /** What was closed before the plan came, and after it, may have taken nothing new. */
  #checkRefused(plan: PackedPlan, result: PackedPlanResult, before: ReadonlyMap<string, number>): void {
    const after = this.#closedNodes();
    for (const [i, node] of plan.nodes.entries()) {
      if (plan.checks[i] !== NodeCheck.Counted || before.get(node) === undefined) continue;
      if (before.get(node) !== after.get(node)) continue;
      assert.ok(result.refused.includes(node), `node ${node} takes no allocations, and got new ones`);
    }
  }

  async #events(): Promise<void> {
    for (const one of this.#race.events) {
      await this.#gates?.pass("events");
      await this.#happen(one);
    }
    this.#eventsEnded = true;
  }

  async #happen(one: Event): Promise<void> {
    const common = { Event: null, Evaluations: [], Time: TIME };
    if ("node" in one) {
      const NodeID = NODE_ID(one.node % this.#race.nodes.length);
      if (one.kind === "eligible" || one.kind === "ineligible") {
        const payload = { NodeID, Eligibility: one.kind, ...common };
        await this.#propose({ type: CommandType.NodeUpdateEligibility, payload });
      } else if (one.kind === "down" || one.kind === "ready") {
        const payload = { NodeID, Status: one.kind, Description: "", ...common };
        await this.#propose({ type: CommandType.NodeUpdateStatus, payload });
      }
      // Whose allocations are lost or have a new place to go to.
      for (const job of this.#race.jobs) this.#enqueue(job.ID);
    } else if (one.kind === "finish") {
      const live = this.#allocations().filter(holdsResources);
      const ended = live[one.allocation % Math.max(1, live.length)];
      if (ended === undefined) return;
      await this.#propose(report(ended, { ClientStatus: "complete" }));
      this.#enqueue(ended.JobID);
    } else if ("job" in one) {
      const job = this.#race.jobs[one.job % this.#race.jobs.length]!;
      if (one.kind === "stop") {
        const payload = { Namespace: "default", JobID: job.ID, Purge: false, Evaluation: null, Time: TIME };
        await this.#propose({ type: CommandType.JobDeregister, payload });
      } else {
        const grown = structuredClone(this.#job(job.ID));
        grown.Stop = false;
        grown.TaskGroups[0]!.Count += 2;
        await this.#propose(registration(grown));
      }
      this.#enqueue(job.ID);
    }
  }

  /** Looks at every job again, one after the other, until nobody plans anything. */
  async #settle(): Promise<void> {
    for (let round = 0; ; round++) {
      assert.ok(round < 20, "the schedulers come to no end");
      const before = this.outcome.plans;
      for (const { ID } of this.#race.jobs) await this.#evaluate(ID, "settle");
      if (this.outcome.plans === before) return;
    }
  }

  /** Every group runs as often as it should, or the reference finds no room for more of it. */
  #checkComplete(): void {
    using snapshot = this.#machine.store.snapshot();
    const world = {
      nodes: [...snapshot.nodes()],
      allocations: [...snapshot.allocations()],
      configuration: snapshot.schedulerConfiguration(),
    };
    for (const { ID } of this.#race.jobs) {
      const job = snapshot.job("default", ID)!;
      const group = job.TaskGroups[0]!;
      const live = world.allocations.filter((one) => holdsResources(one) && one.JobID === ID).length;
      this.outcome.live += live;
      const wanted = job.Stop ? 0 : group.Count;
      assert.ok(live <= wanted, `${live} allocations of ${ID}, ${wanted} are wanted`);
      if (live === wanted) continue;
      const open = judge(world, job, group, new Set()).find((verdict) => verdict.open);
      assert.equal(open?.node.Name, undefined, `${wanted - live} of ${ID} are missing, this node has room`);
    }
  }

  #overcommitted(): string | null {
    using snapshot = this.#machine.store.snapshot();
    for (const node of snapshot.nodes()) {
      const why = overcommitted(node, snapshot.allocationsByNode(node.ID));
      if (why !== null) return `node ${node.Name} at index ${snapshot.index}: ${why}`;
    }
    return null;
  }

  #allocations(): Allocation[] {
    using snapshot = this.#machine.store.snapshot();
    return [...snapshot.allocations()];
  }

  #job(id: string): Job {
    using snapshot = this.#machine.store.snapshot();
    return snapshot.job("default", id)!;
  }

  #enqueue(jobId: string): void {
    const number = this.#race.jobs.findIndex(({ ID }) => ID === jobId);
    const queue = this.#queues[number % WORKERS]!;
    if (!queue.includes(jobId)) queue.push(jobId);
  }

  async #propose({ type, payload }: Command): Promise<void> {
    await this.#log.propose(type, payload as never);
  }
}
