/** A cluster's state by its commands, as scheduling and agents would write it: nodes, jobs, their allocations, all of them running. */
import type { Allocation, AllocationUpdate, Consensus, Evaluation, Job, Node } from "@drover/plugin-sdk";
import { PlanIds } from "@drover/plugin-sdk/scheduling";
import { makeGroup, makeJob, makeNode } from "@drover/plugin-sdk/testing";
import { type Command, CommandType, encodeCommand } from "../core/state/index.js";

/** Allocations of a job and of a node. */
const JOB_SIZE = 1_000;
const NODE_SIZE = 200;
/** Of one plan's command, and of one agent's report. */
const PLAN_SIZE = 128;
const RACKS = 50;
/** Commands under way at once. */
const WIDTH = 64;
/** Milliseconds between two looks at what is due. */
const PACE = 5;
/** Seed of every id, so that who reports knows them. */
const IDS = "bench";
const NANOS_PER_MILLISECOND = 1e6;

const RUNNING: Omit<AllocationUpdate, "ID" | "NodeID"> = {
  ClientStatus: "running",
  ClientDescription: "Tasks are running",
  TaskStates: {},
  DeploymentStatus: null,
  NetworkStatus: null,
};

const now = (): number => Date.now() * NANOS_PER_MILLISECOND;

export const jobId = (number: number): string => `bench-${number}`;

/** Commands through the log, as many as allocations ask for. */
export async function fillState(consensus: Consensus, allocations: number): Promise<void> {
  const nodes = Array.from({ length: Math.ceil(allocations / NODE_SIZE) }, (_, number) => benchNode(number));
  await inParallel(commandsOf(nodes, allocations), async (command) => {
    await consensus.propose(encodeCommand(command));
  });
}

function* commandsOf(nodes: readonly Node[], allocations: number): Generator<Command> {
  for (const Node of nodes)
    yield { type: CommandType.NodeRegister, payload: { Node, Evaluations: [], Time: now() } };
  for (let first = 0; first < allocations; first += JOB_SIZE) {
    yield* commandsOfJob(first / JOB_SIZE, Math.min(JOB_SIZE, allocations - first), nodes);
  }
}

function* commandsOfJob(number: number, count: number, nodes: readonly Node[]): Generator<Command> {
  const job = makeJob({
    ID: jobId(number),
    Status: "",
    SubmitTime: now(),
    TaskGroups: [makeGroup({ Count: count })],
  });
  const ids = new PlanIds(IDS, number);
  const evaluation = evaluationOf(job, ids.next());
  const registration = { Job: job, Evaluation: evaluation, EnforceIndex: false, JobModifyIndex: 0 };
  yield { type: CommandType.JobRegister, payload: { ...registration, Time: now() } };
  const placed = Array.from({ length: count }, (_, at) =>
    allocationOf(job, evaluation, ids.next(), at, nodes[(number * JOB_SIZE + at) % nodes.length]!),
  );
  for (let at = 0; at < count; at += PLAN_SIZE) {
    const payload = {
      EvalID: evaluation.ID,
      Placed: placed.slice(at, at + PLAN_SIZE),
      Stopped: [],
      Preempted: [],
      Deployment: null,
      DeploymentUpdates: [],
      Evaluations: [],
      Time: now(),
    };
    yield { type: CommandType.PlanApply, payload };
  }
  yield {
    type: CommandType.EvaluationUpdate,
    payload: { Evaluations: [{ ...evaluation, Status: "complete" }], Time: now() },
  };
  for (let at = 0; at < count; at += PLAN_SIZE) {
    const Updates = placed.slice(at, at + PLAN_SIZE).map(({ ID, NodeID }) => ({ ...RUNNING, ID, NodeID }));
    yield { type: CommandType.AllocationClientUpdate, payload: { Updates, Evaluations: [], Time: now() } };
  }
}

function nodeId(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
}

