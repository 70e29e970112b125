/** Random clusters and jobs, and what must hold of each placement on them. */
import assert from "node:assert/strict";
import type {
  Affinity,
  Allocation,
  Constraint,
  Job,
  Node,
  Plan,
  Spread,
  TaskGroup,
} from "@drover/plugin-sdk";
import { createPlan, placeAllocation, preemptAllocation } from "@drover/plugin-sdk/scheduling";
import {
  MemoryState,
  makeEvaluation,
  makeGroup,
  makeJob,
  makeNode,
  makeTask,
} from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { ColumnPlacer } from "../../workers/placement/index.js";
import { considered, feasible, fits, overcommit, type Situation, score } from "./placement-reference.js";

const id = (kind: string, i: number) => `${kind}0000000-0000-0000-0000-${String(i).padStart(12, "0")}`;

const node = fc.record({
  cpu: fc.constantFrom(1000, 2000, 4000, 8000),
  memory: fc.constantFrom(1024, 2048, 8192),
  disk: fc.constantFrom(3000, 10_000),
  keptCpu: fc.constantFrom(0, 0, 300),
  keptMemory: fc.constantFrom(0, 0, 256),
  cores: fc.constantFrom(2, 4),
  datacenter: fc.constantFrom("dc1", "dc1", "dc2", "dc3"),
  nodeClass: fc.constantFrom("", "small", "large"),
  rack: fc.constantFrom("r1", "r2", "r3", null),
  size: fc.constantFrom("2", "10", "33"),
  version: fc.constantFrom("1.2.3", "1.10.0", "2.0.0"),
  tags: fc.constantFrom("a", "a, b", "b,c", null),
  driver: fc.constantFrom("attribute", "attribute", "attribute", "healthy", "healthy", "unhealthy", "absent"),
  state: fc.constantFrom(
    "ready",
    "ready",
    "ready",
    "ready",
    "ready",
    "ready",
    "ready",
    "down",
    "ineligible",
    "draining",
  ),
  gpus: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 })),
  sickGpu: fc.boolean(),
  keptPort: fc.constantFrom("", "", "8080"),
  ports: fc.integer({ min: 1, max: 4 }),
});

const existing = fc.record({
  node: fc.nat(7),
  own: fc.constantFrom(false, false, false, true),
  priority: fc.constantFrom(10, 35, 40, 41, 50, 80),
  maxParallel: fc.integer({ min: 0, max: 2 }),
  cpu: fc.constantFrom(100, 400, 900),
  memory: fc.constantFrom(64, 500, 1200),
  disk: fc.constantFrom(10, 500),
  port: fc.constantFrom(0, 0, 8080, 20_000, 20_001),
  cores: fc.constantFrom(0, 0, 1),
  gpu: fc.constantFrom("", "", "a", "b"),
});

const rule: fc.Arbitrary<Constraint> = fc.oneof(
  ...[
    ["${meta.rack}", "=", "r1"],
    ["${meta.rack}", "==", "r2"],
    ["${node.datacenter}", "is", "dc1"],
    ["${node.class}", "!=", "small"],
    ["${meta.rack}", "not", "r3"],
    ["${attr.size}", "<", "10"],
    ["${attr.size}", "<=", "10"],
    ["${attr.size}", ">", "2"],
    ["${attr.size}", ">=", "10"],
    ["${meta.rack}", "regexp", "^r[12]$"],
    ["${attr.app.version}", "version", ">= 1.10.0"],
    ["${attr.app.version}", "semver", ">= 2.0.0"],
    ["${attr.tags}", "set_contains", "a"],
    ["${attr.tags}", "set_contains_all", "a,b"],
    ["${attr.tags}", "set_contains_any", "a,c"],
    ["${meta.rack}", "is_set", ""],
    ["${attr.tags}", "is_not_set", ""],
    ["${node.unique.id}", "!=", id("a", 0)],
    ["${node.unique.name}", "regexp", "[0-4]$"],
  ].map(([LTarget = "", Operand = "", RTarget = ""]) => fc.constant({ LTarget, Operand, RTarget })),
);
/** None in most cases, so that clusters are not empty for most jobs. */
const seldom = <T>(values: fc.Arbitrary<T[]>): fc.Arbitrary<T[]> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant<T[]>([]) }, values);
const distinct: fc.Arbitrary<Constraint[]> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Constraint[]>([]) },
  fc.constant<Constraint[]>([{ LTarget: "", Operand: "distinct_hosts", RTarget: "" }]),
  fc
    .constantFrom("", "2", "3")
    .map((RTarget) => [{ LTarget: "${meta.rack}", Operand: "distinct_property", RTarget }]),
);
const affinity: fc.Arbitrary<Affinity> = fc
  .tuple(rule, fc.constantFrom(-100, -30, 20, 50, 100))
  .map(([one, Weight]) => ({ ...one, Weight }));
