/** Nodes, jobs and evaluations to schedule in tests: complete rows, of which a test changes what it is about. */

import { generateUUID } from "../domain/ids.js";
import type { Evaluation, Job, Node, Task, TaskGroup } from "../domain/index.js";

/** A ready node of 4000 MHz, 8192 MiB and 100,000 MiB of disk with the drivers `raw_exec` and `exec`. */
export function makeNode(overrides: Partial<Node> = {}): Node {
  const id = overrides.ID ?? generateUUID();
  return {
    Attributes: {
      "kernel.name": "linux",
      "cpu.arch": "amd64",
      "cpu.numcores": "4",
      "driver.raw_exec": "1",
      "driver.exec": "1",
      "unique.hostname": `host-${id.slice(0, 8)}`,
    },
    CSIControllerPlugins: null,
    CSINodePlugins: null,
    ComputedClass: "v1:1",
    CreateIndex: 0,
    Datacenter: "dc1",
    Drain: false,
    DrainStrategy: null,
    Drivers: {},
    Events: [],
    HTTPAddr: "127.0.0.1:4646",
    HostVolumes: null,
    ID: id,
    LastDrain: null,
    Links: null,
    Meta: {},
    ModifyIndex: 0,
    Name: `host-${id.slice(0, 8)}`,
    NodeClass: "",
    NodeResources: {
      Cpu: { CpuShares: 4000, ReservableCpuCores: [0, 1, 2, 3], TotalCpuCores: 4 },
      Devices: null,
      Disk: { DiskMB: 100_000 },
      Memory: { MemoryMB: 8192 },
      Networks: [
        {
          CIDR: "10.0.0.1/32",
          DNS: null,
          Device: "eth0",
          DynamicPorts: null,
          IP: "10.0.0.1",
          MBits: 1000,
          Mode: "host",
          ReservedPorts: null,
        },
      ],
      NodeNetworks: [
        {
          Addresses: [
            { Address: "10.0.0.1", Alias: "default", Family: "ipv4", Gateway: "", ReservedPorts: "" },
          ],
          Device: "eth0",
          MacAddress: "",
          Mode: "host",
          Speed: 1000,
        },
      ],
    },
    Reserved: null,
    ReservedResources: {
      Cpu: { CpuShares: 0, ReservedCpuCores: null },
      Disk: { DiskMB: 0 },
      Memory: { MemoryMB: 0 },
      Networks: { ReservedHostPorts: "" },
    },
    Resources: null,
    SchedulingEligibility: "eligible",
    SecretID: "",
    Status: "ready",
    StatusDescription: "",
    StatusUpdatedAt: 0,
    TLSEnabled: false,
    ...overrides,
  };
}

/** A `raw_exec` task of 100 MHz and 64 MiB. */
export function makeTask(overrides: Partial<Task> = {}): Task {
  return {
    Affinities: null,
    Artifacts: null,
    CSIPluginConfig: null,
    Config: { command: "/bin/true" },
    Constraints: null,
    DispatchPayload: null,
    Driver: "raw_exec",
    Env: null,
    KillSignal: "",
    KillTimeout: 5e9,
    Kind: "",
    Leader: false,
    Lifecycle: null,
    LogConfig: { MaxFileSizeMB: 10, MaxFiles: 10 },
    Meta: null,
    Name: "t",
    Resources: {
      CPU: 100,
      Cores: 0,
      Devices: null,
      DiskMB: 0,
      IOPS: 0,
      MemoryMB: 64,
      MemoryMaxMB: 0,
      Networks: null,
    },
    RestartPolicy: null,
    ScalingPolicies: null,
    Services: null,
    ShutdownDelay: 0,
    Templates: null,
    User: "",
    Vault: null,
    VolumeMounts: null,
    ...overrides,
  };
}

/** A group `g` of one task, 300 MiB of disk, rescheduled without limit after 30 s, without an update block. */
export function makeGroup(overrides: Partial<TaskGroup> = {}): TaskGroup {
  return {
    Affinities: null,
    Constraints: null,
    Consul: null,
    Count: 1,
    EphemeralDisk: { Migrate: false, SizeMB: 300, Sticky: false },
    Meta: null,
    Migrate: null,
    Name: "g",
    Networks: null,
    ReschedulePolicy: {
      Attempts: 0,
      Delay: 30e9,
      DelayFunction: "exponential",
      Interval: 0,
      MaxDelay: 3600e9,
      Unlimited: true,
    },
    RestartPolicy: { Attempts: 2, Delay: 15e9, Interval: 1800e9, Mode: "fail" },
    Scaling: null,
    Services: null,
    ShutdownDelay: null,
    Spreads: null,
    StopAfterClientDisconnect: null,
    Tasks: [makeTask()],
    Update: null,
    Volumes: null,
    ...overrides,
  };
}

/** A service job `web` in `dc1` with the group of `makeGroup`. */
export function makeJob(overrides: Partial<Job> = {}): Job {
  return {
    Affinities: null,
    AllAtOnce: false,
    Constraints: null,
    ConsulNamespace: "",
    ConsulToken: "",
    CreateIndex: 0,
    Datacenters: ["dc1"],
    Dispatched: false,
    ID: "web",
    JobModifyIndex: 0,
    Meta: null,
    ModifyIndex: 0,
    Multiregion: null,
    Name: overrides.ID ?? "web",
    Namespace: "default",
    NomadTokenID: "",
    ParameterizedJob: null,
    ParentID: "",
    Payload: null,
    Periodic: null,
    Priority: 50,
    Region: "global",
    Spreads: null,
    Stable: false,
    Status: "pending",
    StatusDescription: "",
    Stop: false,
    SubmitTime: 0,
    TaskGroups: [makeGroup()],
    Type: "service",
    Update: {
      AutoPromote: false,
      AutoRevert: false,
      Canary: 0,
      HealthCheck: "",
      HealthyDeadline: 0,
      MaxParallel: 0,
      MinHealthyTime: 0,
      ProgressDeadline: 0,
      Stagger: 0,
    },
    VaultNamespace: "",
    VaultToken: "",
    Version: 0,
    ...overrides,
  };
}

/** A pending evaluation of a job. */
export function makeEvaluation(
  job: Pick<Job, "ID" | "Namespace" | "Priority" | "Type">,
  overrides: Partial<Evaluation> = {},
): Evaluation {
  return {
    CreateIndex: 0,
    CreateTime: 0,
    ID: generateUUID(),
    JobID: job.ID,
    ModifyIndex: 0,
    ModifyTime: 0,
    Namespace: job.Namespace,
    Priority: job.Priority,
    Status: "pending",
    TriggeredBy: "job-register",
    Type: job.Type,
    ...overrides,
  };
}
