/** Random clusters with a job to place: nodes, what runs there already, the settings of the schedulers. */
import type {
  Allocation,
  Job,
  NetworkResource,
  Node,
  Port,
  SchedulerConfiguration,
  TaskGroup,
} from "@drover/plugin-sdk";
import { MemoryState, makeGroup, makeJob } from "@drover/plugin-sdk/testing";
import fc from "fast-check";
import { addresses, devicesOf, overcommitted } from "./holdings.js";
import { jobs } from "./random-jobs.js";
import { mostly, nodes, perhaps } from "./random-nodes.js";

/** Jobs whose allocations run already, by priority; `migrating`: how many of them may move at once, 0 for any number. */
const RESIDENTS: readonly {
  readonly id: string;
  readonly priority: number;
  readonly migrating: number;
}[] = [
  { id: "cheap", priority: 10, migrating: 1 },
  { id: "middle", priority: 40, migrating: 0 },
  // One too important for jobs of 50.
  { id: "near", priority: 41, migrating: 2 },
  { id: "dear", priority: 75, migrating: 0 },
];

export interface Case {
  readonly state: MemoryState;
  readonly job: Job;
  /** Puts the same into another state; gives the job. */
  load(state: MemoryState): Job;
  /** Numbers of nodes to be avoided. */
  readonly penalty: readonly number[];
  /** Number of the node to be tried first. */
  readonly preferred: number | null;
}

interface Resident {
  readonly owner: number;
  readonly node: number;
  readonly group: number;
  readonly cpu: number;
  readonly memory: number;
  readonly disk: number;
  readonly port: number | null;
  /** The port is of the task's own network. */
  readonly ofTask: boolean;
  readonly core: number | null;
  readonly device: number | null;
  readonly ended: boolean;
}

/** `ofJob`: -1 for an allocation of the job at hand, else a resident job's number. */
const resident: fc.Arbitrary<Resident> = fc.record({
  // Mostly such as may be pushed aside.
  owner: fc.constantFrom(-1, 0, 0, 0, 1, 1, 2, 3),
  node: fc.nat({ max: 11 }),
  group: fc.nat({ max: 2 }),
  cpu: fc.constantFrom(50, 200, 400, 900),
  memory: fc.constantFrom(16, 100, 250, 400),
  disk: fc.constantFrom(10, 100, 400),
  port: perhaps(fc.constantFrom(8080, 9090, 20_000, 20_001, 20_002)),
  ofTask: mostly(false, true),
  core: perhaps(fc.nat({ max: 3 })),
  device: perhaps(fc.nat({ max: 3 })),
  ended: mostly(false, true),
});

export function allocationOf(job: Job, group: string, node: Node, id: string): Allocation {
  return {
    AllocModifyIndex: 0,
    AllocatedResources: {
      Shared: { DiskMB: 0, Networks: null, Ports: null },
      TaskLifecycles: {},
      Tasks: {},
    },
    ClientDescription: "",
    ClientStatus: "running",
    CreateIndex: 0,
    CreateTime: 0,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredStatus: "run",
    EvalID: "",
    ID: id,
    Job: null,
    JobCreateIndex: job.CreateIndex,
    JobID: job.ID,
    JobVersion: job.Version,
    Metrics: null,
    ModifyIndex: 0,
    ModifyTime: 0,
    Name: `${job.ID}.${group}[0]`,
    Namespace: job.Namespace,
    NetworkStatus: null,
    NodeID: node.ID,
    NodeName: node.Name,
    TaskGroup: group,
    TaskStates: null,
  };
}