const spread: fc.Arbitrary<Spread> = fc.record({
  Attribute: fc.constantFrom("${meta.rack}", "${node.datacenter}", "${node.class}"),
  Weight: fc.constantFrom(20, 50, 100),
  SpreadTarget: fc.constantFrom(
    null,
    [{ Value: "r1", Percent: 70 }],
    [
      { Value: "dc1", Percent: 50 },
      { Value: "dc2", Percent: 50 },
    ],
  ),
});

const ask = fc.record({
  count: fc.integer({ min: 1, max: 10 }),
  cpu: fc.constantFrom(50, 100, 300, 700),
  memory: fc.constantFrom(32, 256, 900),
  memoryMax: fc.constantFrom(0, 2000),
  disk: fc.constantFrom(10, 300, 900),
  cores: fc.constantFrom(0, 0, 0, 0, 1, 2),
  before: fc.constantFrom(0, 0, 1000),
  staticPort: fc.constantFrom(0, 0, 0, 0, 8080),
  dynamicPorts: fc.constantFrom(0, 0, 1, 2),
  gpus: fc.constantFrom(0, 0, 0, 0, 0, 1, 2),
  gpuMemory: fc.constantFrom("", "6000 MiB", "3 GiB"),
  gpuLiked: fc.constantFrom(0, 50, -50),
  datacenters: fc.constantFrom<string[][]>(["dc1"], ["dc1", "dc2"], ["dc1", "dc2", "dc3"]),
  jobRules: seldom(fc.array(rule, { maxLength: 2 })),
  groupRules: seldom(fc.array(rule, { maxLength: 1 })),
  taskRules: seldom(fc.array(rule, { maxLength: 1 })),
  distinct,
  affinities: fc.array(affinity, { maxLength: 2 }),
  taskAffinities: fc.array(affinity, { maxLength: 1 }),
  spreads: fc.oneof(fc.constant<Spread[]>([]), fc.array(spread, { maxLength: 2 })),
  penalised: fc.array(fc.nat(7), { maxLength: 2 }),
});

/** A cluster, what runs there, and a job. */
export const cases = fc.record({
  nodes: fc.array(node, { minLength: 2, maxLength: 8 }),
  existing: fc.array(existing, { maxLength: 24 }),
  ask,
  algorithm: fc.constantFrom("binpack" as const, "spread" as const),
  oversubscription: fc.boolean(),
  preemption: fc.boolean(),
});
type Generated = typeof cases extends fc.Arbitrary<infer T> ? T : never;
/** Numbers are any, so that full clusters can have others. */
export type Case = Omit<Generated, "nodes" | "existing" | "ask"> & {
  readonly nodes: (Omit<Generated["nodes"][number], "cpu" | "memory" | "disk"> & {
    readonly cpu: number;
    readonly memory: number;
    readonly disk: number;
  })[];
  readonly existing: (Omit<Generated["existing"][number], "node"> & { readonly node: number })[];
  readonly ask: Omit<Generated["ask"], "cpu"> & { readonly cpu: number };
};

/** Full clusters of the unimportant, where an important job finds room by evictions alone. */
export const crowded: fc.Arbitrary<Case> = cases.chain((input) =>
  fc.record({
    nodes: fc.array(
      node.map((shape) => ({ ...shape, cpu: 2000, memory: 2048, disk: 3000, driver: "healthy" as const })),
      { minLength: 1, maxLength: 3 },
    ),
    existing: fc.array(
      existing.map((shape) => ({ ...shape, node: shape.node % 3, own: false })),
      { minLength: 16, maxLength: 40 },
    ),
    ask: ask.map((shape) => ({
      ...shape,
      cpu: shape.cpu * 2,
      jobRules: [],
      groupRules: [],
      taskRules: [],
      datacenters: ["dc1", "dc2", "dc3"],
    })),
    algorithm: fc.constant(input.algorithm),
    oversubscription: fc.constant(input.oversubscription),
    preemption: fc.constant(true),
  }),
);

