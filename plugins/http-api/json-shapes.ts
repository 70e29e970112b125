/** How the API prints what the state store holds: list stubs, joined and legacy fields, fields left out while empty. */
import type {
  AllocatedTaskResources,
  Allocation,
  AllocListStub,
  Evaluation,
  Job,
  JobListStub,
  JobSummary,
  Node,
  NodeListStub,
  Resources,
} from "@drover/plugin-sdk";

export function jobStub(job: Job, summary: JobSummary | null): JobListStub {
  return {
    CreateIndex: job.CreateIndex,
    Datacenters: job.Datacenters,
    ID: job.ID,
    JobModifyIndex: job.JobModifyIndex,
    JobSummary: summary,
    ModifyIndex: job.ModifyIndex,
    Multiregion: job.Multiregion,
    Name: job.Name,
    Namespace: job.Namespace,
    ParameterizedJob: job.ParameterizedJob !== null && !job.Dispatched,
    ParentID: job.ParentID,
    Periodic: job.Periodic !== null,
    Priority: job.Priority,
    Status: job.Status,
    StatusDescription: job.StatusDescription,
    Stop: job.Stop,
    SubmitTime: job.SubmitTime,
    Type: job.Type,
  };
}

const NO_TRANSITION = { ForceReschedule: null, Migrate: null, Reschedule: null } as const;

export function allocationStub(alloc: Allocation, jobType: string, withResources: boolean): AllocListStub {
  return {
    ...(withResources ? { AllocatedResources: alloc.AllocatedResources } : undefined),
    ClientDescription: alloc.ClientDescription,
    ClientStatus: alloc.ClientStatus,
    CreateIndex: alloc.CreateIndex,
    CreateTime: alloc.CreateTime,
    DeploymentStatus: alloc.DeploymentStatus,
    DesiredDescription: alloc.DesiredDescription ?? "",
    DesiredStatus: alloc.DesiredStatus,
    DesiredTransition: alloc.DesiredTransition ?? NO_TRANSITION,
    EvalID: alloc.EvalID,
    FollowupEvalID: alloc.FollowupEvalID ?? "",
    ID: alloc.ID,
    JobID: alloc.JobID,
    JobType: jobType,
    JobVersion: alloc.JobVersion,
    ModifyIndex: alloc.ModifyIndex,
    ModifyTime: alloc.ModifyTime,
    Name: alloc.Name,
    Namespace: alloc.Namespace,
    NodeID: alloc.NodeID,
    NodeName: alloc.NodeName,
    PreemptedAllocations: alloc.PreemptedAllocations ?? null,
    PreemptedByAllocation: alloc.PreemptedByAllocation ?? "",
    RescheduleTracker: alloc.RescheduleTracker ?? null,
    TaskGroup: alloc.TaskGroup,
    TaskStates: alloc.TaskStates,
  };
}

const ALLOCATION_OMITTED_WHEN_EMPTY = [
  "AllocStates",
  "DesiredDescription",
  "FollowupEvalID",
  "NextAllocation",
  "PreemptedAllocations",
  "PreemptedByAllocation",
  "PreviousAllocation",
  "RescheduleTracker",
] as const;

/** A whole allocation with its job, and the legacy forms of its resources. */
export function allocationDetail(alloc: Allocation, job: Job | null): Omit<Allocation, "JobVersion"> {
  const { JobVersion: _, ...stored } = alloc;
  const { Shared, Tasks } = alloc.AllocatedResources;
  const detail: Omit<Allocation, "JobVersion"> = {
    ...stored,
    Job: job,
    Resources: totalResources(alloc),
    SharedResources: legacy({ DiskMB: Shared.DiskMB, Networks: Shared.Networks }),
    TaskResources: Object.fromEntries(
      Object.entries(Tasks).map(([name, task]) => [name, taskResources(task)]),
    ),
  };
  omitEmpty(detail, ALLOCATION_OMITTED_WHEN_EMPTY);
  const transition = detail.DesiredTransition;
  if (transition !== undefined && Object.values(transition ?? {}).every((wish) => wish === null)) {
    delete detail.DesiredTransition;
  }
  return detail;
}

function legacy(parts: Partial<Resources>): Resources {
  return {
    CPU: 0,
    Cores: 0,
    Devices: null,
    DiskMB: 0,
    IOPS: 0,
    MemoryMB: 0,
    MemoryMaxMB: 0,
    Networks: null,
    ...parts,
  };
}

function taskResources(task: AllocatedTaskResources): Resources {
  return legacy({
    CPU: task.Cpu.CpuShares,
    Cores: task.Cpu.ReservedCores?.length ?? 0,
    MemoryMB: task.Memory.MemoryMB,
    MemoryMaxMB: task.Memory.MemoryMaxMB,
    Networks: task.Networks,
  });
}