/** The number as the last part of an id. */
export function allocationId(kind: string, number: number): string {
  return `${kind}0000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
}

function networkOf(IP: string, port: Port): NetworkResource {
  const empty = { CIDR: "", DNS: null, Device: "eth0", DynamicPorts: null, MBits: 10, Mode: "" };
  return { ...empty, IP, ReservedPorts: [port] };
}

function residentAllocation(job: Job, group: string, node: Node, one: Resident, number: number): Allocation {
  const allocation = allocationOf(job, group, node, allocationId("a", number));
  const [address] = addresses(node);
  const device = one.device === null ? undefined : devicesOf(node)[one.device];
  const port = { HostNetwork: "default", Label: "p", To: 0, Value: one.port ?? 0 };
  const holdsPort = one.port !== null && address !== undefined;
  const [kind = "", id = ""] = device?.split("#") ?? [];
  const [Vendor = "", Type = "", Name = ""] = kind.split("/");
  allocation.AllocatedResources = {
    Shared: {
      DiskMB: one.disk,
      Networks: null,
      Ports:
        holdsPort && !one.ofTask
          ? [{ HostIP: address.Address, Label: port.Label, To: port.To, Value: port.Value }]
          : null,
    },
    TaskLifecycles: { t: null },
    Tasks: {
      t: {
        Cpu: { CpuShares: one.cpu, ReservedCores: one.core === null ? null : [one.core] },
        Devices: device === undefined ? null : [{ Vendor, Type, Name, DeviceIDs: [id] }],
        Memory: { MemoryMB: one.memory, MemoryMaxMB: 0 },
        Networks: holdsPort && one.ofTask ? [networkOf(address.Address, port)] : null,
      },
    },
  };
  if (one.ended) allocation.ClientStatus = "complete";
  return allocation;
}

function residentGroup(migrating: number): TaskGroup {
  const Migrate =
    migrating === 0
      ? null
      : {
          MaxParallel: migrating,
          HealthCheck: "checks" as const,
          MinHealthyTime: 0,
          HealthyDeadline: 0,
        };
  return makeGroup({ Name: "r", Migrate });
}

export interface CaseOptions {
  /** Whether service and batch jobs may push others aside. */
  readonly preemption: boolean;
}

/** A cluster on which nothing is overcommitted, and a registered job. */
export function cases({ preemption }: CaseOptions): fc.Arbitrary<Case> {
  return fc
    .record({
      nodes,
      job: jobs,
      residents: fc.array(resident, preemption ? { minLength: 20, maxLength: 70 } : { maxLength: 30 }),
      algorithm: fc.constantFrom<SchedulerConfiguration["SchedulerAlgorithm"]>("binpack", "spread"),
      oversubscription: fc.boolean(),
      penalty: fc.uniqueArray(fc.nat({ max: 11 }), { maxLength: 3 }),
      preferred: perhaps(fc.nat({ max: 11 })),
    })
    .map((one) => {
      const load = (state: MemoryState): Job => {
        for (const node of one.nodes) state.putNode(node);
        const job = state.putJob(one.job);
        const others = RESIDENTS.map(({ id, priority, migrating }) =>
          state.putJob(makeJob({ ID: id, Priority: priority, TaskGroups: [residentGroup(migrating)] })),
        );
        state.putSchedulerConfiguration({
          SchedulerAlgorithm: one.algorithm,
          MemoryOversubscriptionEnabled: one.oversubscription,
          PreemptionConfig: {
            BatchSchedulerEnabled: preemption,
            ServiceSchedulerEnabled: preemption,
            SysBatchSchedulerEnabled: preemption,
            SystemSchedulerEnabled: preemption,
          },
        });
        for (const [number, wanted] of one.residents.entries()) {
          const node = one.nodes[wanted.node % one.nodes.length]!;
          const owner = wanted.owner < 0 ? job : others[wanted.owner]!;
          const group = owner.TaskGroups[wanted.group % owner.TaskGroups.length]!.Name;
          const allocation = residentAllocation(owner, group, node, wanted, number);
          const before = state.allocationsByNode(node.ID);
          if (overcommitted(node, [...before, allocation]) === null) state.putAllocation(allocation);
        }
        return job;
      };
      const state = new MemoryState();
      return { state, job: load(state), load, penalty: one.penalty, preferred: one.preferred };
    });
}