/** Plans the job of a case and checks every placement against the reference. Returns what was decided, in order. */
export function checkCase(input: Case): unknown[] {
  const state = new MemoryState();
  state.putSchedulerConfiguration({
    SchedulerAlgorithm: input.algorithm,
    MemoryOversubscriptionEnabled: input.oversubscription,
    PreemptionConfig: {
      BatchSchedulerEnabled: false,
      ServiceSchedulerEnabled: input.preemption,
      SysBatchSchedulerEnabled: false,
      SystemSchedulerEnabled: true,
    },
  });
  const nodes = input.nodes.map((shape, i) => nodeOf(shape, i));
  for (const one of nodes) state.putNode(one);
  const job = state.putJob(jobOf(input.ask));
  const group = job.TaskGroups[0]!;
  const running = new Map<string, Allocation[]>(nodes.map((one) => [one.ID, []]));
  const priorities = new Map<string, number>([[job.ID, job.Priority]]);
  for (const [i, shape] of input.existing.entries()) {
    const on = nodes[shape.node];
    if (on === undefined) continue;
    const of = shape.own ? job : state.putJob(existingJob(shape, i));
    const allocation = existingAllocation(shape, i, on, of);
    if (allocation === null || overcommit(on, [...running.get(on.ID)!, allocation]) !== "") continue;
    if (shape.port !== 0 && on.ReservedResources.Networks.ReservedHostPorts === String(shape.port)) continue;
    running.get(on.ID)!.push(allocation);
    priorities.set(of.ID, of.Priority);
    state.putAllocation(allocation);
  }
  const evaluation = makeEvaluation(job, { ID: id("e", 1) });
  const plan = createPlan(evaluation, "token", job, state.index);
  const placerOf = (of: Plan) =>
    new ColumnPlacer({ columns: state.columns(), state, plan: of, evaluation, filters: [], scorers: [] });
  const placer = placerOf(plan);
  // A second engine is asked node by node, as system schedulers do: those rank by the fit alone.
  const single = placerOf(plan);
  const situation: Situation = {
    configuration: state.schedulerConfiguration(),
    nodes,
    running: (nodeId) => running.get(nodeId)!,
    job,
    group,
    penalised: new Set(input.ask.penalised.map((i) => id("a", i))),
  };
  const decided: unknown[] = [];
  for (let i = 0; i < group.Count; i++) {
    const request = { job, group, name: `web.g[${i}]`, previous: null, penaltyNodes: situation.penalised };
    const scores = new Map<string, number>();
    for (const one of considered(situation)) {
      if (feasible(situation, one) && fits(group, one, running.get(one.ID)!))
        scores.set(one.ID, score(situation, one, running.get(one.ID)!));
    }
    for (const one of nodes) {
      const alone = single.place({ ...request, onlyNode: one.ID });
      const open = !("failed" in alone) && alone.preempted === undefined;
      assert.equal(open, scores.has(one.ID), `node ${one.ID} for ${request.name}: ${JSON.stringify(alone)}`);
    }
    const placement = placer.place(request);
    if ("failed" in placement) {
      decided.push(null);
      assert.equal(scores.size, 0, `nothing was placed where ${[...scores.keys()]} have room`);
      const { NodesEvaluated, NodesFiltered, NodesExhausted } = placement.failed;
      assert.equal(NodesEvaluated, considered(situation).length);
      assert.equal(NodesFiltered + NodesExhausted, NodesEvaluated, "every node is accounted for");
      if (input.preemption) {
        for (const one of considered(situation)) {
          const kept = running
            .get(one.ID)!
            .filter((other) => job.Priority - priorities.get(other.JobID)! < 10);
          assert.ok(!feasible(situation, one) || !fits(group, one, kept), `${one.ID} has room by evictions`);
        }
      }
      break;
    }
    const on = nodes.find((one) => one.ID === placement.nodeId)!;
    const evicted = new Set(placement.preempted?.map((one) => one.ID));
    const before = running.get(on.ID)!;
    const after = before.filter((one) => !evicted.has(one.ID));
    const reached = placement.metrics.ScoreMetaData!.find((meta) => meta.NodeID === on.ID)!;
    if (placement.preempted === undefined) {
      near(scores.get(on.ID)!, Math.max(...scores.values()), `${on.ID} isn't the best node`);
      const best = [...scores.values()].sort((a, b) => b - a).slice(0, 5);
      // Ports, cores, devices and distinct rules are looked at on the chosen node alone; others may turn out to fail.
      const { staticPort, dynamicPorts, cores, gpus } = input.ask;
      const counted = staticPort + dynamicPorts + cores + gpus + input.ask.distinct.length === 0;
      const metas = counted ? placement.metrics.ScoreMetaData! : [reached];
      if (counted) assert.equal(metas.length, best.length);
      for (const [rank, meta] of metas.entries()) {
        near(meta.NormScore, scores.get(meta.NodeID)!, `score of ${meta.NodeID}`);
        near(meta.NormScore, best[rank]!, `rank ${rank} of the best nodes`);
      }
    } else {
      assert.ok(input.preemption, "nobody is evicted without leave");
      assert.equal(scores.size, 0, "nobody is evicted while a node has room");
      assert.equal(after.length, before.length - evicted.size, "victims run on the node");
      assert.ok(evicted.size > 0 && feasible(situation, on) && fits(group, on, after), "the victims suffice");
      for (const victim of placement.preempted) {
        assert.ok(job.Priority - priorities.get(victim.JobID)! >= 10, "a victim is too important");
        const spared = before.find((one) => one.ID === victim.ID)!;
        assert.ok(!fits(group, on, [...after, spared]), `${victim.ID} is evicted without need`);
      }
      near(
        reached.NormScore,
        score(situation, on, after, reached.Scores.preemption),
        "score of the eviction",
      );
    }
    const placed: Allocation = {
      ...allocationOn(id("f", i), on, job),
      AllocatedResources: placement.resources,
    };
    running.set(on.ID, [...after, placed]);
    assert.equal(overcommit(on, running.get(on.ID)!), "");
    const ceiling = input.oversubscription ? input.ask.memoryMax : 0;
    assert.equal(placement.resources.Tasks.t!.Memory.MemoryMaxMB, ceiling);
    for (const victim of placement.preempted ?? []) preemptAllocation(plan, victim, placed.ID);
    placeAllocation(plan, placed);
    decided.push([placement.nodeId, placement.resources, [...evicted]]);
  }
  return decided;
}

