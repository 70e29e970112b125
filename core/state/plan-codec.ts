/**
 * Tight form of a committed plan. Allocations of one group differ in little more than id, node and number, so everything
 * else is written once as a template, and a placement is 16 bytes of id and three small numbers.
 */
import { type Allocation, allocIndexOf, allocName, type NodeScoreMeta } from "@drover/plugin-sdk";
import { Packr } from "msgpackr";
import type { CommandPayloads, CommandType } from "./commands.js";
import { decodeId, encodeId } from "./read/keys.js";
import { ALLOCATION_OPTIONAL, ALLOCATION_REQUIRED } from "./read/rows.js";

type Plan = CommandPayloads[typeof CommandType.PlanApply];

/** Fields of an allocation that a template does not hold. */
type Placed = "ID" | "NodeID" | "NodeName" | "Name" | "AllocatedResources" | "Metrics";
type Template = Omit<Allocation, Placed>;
const OWN_FIELDS: ReadonlySet<string> = new Set<Placed>([
  "ID",
  "NodeID",
  "NodeName",
  "Name",
  "AllocatedResources",
  "Metrics",
]);

/** Scores name nodes by their number in the plan. */
type PackedScore = readonly [node: number, norm: number, scores: Readonly<Record<string, number>>];

export interface PackedPlan {
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

const UUID_BYTES = 16;
const packer = new Packr({ useRecords: false });

/** Numbers things in the order they come, equal things alike. */
class Catalogue<T> {
  readonly items: T[] = [];
  private readonly byIdentity = new Map<unknown, number>();
  private readonly byContent = new Map<string, number>();

  number(item: T): number {
    const known = this.byIdentity.get(item);
    if (known !== undefined) return known;
    const at = this.numberByContent(item);
    this.byIdentity.set(item, at);
    return at;
  }

  /** For items made on the way, whose identity says nothing. */
  numberByContent(item: T): number {
    const content = packer.encode(item).toString("latin1");
    let at = this.byContent.get(content);
    if (at === undefined) {
      at = this.items.push(item) - 1;
      this.byContent.set(content, at);
    }
    return at;
  }
}

/** Numbers the nodes of a plan. Scores name nodes that get nothing, and those have no name here. */
class Nodes {
  readonly items: [id: Uint8Array, name: string][] = [];
  private readonly numbers = new Map<string, number>();

  number(id: string, name?: string): number {
    let at = this.numbers.get(id);
    if (at === undefined) {
      at = this.items.push([encodeId(id), name ?? ""]) - 1;
      this.numbers.set(id, at);
    } else if (name !== undefined) {
      (this.items[at] as [Uint8Array, string])[1] = name;
    }
    return at;
  }
}

export function packPlan(plan: Plan): PackedPlan {
  const { Placed: placements, ...rest } = plan;
  const nodes = new Nodes();
  const templates = new Catalogue<Template>();
  const resources = new Catalogue<Allocation["AllocatedResources"]>();
  const metrics = new Catalogue<PackedPlan["metrics"][number]>();
  const packedMetrics = new Map<Allocation["Metrics"], number>();
  const ids: Uint8Array[] = [];
  let last: { readonly allocation: Allocation; readonly template: number } | undefined;
  const templateOf = (allocation: Allocation): number => {
    if (last === undefined || !sharesTemplate(allocation, last.allocation)) {
      last = { allocation, template: templates.numberByContent(templateFrom(allocation)) };
    }
    return last.template;
  };
  const metricsOf = (found: Allocation["Metrics"]): number => {
    let at = packedMetrics.get(found);
    if (at === undefined) {
      at = metrics.numberByContent(packMetrics(found, nodes));
      packedMetrics.set(found, at);
    }
    return at;
  };
  const placed = placements.map((allocation) => {
    const { ID, Name, JobID, TaskGroup } = allocation;
    ids.push(encodeId(ID));
    const index = allocIndexOf(Name);
    return [
      templateOf(allocation),
      nodes.number(allocation.NodeID, allocation.NodeName),
      resources.number(allocation.AllocatedResources),
      metricsOf(allocation.Metrics),
      index >= 0 && Name === allocName(JobID, TaskGroup, index) ? index : Name,
    ] as const;
  });
  return {
    rest,
    nodes: nodes.items,
    templates: templates.items,
    resources: resources.items,
    metrics: metrics.items,
    ids: ids.every((id) => id.length === UUID_BYTES) ? Buffer.concat(ids) : ids,
    placed,
  };
}

/** Fields that a template holds. */
const TEMPLATE_FIELDS: readonly (keyof Template)[] = [...ALLOCATION_REQUIRED, ...ALLOCATION_OPTIONAL].filter(
  (field): field is Exclude<typeof field, Placed> => !OWN_FIELDS.has(field),
);

function templateFrom(allocation: Allocation): Template {
  const { ID, NodeID, NodeName, Name, AllocatedResources, Metrics, ...template } = allocation;
  return { ...template, Job: null };
}

/** Quick test, so that the placements of a group are compared instead of encoded. */
function sharesTemplate(a: Allocation, b: Allocation): boolean {
  for (const field of TEMPLATE_FIELDS) if (a[field] !== b[field]) return false;
  return true;
}

function packMetrics(metrics: Allocation["Metrics"], nodes: Nodes): PackedPlan["metrics"][number] {
  if (metrics === null) return null;
  const { ScoreMetaData, ...rest } = metrics;
  const scores = ScoreMetaData?.map((s) => [nodes.number(s.NodeID), s.NormScore, s.Scores] as const) ?? null;
  return [rest, scores];
}

/** The plan again; allocations share what they had in common, so nobody may change it in place. */
export function unpackPlan(packed: PackedPlan): Plan {
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
