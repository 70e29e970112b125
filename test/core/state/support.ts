/** Domain objects and a state machine to try commands on. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Allocation, AllocationUpdate, Deployment, Evaluation, Job, Node } from "@drover/plugin-sdk";
import { makeGroup, makeJob as makePlainJob, makeNode as makePlainNode } from "@drover/plugin-sdk/testing";
import { StateFsm } from "../../../core/state/fsm.js";
import { type Command, type CommandPayloads, CommandType, encodeCommand } from "../../../core/state/index.js";
import { StateStore, type StateStoreOptions } from "../../../core/state/store.js";

/** 2026-11-23T14:48:44Z in Unix nanoseconds. */
export const TIME = 1_795_445_324_000_000_000;

export interface Machine {
  readonly folder: string;
  readonly store: StateStore;
  readonly fsm: StateFsm;
  /** Applies commands as one batch, each as the next entry; gives their results. */
  apply(...commands: readonly Command[]): readonly unknown[];
  /** Applies one command; gives its result. */
  run<T extends CommandType>(type: T, payload: CommandPayloads[T]): unknown;
  /** Closes the store and opens it again. */
  reopen(options?: Partial<StateStoreOptions>): Promise<Machine>;
  close(): Promise<void>;
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "drover-state-"));
}

export function openMachine(folder = temporaryFolder(), options: Partial<StateStoreOptions> = {}): Machine {
  const store = StateStore.open({ path: join(folder, "server", "state"), ...options });
  const fsm = new StateFsm(store);
  const apply = (...commands: readonly Command[]): readonly unknown[] => {
    const first = fsm.lastApplied() + 1;
    return fsm.apply(
      commands.map((command, i) => ({ index: first + i, term: 1, data: encodeCommand(command) })),
    );
  };
  return {
    folder,
    store,
    fsm,
    apply,
    run: (type, payload) => apply({ type, payload } as Command)[0],
    reopen: async (again) => {
      await store.close();
      return openMachine(folder, { ...options, ...again });
    },
    close: async () => {
      await store.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function makeJob(changes: Partial<Job> = {}): Job {
  return makePlainJob({ Status: "", TaskGroups: [makeGroup({ Name: "app", Tasks: [] })], ...changes });
}

/** A node with a rack, a secret and something reserved, for what the store does with each. */
export function makeNode(changes: Partial<Node> = {}): Node {
  return makePlainNode({
    Attributes: { "kernel.name": "linux", "unique.hostname": "host-1" },
    ComputedClass: "",
    Meta: { rack: "r1" },
    ReservedResources: {
      Cpu: { CpuShares: 100, ReservedCpuCores: null },
      Disk: { DiskMB: 500 },
      Memory: { MemoryMB: 192 },
      Networks: { ReservedHostPorts: "" },
    },
    SecretID: "hush",
    ...changes,
  });
}

export function makeAllocation(changes: Partial<Allocation> = {}): Allocation {
  return {
    AllocModifyIndex: 0,
    AllocatedResources: {
      Shared: { DiskMB: 300, Networks: null, Ports: null },
      TaskLifecycles: { server: null },
      Tasks: {
        server: {
          Cpu: { CpuShares: 100, ReservedCores: null },
          Devices: null,
          Memory: { MemoryMB: 64, MemoryMaxMB: 0 },
          Networks: null,
        },
      },
    },
    ClientDescription: "",
    ClientStatus: "pending",
    CreateIndex: 0,
    CreateTime: 0,
    DeploymentID: "",
    DeploymentStatus: null,
    DesiredStatus: "run",
    EvalID: randomUUID(),
    ID: randomUUID(),
    Job: null,
    JobID: "web",
    JobVersion: 0,
    Metrics: null,
    ModifyIndex: 0,
    ModifyTime: 0,
    Name: "web.app[0]",
    Namespace: "default",
    NetworkStatus: null,
    NodeID: randomUUID(),
    NodeName: "host-1",
    TaskGroup: "app",
    TaskStates: null,
    ...changes,
  };
}

export function makeEvaluation(changes: Partial<Evaluation> = {}): Evaluation {
  return {
    CreateIndex: 0,
    CreateTime: TIME,
    ID: randomUUID(),
    JobID: "web",
    ModifyIndex: 0,
    ModifyTime: TIME,
    Namespace: "default",
    Priority: 50,
    Status: "pending",
    TriggeredBy: "job-register",
    Type: "service",
    ...changes,
  };
}

export function makeDeployment(changes: Partial<Deployment> = {}): Deployment {
  return {
    CreateIndex: 0,
    ID: randomUUID(),
    IsMultiregion: false,
    JobCreateIndex: 1,
    JobID: "web",
    JobModifyIndex: 1,
    JobSpecModifyIndex: 1,
    JobVersion: 0,
    ModifyIndex: 0,
    Namespace: "default",
    Status: "running",
    StatusDescription: "Deployment is running",
    TaskGroups: {
      app: {
        AutoPromote: false,
        AutoRevert: false,
        DesiredCanaries: 0,
        DesiredTotal: 2,
        HealthyAllocs: 0,
        PlacedAllocs: 0,
        PlacedCanaries: null,
        ProgressDeadline: 600_000_000_000,
        Promoted: false,
        RequireProgressBy: null,
        UnhealthyAllocs: 0,
      },
    },
    ...changes,
  };
}

export function registration(job: Job, evaluation: Evaluation | null = null): Command {
  return {
    type: CommandType.JobRegister,
    payload: { Job: job, Evaluation: evaluation, EnforceIndex: false, JobModifyIndex: 0, Time: TIME },
  };
}

export function nodeRegistration(node: Node, time = TIME): Command {
  return { type: CommandType.NodeRegister, payload: { Node: node, Evaluations: [], Time: time } };
}

export function plan(changes: Partial<CommandPayloads[typeof CommandType.PlanApply]>): Command {
  return {
    type: CommandType.PlanApply,
    payload: {
      EvalID: "",
      Placed: [],
      Stopped: [],
      Preempted: [],
      Deployment: null,
      DeploymentUpdates: [],
      Evaluations: [],
      Time: TIME,
      ...changes,
    },
  };
}

export function report(allocation: Allocation, changes: Partial<AllocationUpdate>): Command {
  const update: AllocationUpdate = {
    ID: allocation.ID,
    NodeID: allocation.NodeID,
    ClientStatus: "running",
    ClientDescription: "",
    TaskStates: {},
    DeploymentStatus: null,
    NetworkStatus: null,
    ...changes,
  };
  return {
    type: CommandType.AllocationClientUpdate,
    payload: { Updates: [update], Evaluations: [], Time: TIME + 1e6 },
  };
}

export function evaluations(...rows: readonly Evaluation[]): Command {
  return { type: CommandType.EvaluationUpdate, payload: { Evaluations: [...rows], Time: TIME } };
}