function near(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual - expected) < 1e-9, `${what}: ${actual} instead of ${expected}`);
}

function nodeOf(shape: Case["nodes"][number], i: number): Node {
  const made = makeNode({
    ID: id("a", i),
    Name: `host-${i}`,
    Datacenter: shape.datacenter,
    NodeClass: shape.nodeClass,
    Meta: shape.rack === null ? {} : { rack: shape.rack },
    Status: shape.state === "down" ? "down" : "ready",
    SchedulingEligibility: shape.state === "ineligible" ? "ineligible" : "eligible",
  });
  if (shape.state === "draining") {
    const never = "0001-01-01T00:00:00Z";
    made.DrainStrategy = { Deadline: 0, IgnoreSystemJobs: false, ForceDeadline: never, StartedAt: never };
    made.Drain = true;
  }
  Object.assign(made.Attributes, {
    "cpu.numcores": String(shape.cores),
    size: shape.size,
    "app.version": shape.version,
  });
  if (shape.tags !== null) made.Attributes.tags = shape.tags;
  if (shape.driver === "absent") delete made.Attributes["driver.raw_exec"];
  if (shape.driver === "healthy" || shape.driver === "unhealthy") {
    const Healthy = shape.driver === "healthy";
    made.Drivers.raw_exec = {
      Attributes: null,
      Detected: true,
      HealthDescription: "",
      Healthy,
      UpdateTime: "",
    };
  }
  const { NodeResources: has, ReservedResources: kept } = made;
  const ReservableCpuCores = Array.from({ length: shape.cores }, (_, core) => core);
  has.Cpu = { CpuShares: shape.cpu, TotalCpuCores: shape.cores, ReservableCpuCores };
  has.Memory.MemoryMB = shape.memory;
  has.Disk.DiskMB = shape.disk;
  has.MinDynamicPort = 20_000;
  has.MaxDynamicPort = 20_000 + shape.ports;
  has.Devices = (["a", "b"] as const).map((Name, kind) => ({
    Vendor: "acme",
    Type: "gpu",
    Name,
    Attributes: { memory: { Int: Name === "a" ? 4 : 8, Unit: "GiB" } },
    Instances: Array.from({ length: shape.gpus[kind]! }, (_, n) => ({
      ID: `${i}-${Name}-${n}`,
      Healthy: !(shape.sickGpu && n === 0),
      HealthDescription: "",
      Locality: null,
    })),
  }));
  kept.Cpu.CpuShares = shape.keptCpu;
  kept.Memory.MemoryMB = shape.keptMemory;
  kept.Networks.ReservedHostPorts = shape.keptPort;
  return made;
}

