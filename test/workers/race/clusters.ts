/** The nodes, jobs and happenings that a race begins with: small, so that plans want the same. */
import type { Job, Node, UpdateStrategy } from "@drover/plugin-sdk";
import { makeGroup, makeJob, makeNode, makeTask } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { mostly } from "../reference/random-nodes.js";
import { type Happening, happening } from "./happenings.js";

export interface Race {
  readonly nodes: readonly Node[];
  readonly jobs: readonly Job[];
  /** Services may push others aside. */
  readonly preemption: boolean;
  readonly happenings: readonly Happening[];
  readonly picks: readonly number[];
}

export const nodeId = (row: number): string => `${String(row).padStart(8, "0")}-0000-4000-8000-000000000000`;

const node = fc.record({
  cpu: fc.constantFrom(1000, 2000),
  memory: fc.constantFrom(500, 1000),
  gpus: fc.integer({ min: 0, max: 2 }),
  lastPort: fc.constantFrom(20_001, 32_000),
});
type NodeChoice = typeof node extends fc.Arbitrary<infer T> ? T : never;

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
  rollout: fc.constantFrom("none" as const, "one" as const, "two" as const, "canary" as const),
});
type JobChoice = typeof job extends fc.Arbitrary<infer T> ? T : never;

export const races: fc.Arbitrary<Race> = fc
  .record({
    nodes: fc.array(node, { minLength: 1, maxLength: 5 }),
    jobs: fc.array(job, { minLength: 2, maxLength: 6 }),
    preemption: fc.boolean(),
    happenings: fc.array(happening, { maxLength: 12 }),
    picks: fc.array(fc.nat({ max: 59 }), { minLength: 40, maxLength: 120 }),
  })
  .map((one) => ({ ...one, nodes: one.nodes.map(makeRaceNode), jobs: one.jobs.map(makeRaceJob) }));

function makeRaceNode(one: NodeChoice, row: number): Node {
  const made = makeNode({ ID: nodeId(row), Name: `host-${row}` });
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

function makeRaceJob(one: JobChoice, number: number): Job {
  const task = makeTask();
  task.Resources.CPU = one.cpu;
  task.Resources.MemoryMB = one.memory;
  const { special } = one;
  if (special === "cores") Object.assign(task.Resources, { CPU: 0, Cores: 1 });
  if (special === "gpu") {
    const ask = { Name: "gpu", Count: 1, Constraints: null, Affinities: null };
    task.Resources.Devices = [ask];
  }
  const group = makeGroup({ Count: one.count, Tasks: [task], Update: updateOf(one.rollout) });
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

/** Null: no deployments, everything is replaced at once. */
function updateOf(rollout: JobChoice["rollout"]): UpdateStrategy | null {
  if (rollout === "none") return null;
  return {
    AutoPromote: false,
    AutoRevert: false,
    Canary: rollout === "canary" ? 1 : 0,
    HealthCheck: "task_states",
    HealthyDeadline: 300e9,
    MaxParallel: rollout === "two" ? 2 : 1,
    MinHealthyTime: 10e9,
    ProgressDeadline: 600e9,
    Stagger: 30e9,
  };
}
