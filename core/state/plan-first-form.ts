/** Plans as the log carried them at first: placements as tuples of numbers. Read, and never written any more. */
import { type Allocation, allocName, type NodeScoreMeta } from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "./commands.js";
import { ALLOCATION_OPTIONAL } from "./read/allocation-fields.js";
import { decodeId, UUID_BYTES } from "./read/keys.js";

type Plan = CommandPayloads[typeof CommandType.PlanApply];

/** Fields of an allocation that a template does not hold. */
type Placed = "ID" | "NodeID" | "NodeName" | "Name" | "AllocatedResources" | "Metrics";
type Template = Omit<Allocation, Placed>;

/** Scores name nodes by their number in the plan. */
type PackedScore = readonly [node: number, norm: number, scores: Readonly<Record<string, number>>];

export interface FirstPlanForm {
  readonly rest: Omit<Plan, "Placed">;
  /** Id and name of each node that the plan names. */
  readonly nodes: readonly (readonly [id: Uint8Array, name: string])[];
  readonly templates: readonly Template[];
  readonly resources: readonly Allocation["AllocatedResources"][];
  readonly metrics: readonly (readonly [rest: object, scores: readonly PackedScore[] | null] | null)[];
  /** All ids in a row, 16 bytes each, where every one is a UUID; else one by one. */
  readonly ids: Uint8Array | readonly Uint8Array[];
  /** Template, node, resources, metrics and name of each allocation; a name that follows the pattern is its number. */
  readonly placed: readonly (readonly [number, number, number, number, number | string])[];
}

/** The plan; allocations share what they had in common, so nobody may change it in place. */
export function unpackFirstForm(packed: FirstPlanForm): Plan {
  const nodes = packed.nodes.map(([id, name]) => [decodeId(id), name] as const);
  const metrics = packed.metrics.map((entry): Allocation["Metrics"] => {
    if (entry === null) return null;
    const [rest, scores] = entry;
    const named = scores?.map(([node, NormScore, Scores]): NodeScoreMeta => {
      return { NodeID: at(nodes, node)[0], NormScore, Scores: { ...Scores } };
    });
    return { ...(rest as NonNullable<Allocation["Metrics"]>), ScoreMetaData: named ?? null };
  });
  const { ids } = packed;
  const idOf = (i: number): string =>
    ids instanceof Uint8Array ? decodeId(ids, i * UUID_BYTES, (i + 1) * UUID_BYTES) : decodeId(at(ids, i));
  const Placed = packed.placed.map(([template, node, resources, metric, name], i): Allocation => {
    const common = at(packed.templates, template);
    const [NodeID, NodeName] = at(nodes, node);
    return assemble(common, {
      ID: idOf(i),
      NodeID,
      NodeName,
      Name: typeof name === "number" ? allocName(common.JobID, common.TaskGroup, name) : name,
      AllocatedResources: at(packed.resources, resources),
      Metrics: at(metrics, metric),
    });
  });
  return { ...packed.rest, Placed };
}

/** Field by field, which is several times faster than spreading objects that MessagePack made. */
function assemble(template: Template, own: Pick<Allocation, Placed>): Allocation {
  const allocation: Allocation = {
    AllocModifyIndex: template.AllocModifyIndex,
    AllocatedResources: own.AllocatedResources,
    ClientDescription: template.ClientDescription,
    ClientStatus: template.ClientStatus,
    CreateIndex: template.CreateIndex,
    CreateTime: template.CreateTime,
    DeploymentID: template.DeploymentID,
    DeploymentStatus: template.DeploymentStatus,
    DesiredStatus: template.DesiredStatus,
    EvalID: template.EvalID,
    ID: own.ID,
    Job: null,
    JobID: template.JobID,
    JobVersion: template.JobVersion,
    Metrics: own.Metrics,
    ModifyIndex: template.ModifyIndex,
    ModifyTime: template.ModifyTime,
    Name: own.Name,
    Namespace: template.Namespace,
    NetworkStatus: template.NetworkStatus,
    NodeID: own.NodeID,
    NodeName: own.NodeName,
    TaskGroup: template.TaskGroup,
    TaskStates: template.TaskStates,
  };
  for (const field of ALLOCATION_OPTIONAL) copyField(template, allocation, field);
  return allocation;
}

function copyField<K extends keyof Template>(from: Template, to: Allocation, field: K): void {
  if (from[field] !== undefined) (to as Template)[field] = from[field];
}

function at<T>(items: readonly T[], index: number): T {
  if (!Number.isInteger(index) || index < 0 || index >= items.length) {
    throw new Error(`plan in the log is damaged: no element ${index} of ${items.length}`);
  }
  return items[index] as T;
}