interface Usage {
  cpu: number;
  cores: number;
  memory: number;
  memoryMax: number;
}

/**
 * What the allocation takes at once: tasks that run before or after the main ones don't add to them, only sidecars do.
 */
function totalResources(alloc: Allocation): Resources {
  const { Shared, Tasks, TaskLifecycles } = alloc.AllocatedResources;
  const phase = () => ({ cpu: 0, cores: 0, memory: 0, memoryMax: 0 });
  const [main, before, after, sidecars] = [phase(), phase(), phase(), phase()];
  const networks = [...(Shared.Networks ?? [])];
  for (const [name, task] of Object.entries(Tasks)) {
    const lifecycle = TaskLifecycles?.[name] ?? null;
    if (lifecycle === null) add(main, task);
    else if (lifecycle.Sidecar) add(sidecars, task);
    else add(lifecycle.Hook === "prestart" ? before : lifecycle.Hook === "poststop" ? after : main, task);
    networks.push(...(task.Networks ?? []));
  }
  const peak = (key: keyof Usage) => Math.max(main[key], before[key], after[key]) + sidecars[key];
  return legacy({
    CPU: peak("cpu"),
    Cores: peak("cores"),
    DiskMB: Shared.DiskMB,
    MemoryMB: peak("memory"),
    MemoryMaxMB: peak("memoryMax"),
    Networks: networks.length === 0 ? null : networks,
  });
}

function add(usage: Usage, task: AllocatedTaskResources): void {
  usage.cpu += task.Cpu.CpuShares;
  usage.cores += task.Cpu.ReservedCores?.length ?? 0;
  usage.memory += task.Memory.MemoryMB;
  usage.memoryMax += task.Memory.MemoryMaxMB || task.Memory.MemoryMB;
}

const EVALUATION_OMITTED_WHEN_EMPTY = [
  "AnnotatePlan",
  "BlockedEval",
  "ClassEligibility",
  "DeploymentID",
  "EscapedComputedClass",
  "FailedTGAllocs",
  "JobModifyIndex",
  "NextEval",
  "NodeID",
  "NodeModifyIndex",
  "PlanAnnotations",
  "PreviousEval",
  "QueuedAllocations",
  "QuotaLimitReached",
  "SnapshotIndex",
  "StatusDescription",
  "Wait",
  "WaitUntil",
] as const;

export function evaluationDetail(evaluation: Evaluation): Evaluation {
  const { LeaderACL: _, ...detail } = evaluation;
  omitEmpty(detail, EVALUATION_OMITTED_WHEN_EMPTY);
  return detail;
}

/** An evaluation that a dry run would have made: it is in no state, so it has no indexes. */
export function plannedEvaluation(evaluation: Evaluation): Partial<Evaluation> {
  const { CreateIndex: _c, ModifyIndex: _m, SnapshotIndex: _s, JobModifyIndex: _j, ...planned } = evaluation;
  return evaluationDetail(planned as Evaluation);
}

/** Removes the named fields where they are "", 0, false, null, or have nothing in them. */
function omitEmpty<T extends object, K extends keyof T>(
  value: T,
  keys: readonly (K & { [P in K]-?: undefined extends T[P] ? P : never }[K])[],
): void {
  for (const key of keys) {
    const field: unknown = value[key];
    const nothing =
      !field ||
      (typeof field === "object" && Object.keys(field).length === 0) ||
      field === "0001-01-01T00:00:00Z";
    if (nothing) delete value[key];
  }
}

/** A node as others may see it: its secret stays on the servers. */
export function nodeDetail(node: Node): Node {
  return { ...node, SecretID: "" };
}

export function nodeStub(node: Node, withResources: boolean): NodeListStub {
  return {
    Address: hostOf(node.HTTPAddr),
    CreateIndex: node.CreateIndex,
    Datacenter: node.Datacenter,
    Drain: node.DrainStrategy !== null,
    Drivers: node.Drivers,
    HostVolumes: node.HostVolumes,
    ID: node.ID,
    LastDrain: node.LastDrain,
    ModifyIndex: node.ModifyIndex,
    Name: node.Name,
    NodeClass: node.NodeClass,
    ...(withResources
      ? { NodeResources: node.NodeResources, ReservedResources: node.ReservedResources }
      : undefined),
    SchedulingEligibility: node.SchedulingEligibility,
    Status: node.Status,
    StatusDescription: node.StatusDescription,
    Version: node.Attributes["nomad.version"] ?? "",
  };
}

function hostOf(address: string): string {
  const colon = address.lastIndexOf(":");
  return (colon < 0 ? address : address.slice(0, colon)).replace(/^\[(.*)\]$/, "$1");
}
