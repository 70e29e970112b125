/**
 * Encoding of rows: MessagePack, with the shapes that fill the store written as a number instead of their field names.
 *
 * The list of shapes is part of the code and of the schema version, not of the data. `lmdb`'s shared structures would
 * learn shapes by themselves, but keep what they learned in memory when the transaction that stored it aborts, and
 * write rows from then on that no other thread can read (there is a test of it).
 */
import type {
  AllocatedResources,
  AllocatedTaskResources,
  Allocation,
  AllocMetric,
  Evaluation,
} from "@drover/plugin-sdk";
import { Packr, RESET_BUFFER_MODE } from "msgpackr";
import { ALLOCATION_OPTIONAL, ALLOCATION_REQUIRED } from "./allocation-fields.js";
import { allocationRowEncoder } from "./allocation-rows.js";
import type { RowEncoder } from "./row-encoder.js";

const EVALUATION_OPTIONAL = [
  "AnnotatePlan",
  "BlockedEval",
  "ClassEligibility",
  "DeploymentID",
  "EscapedComputedClass",
  "FailedTGAllocs",
  "JobModifyIndex",
  "LeaderACL",
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
] as const satisfies readonly (keyof Evaluation)[];

/** Shapes by number. Append only: the numbers are in every stored row. */
const SHAPES: readonly (readonly string[])[] = [
  // Allocation, without its optional fields and the two parts that are encoded by themselves
  ALLOCATION_REQUIRED.filter((field) => field !== "AllocatedResources" && field !== "Metrics"),
  // AllocatedResources and its parts
  ["Shared", "TaskLifecycles", "Tasks"],
  ["DiskMB", "Networks", "Ports"],
  ["Cpu", "Devices", "Memory", "Networks"],
  ["CpuShares", "ReservedCores"],
  ["MemoryMB", "MemoryMaxMB"],
  // AllocMetric and its scores
  [
    "AllocationTime",
    "ClassExhausted",
    "ClassFiltered",
    "CoalescedFailures",
    "ConstraintFiltered",
    "DimensionExhausted",
    "NodesAvailable",
    "NodesEvaluated",
    "NodesExhausted",
    "NodesFiltered",
    "QuotaExhausted",
    "ResourcesExhausted",
    "ScoreMetaData",
    "Scores",
  ],
  ["NodeID", "NormScore", "Scores"],
  // AllocDeploymentStatus
  ["Canary", "Healthy", "ModifyIndex", "Timestamp"],
  // Evaluation, without its optional fields
  [
    "CreateIndex",
    "CreateTime",
    "ID",
    "JobID",
    "ModifyIndex",
    "ModifyTime",
    "Namespace",
    "Priority",
    "Status",
    "TriggeredBy",
    "Type",
  ],
];

/** Only objects that start like a known shape are looked up, so that maps of users' keys leave nothing behind. */
const FIRST_FIELDS = new Set(SHAPES.map((shape) => shape[0]));

function startsLikeAShape(value: object): boolean {
  for (const key in value) return FIRST_FIELDS.has(key);
  return false;
}

/** The packer of rows; one a thread is enough, it keeps no state between rows. */
export function createRowPacker(): Packr {
  const structures = SHAPES.map((shape) => [...shape]) as string[][] & { sharedLength?: number };
  structures.sharedLength = structures.length;
  return new Packr({
    structures: structures as unknown as never[],
    maxSharedStructures: structures.length,
    maxOwnStructures: 0,
    mapsAsObjects: true,
    // Values live in LMDB's own memory until the next read.
    copyBuffers: true,
    useRecords: startsLikeAShape as unknown as boolean,
  } as ConstructorParameters<typeof Packr>[0]);
}

function packedAs<Row extends object, Stored>(
  packer: Packr,
  store: (row: Row) => Stored,
  load: (stored: Stored) => Row,
): RowEncoder {
  return {
    copyBuffers: true,
    encode: (value, mode) => packer.encode(store(value as Row), mode as never) as Buffer,
    decode: (bytes, options) => load(packer.decode(bytes as Buffer, options as never) as Stored),
  };
}

/** A row in two parts: the fields that are always there, and those that are at times. */
type Split<Row> = readonly [required: Row, optional: Partial<Row> | null];

function optionalPart<Row extends object>(row: Row, fields: readonly (keyof Row)[]): Partial<Row> | null {
  let part: Partial<Row> | null = null;
  for (const field of fields) {
    const value = row[field];
    if (value !== undefined) {
      part ??= {};
      part[field] = value;
    }
  }
  return part;
}

function join<Row extends object>([required, optional]: Split<Row>): Row {
  return optional === null ? required : Object.assign(required, optional);
}

function shapeTask(task: AllocatedTaskResources): AllocatedTaskResources {
  return {
    Cpu: { CpuShares: task.Cpu.CpuShares, ReservedCores: task.Cpu.ReservedCores },
    Devices: task.Devices,
    Memory: { MemoryMB: task.Memory.MemoryMB, MemoryMaxMB: task.Memory.MemoryMaxMB },
    Networks: task.Networks,
  };
}

function shapeResources(resources: AllocatedResources): AllocatedResources {
  const tasks: Record<string, AllocatedTaskResources> = {};
  for (const [name, task] of Object.entries(resources.Tasks)) tasks[name] = shapeTask(task);
  const { DiskMB, Networks, Ports } = resources.Shared;
  return { Shared: { DiskMB, Networks, Ports }, TaskLifecycles: resources.TaskLifecycles, Tasks: tasks };
}