function jobOf(shape: Case["ask"]): Job {
  const task = makeTask({ Constraints: shape.taskRules, Affinities: shape.taskAffinities });
  task.Resources = {
    ...task.Resources,
    CPU: shape.cores > 0 ? 0 : shape.cpu,
    Cores: shape.cores,
    MemoryMB: shape.memory,
    MemoryMaxMB: shape.memoryMax,
  };
  if (shape.gpus > 0) {
    const [LTarget, Operand, RTarget] = ["${device.attr.memory}", ">=", shape.gpuMemory];
    const liked = { LTarget: "${device.model}", Operand: "=", RTarget: "b", Weight: shape.gpuLiked };
    task.Resources.Devices = [
      {
        Name: "gpu",
        Count: shape.gpus,
        Constraints: RTarget === "" ? null : [{ LTarget, Operand, RTarget }],
        Affinities: shape.gpuLiked === 0 ? null : [liked],
      },
    ];
  }
  const before = makeTask({ Name: "before", Lifecycle: { Hook: "prestart", Sidecar: false } });
  before.Resources.CPU = shape.before;
  const port = (Label: string, Value: number) => ({ HostNetwork: "default", Label, To: 0, Value });
  const group: TaskGroup = makeGroup({
    Count: shape.count,
    Constraints: [...shape.groupRules, ...shape.distinct],
    Affinities: shape.affinities,
    Spreads: shape.spreads,
    EphemeralDisk: { Migrate: false, SizeMB: shape.disk, Sticky: false },
    Tasks: shape.before > 0 ? [task, before] : [task],
  });
  if (shape.staticPort !== 0 || shape.dynamicPorts > 0) {
    group.Networks = [
      {
        CIDR: "",
        DNS: null,
        Device: "",
        IP: "",
        MBits: 0,
        Mode: "host",
        ReservedPorts: shape.staticPort === 0 ? null : [port("http", shape.staticPort)],
        DynamicPorts: Array.from({ length: shape.dynamicPorts }, (_, i) => port(`d${i}`, 0)),
      },
    ];
  }
  return makeJob({ Constraints: shape.jobRules, Datacenters: shape.datacenters, TaskGroups: [group] });
}

function existingJob(shape: Case["existing"][number], i: number): Job {
  const Migrate =
    shape.maxParallel === 0
      ? null
      : {
          MaxParallel: shape.maxParallel,
          HealthCheck: "checks" as const,
          MinHealthyTime: 0,
          HealthyDeadline: 0,
        };
  return makeJob({ ID: `other-${i}`, Priority: shape.priority, TaskGroups: [makeGroup({ Migrate })] });
}

/** Null where the node lacks the device. */
function existingAllocation(
  shape: Case["existing"][number],
  i: number,
  on: Node,
  job: Job,
): Allocation | null {
  const gpu = on.NodeResources.Devices!.find((device) => device.Name === shape.gpu);
  const instance = gpu?.Instances.find((one) => one.Healthy);
  if (shape.gpu !== "" && instance === undefined) return null;
  const allocation = { ...allocationOn(id("b", i), on, job), CreateIndex: 1 };
  const Ports = shape.port === 0 ? null : [{ HostIP: "10.0.0.1", Label: "http", To: 0, Value: shape.port }];
  allocation.AllocatedResources = {
    Shared: { DiskMB: shape.disk, Networks: null, Ports },
    TaskLifecycles: { t: null },
    Tasks: {
      t: {
        Cpu: { CpuShares: shape.cpu, ReservedCores: shape.cores > 0 ? [i % 2] : null },
        Memory: { MemoryMB: shape.memory, MemoryMaxMB: 0 },
        Devices:
          instance === undefined
            ? null
            : [{ Vendor: "acme", Type: "gpu", Name: gpu!.Name, DeviceIDs: [instance.ID] }],
        Networks: null,
      },
    },
  };
  return allocation;
}

function allocationOn(ID: string, on: Node, job: Job): Allocation {
  return {
    AllocModifyIndex: 0,
    AllocatedResources: { Shared: { DiskMB: 0, Networks: null, Ports: null }, TaskLifecycles: {}, Tasks: {} },
    ClientDescription: "",
    ClientStatus: "running",
    CreateIndex: 0,
    CreateTime: 0,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredStatus: "run",
    EvalID: "",
    ID,
    Job: null,
    JobID: job.ID,
    JobVersion: job.Version,
    Metrics: null,
    ModifyIndex: 0,
    ModifyTime: 0,
    Name: `${job.ID}.g[0]`,
    Namespace: job.Namespace,
    NetworkStatus: null,
    NodeID: on.ID,
    NodeName: on.Name,
    TaskGroup: "g",
    TaskStates: null,
  };
}