function benchNode(number: number): Node {
  const node = makeNode({
    ID: nodeId(number),
    Name: `node-${number}`,
    Meta: { rack: `r${number % RACKS}` },
    Status: "ready",
  });
  const { NodeResources } = node;
  return {
    ...node,
    NodeResources: {
      ...NodeResources,
      Cpu: { ...NodeResources.Cpu, CpuShares: 64_000 },
      Memory: { MemoryMB: 131_072 },
    },
  };
}

function evaluationOf(job: Job, ID: string): Evaluation {
  return {
    CreateIndex: 0,
    CreateTime: now(),
    ID,
    JobID: job.ID,
    ModifyIndex: 0,
    ModifyTime: now(),
    Namespace: job.Namespace,
    Priority: job.Priority,
    Status: "pending",
    TriggeredBy: "job-register",
    Type: job.Type,
  };
}

const RESOURCES: Allocation["AllocatedResources"] = {
  Shared: { DiskMB: 300, Networks: null, Ports: null },
  TaskLifecycles: { t: null },
  Tasks: {
    t: {
      Cpu: { CpuShares: 100, ReservedCores: null },
      Devices: null,
      Memory: { MemoryMB: 64, MemoryMaxMB: 0 },
      Networks: null,
    },
  },
};

function allocationOf(job: Job, evaluation: Evaluation, ID: string, at: number, node: Node): Allocation {
  return {
    AllocModifyIndex: 0,
    AllocatedResources: RESOURCES,
    ClientDescription: "",
    ClientStatus: "pending",
    CreateIndex: 0,
    CreateTime: 0,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredDescription: "",
    DesiredStatus: "run",
    EvalID: evaluation.ID,
    ID,
    Job: null,
    JobID: job.ID,
    JobVersion: 0,
    Metrics: null,
    ModifyIndex: 0,
    ModifyTime: 0,
    Name: `${job.ID}.g[${at}]`,
    Namespace: job.Namespace,
    NetworkStatus: null,
    NodeID: node.ID,
    NodeName: node.Name,
    TaskGroup: "g",
    TaskStates: null,
  };
}

/** Goes through the items in order, so many at a time. */
async function inParallel<T>(items: Iterator<T>, work: (item: T) => Promise<void>): Promise<void> {
  const lane = async (): Promise<void> => {
    for (let next = items.next(); next.done !== true; next = items.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: WIDTH }, lane));
}

/** Reports of a state of `fillState` that go on: an allocation of one job after the other, at a rate. */
export class StateWriter {
  readonly #timer: NodeJS.Timeout;
  readonly #under = new Set<Promise<unknown>>();
  #due = 0;
  #written = 0;
  #failure: Error | undefined;

  constructor(
    private readonly consensus: Consensus,
    /** That the state was made with. */
    private readonly allocations: number,
    /** Commands a second, each of one allocation. */
    rate: number,
  ) {
    const begin = performance.now();
    this.#timer = setInterval(() => {
      const until = ((performance.now() - begin) * rate) / 1000;
      for (; this.#due < until && this.#under.size < WIDTH; this.#due++) this.#write(this.#due);
    }, PACE);
  }

  /** Gives how many commands were committed; rejects when one failed. */
  async stop(): Promise<number> {
    clearInterval(this.#timer);
    await Promise.all(this.#under);
    if (this.#failure !== undefined) throw this.#failure;
    return this.#written;
  }

  #write(serial: number): void {
    const job = serial % Math.ceil(this.allocations / JOB_SIZE);
    const ids = new PlanIds(IDS, job);
    ids.next();
    const node = (job * JOB_SIZE) % Math.ceil(this.allocations / NODE_SIZE);
    const update: AllocationUpdate = {
      ...RUNNING,
      ClientDescription: `Tasks are running (${serial})`,
      ID: ids.next(),
      NodeID: nodeId(node),
    };
    const payload = { Updates: [update], Evaluations: [], Time: now() };
    const done = this.consensus
      .propose(encodeCommand({ type: CommandType.AllocationClientUpdate, payload }))
      .then(
        () => {
          this.#written++;
        },
        (error: Error) => {
          this.#failure = error;
        },
      )
      .finally(() => this.#under.delete(done));
    this.#under.add(done);
  }
}