function shapeMetrics(metrics: AllocMetric): AllocMetric {
  return {
    AllocationTime: metrics.AllocationTime,
    ClassExhausted: metrics.ClassExhausted,
    ClassFiltered: metrics.ClassFiltered,
    CoalescedFailures: metrics.CoalescedFailures,
    ConstraintFiltered: metrics.ConstraintFiltered,
    DimensionExhausted: metrics.DimensionExhausted,
    NodesAvailable: metrics.NodesAvailable,
    NodesEvaluated: metrics.NodesEvaluated,
    NodesExhausted: metrics.NodesExhausted,
    NodesFiltered: metrics.NodesFiltered,
    QuotaExhausted: metrics.QuotaExhausted,
    ResourcesExhausted: metrics.ResourcesExhausted,
    ScoreMetaData:
      metrics.ScoreMetaData?.map(({ NodeID, NormScore, Scores }) => ({ NodeID, NormScore, Scores })) ?? null,
    Scores: metrics.Scores,
  };
}

/** An allocation's row. Resources and metrics come last, so that their bytes can be put there as they are. */
type AllocationRow = readonly [
  required: Omit<Allocation, "AllocatedResources" | "Metrics">,
  optional: Partial<Allocation> | null,
  resources: AllocatedResources,
  metrics: AllocMetric | null,
];

function allocationHead(a: Allocation): readonly [AllocationRow[0], AllocationRow[1]] {
  const health = a.DeploymentStatus;
  return [
    {
      AllocModifyIndex: a.AllocModifyIndex,
      ClientDescription: a.ClientDescription,
      ClientStatus: a.ClientStatus,
      CreateIndex: a.CreateIndex,
      CreateTime: a.CreateTime,
      DeploymentID: a.DeploymentID,
      DeploymentStatus:
        health === null
          ? null
          : {
              Canary: health.Canary,
              Healthy: health.Healthy,
              ModifyIndex: health.ModifyIndex,
              Timestamp: health.Timestamp,
            },
      DesiredStatus: a.DesiredStatus,
      EvalID: a.EvalID,
      ID: a.ID,
      Job: null,
      JobID: a.JobID,
      JobVersion: a.JobVersion,
      ModifyIndex: a.ModifyIndex,
      ModifyTime: a.ModifyTime,
      Name: a.Name,
      Namespace: a.Namespace,
      NetworkStatus: a.NetworkStatus,
      NodeID: a.NodeID,
      NodeName: a.NodeName,
      TaskGroup: a.TaskGroup,
      TaskStates: a.TaskStates,
    },
    optionalPart(a, ALLOCATION_OPTIONAL),
  ];
}

function joinAllocation([required, optional, AllocatedResources, Metrics]: AllocationRow): Allocation {
  const row = required as Allocation;
  row.AllocatedResources = AllocatedResources;
  row.Metrics = Metrics;
  return optional === null ? row : Object.assign(row, optional);
}

/** First byte of a MessagePack array of four elements. */
const ARRAY_OF_FOUR = 0x94;

/**
 * Encoder of allocations. The placements of a plan share the objects of their resources and metrics, so these are encoded
 * once a plan and their bytes copied into each row: arrays of MessagePack are nothing but their elements in a row.
 */
function allocationEncoder(packer: Packr): RowEncoder {
  const parts = new WeakMap<object, Buffer>();
  const nothing = Buffer.from(packer.encode(null));
  const partOf = <T extends object>(value: T | null, shape: (value: T) => T): Buffer => {
    if (value === null) return nothing;
    let bytes = parts.get(value);
    if (bytes === undefined) {
      bytes = Buffer.from(packer.encode(shape(value)));
      parts.set(value, bytes);
    }
    return bytes;
  };
  return {
    copyBuffers: true,
    encode: (value) => {
      const allocation = value as Allocation;
      const resources = partOf(allocation.AllocatedResources, shapeResources);
      const metrics = partOf(allocation.Metrics, shapeMetrics);
      // Its bytes are copied at once, so the packer may use the same space for the next row.
      const head = packer.encode(allocationHead(allocation), RESET_BUFFER_MODE as never);
      const row = Buffer.allocUnsafe(head.length + resources.length + metrics.length);
      row.set(head, 0);
      row[0] = ARRAY_OF_FOUR;
      row.set(resources, head.length);
      row.set(metrics, head.length + resources.length);
      return row;
    },
    decode: (bytes, options) =>
      joinAllocation(packer.decode(bytes as Buffer, options as never) as AllocationRow),
  };
}

function storeEvaluation(e: Evaluation): Split<Evaluation> {
  return [
    {
      CreateIndex: e.CreateIndex,
      CreateTime: e.CreateTime,
      ID: e.ID,
      JobID: e.JobID,
      ModifyIndex: e.ModifyIndex,
      ModifyTime: e.ModifyTime,
      Namespace: e.Namespace,
      Priority: e.Priority,
      Status: e.Status,
      TriggeredBy: e.TriggeredBy,
      Type: e.Type,
    },
    optionalPart(e, EVALUATION_OPTIONAL),
  ];
}

/** Encoders of the tables' rows. */
export interface RowEncoders {
  readonly plain: RowEncoder;
  readonly allocation: RowEncoder;
  readonly evaluation: RowEncoder;
}

export function createRowEncoders(packer = createRowPacker()): RowEncoders {
  const same = (row: object): object => row;
  return {
    plain: packedAs<object, object>(packer, same, same),
    allocation: allocationRowEncoder(packer, allocationEncoder(packer)),
    evaluation: packedAs<Evaluation, Split<Evaluation>>(packer, storeEvaluation, join),
  };
}
