/**
 * The placements of one plan, as the log carries them and the store keeps them: once for all, in columns. Allocations of a
 * group differ in little more than id, node and number; everything else is written once as a template.
 */
import {
  type AllocatedResources,
  type Allocation,
  allocIndexOf,
  allocName,
  type NodeRows,
} from "@drover/plugin-sdk";
import { Packr } from "msgpackr";
import { ALLOCATION_OPTIONAL, ALLOCATION_REQUIRED } from "./allocation-fields.js";
import { type NumberArray, type PackedColumn, packColumn, unpackColumn } from "./columnar.js";
import { decodeId, encodeId, UUID_BYTES } from "./keys.js";
import { MetricsPacker, MetricsReader, type PackedMetrics } from "./packed-metrics.js";

/** Fields that differ from one allocation of a template to the next. */
type Own =
  | "ID"
  | "NodeID"
  | "NodeName"
  | "Name"
  | "AllocatedResources"
  | "Metrics"
  | "Job"
  | "PreviousAllocation";
export type Template = Omit<Allocation, Own>;
const OWN: ReadonlySet<string> = new Set<Own>([
  "ID",
  "NodeID",
  "NodeName",
  "Name",
  "AllocatedResources",
  "Metrics",
  "Job",
  "PreviousAllocation",
]);

/** All ids in a row where every one is a UUID, else one by one. */
type PackedIds = Uint8Array | readonly Uint8Array[];

interface PackedBlock {
  readonly ids: PackedIds;
  readonly nodes: PackedIds;
  /** By node; "" for those that only scores name. */
  readonly nodeNames: readonly string[];
  readonly templates: readonly Template[];
  readonly resources: readonly AllocatedResources[];
  readonly metrics: PackedMetrics | null;
  /** Of each allocation: node, template, resources, metric plus one (0: null), and number in its group plus one. */
  readonly node: PackedColumn;
  readonly template: PackedColumn;
  readonly resource: PackedColumn;
  readonly metric: PackedColumn;
  readonly number: PackedColumn;
  /** Names that don't follow the pattern. */
  readonly names: readonly (readonly [at: number, name: string])[];
  /** Allocations that replace another. */
  readonly previous: readonly (readonly [at: number, id: Uint8Array])[];
  /** Allocations that exist already, and are updated in place. */
  readonly updates: readonly number[];
}

const NO_ROWS = new Int32Array(0);
const packer = new Packr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

type OptionalField = Exclude<(typeof ALLOCATION_OPTIONAL)[number], Own>;
type TemplateField = Exclude<(typeof ALLOCATION_REQUIRED)[number], Own> | OptionalField;
const isOwn = (field: string): field is Own => OWN.has(field);
const TEMPLATE_OPTIONAL = ALLOCATION_OPTIONAL.filter((field): field is OptionalField => !isOwn(field));
const TEMPLATE_FIELDS = [...ALLOCATION_REQUIRED, ...ALLOCATION_OPTIONAL].filter(
  (field): field is TemplateField => !isOwn(field),
);

/** Numbers things in the order they come, equal things alike. */
class Catalogue<T extends object> {
  readonly items: T[] = [];
  readonly #byIdentity = new Map<T, number>();
  readonly #byContent = new Map<string, number>();

  number(item: T): number {
    let at = this.#byIdentity.get(item);
    if (at !== undefined) return at;
    const content = packer.encode(item).toString("latin1");
    at = this.#byContent.get(content);
    if (at === undefined) {
      at = this.items.push(item) - 1;
      this.#byContent.set(content, at);
    }
    this.#byIdentity.set(item, at);
    return at;
  }
}

/** Bytes of a block of these allocations; one that has a CreateIndex exists already. */
export function packBlock(allocations: readonly Allocation[]): Uint8Array {
  const nodes: Uint8Array[] = [];
  const nodeNames: string[] = [];
  const numbers = new Map<string, number>();
  const nodeOf = (id: string, name = ""): number => {
    let at = numbers.get(id);
    if (at === undefined) {
      at = nodes.push(encodeId(id)) - 1;
      nodeNames.push(name);
      numbers.set(id, at);
    } else if (name !== "") nodeNames[at] = name;
    return at;
  };
  const templates = new Catalogue<Template>();
  const resources = new Catalogue<AllocatedResources>();
  const metrics = new MetricsPacker(nodeOf);
  const columns = {
    node: [] as number[],
    template: [] as number[],
    resource: [] as number[],
    metric: [] as number[],
    number: [] as number[],
  };
  const names: [number, string][] = [];
  const previous: [number, Uint8Array][] = [];
  const updates: number[] = [];
  let last: { readonly allocation: Allocation; readonly number: number } | undefined;
  for (const [at, allocation] of allocations.entries()) {
    if (last === undefined || !sharesTemplate(allocation, last.allocation))
      last = { allocation, number: templates.number(templateOf(allocation)) };
    columns.node.push(nodeOf(allocation.NodeID, allocation.NodeName));
    columns.template.push(last.number);
    columns.resource.push(resources.number(allocation.AllocatedResources));
    columns.metric.push(allocation.Metrics === null ? 0 : metrics.add(allocation.Metrics) + 1);
    const index = allocIndexOf(allocation.Name);
    const regular =
      index >= 0 && allocation.Name === allocName(allocation.JobID, allocation.TaskGroup, index);
    columns.number.push(regular && index < 0xffff_ffff ? index + 1 : 0);
    if (columns.number[at] === 0) names.push([at, allocation.Name]);
    if (allocation.PreviousAllocation !== undefined)
      previous.push([at, encodeId(allocation.PreviousAllocation)]);
    if (allocation.CreateIndex !== 0) updates.push(at);
  }
  const packed: PackedBlock = {
    ids: packIds(allocations.map(({ ID }) => encodeId(ID))),
    nodes: packIds(nodes),
    nodeNames,
    templates: templates.items,
    resources: resources.items,
    metrics: metrics.pack(),
    node: packColumn(columns.node),
    template: packColumn(columns.template),
    resource: packColumn(columns.resource),
    metric: packColumn(columns.metric),
    number: packColumn(columns.number),
    names,
    previous,
    updates,
  };
  return Uint8Array.from(packer.encode(packed));
}

function templateOf(allocation: Allocation): Template {
  const { ID, NodeID, NodeName, Name, AllocatedResources, Metrics, Job, PreviousAllocation, ...template } =
    allocation;
  return template;
}

/** Quick test, so that the placements of a group are compared instead of encoded. */
function sharesTemplate(a: Allocation, b: Allocation): boolean {
  for (const field of TEMPLATE_FIELDS) if (a[field] !== b[field]) return false;
  return true;
}

function packIds(ids: readonly Uint8Array[]): PackedIds {
  return ids.every((id) => id.length === UUID_BYTES) ? Buffer.concat(ids) : ids;
}

/** Index and time of the log entry that committed a block. */
export interface Commit {
  readonly index: number;
  /** Unix nanoseconds. */
  readonly time: number;
}

/**
 * A packed plan, read where it is needed. Resources are shared by the allocations that have them, and metrics are read when
 * they are asked for: nobody may change either in place.
 */
export class PlanBlock implements Iterable<Allocation> {
  readonly length: number;
  readonly nodeCount: number;
  readonly #packed: PackedBlock;
  readonly #node: NumberArray;
  readonly #template: NumberArray;
  readonly #resource: NumberArray;
  readonly #metric: NumberArray;
  readonly #number: NumberArray;
  readonly #names: ReadonlyMap<number, string>;
  readonly #previous: ReadonlyMap<number, string>;
  readonly #updates: ReadonlySet<number>;
  readonly #nodeIds: (string | undefined)[] = [];
  #metrics: MetricsReader | undefined;
  /** Rows of the block's nodes in `#rowsOf`, as of `#rowsVersion`. */
  #rows: Int32Array = NO_ROWS;
  #rowsOf: NodeRows | undefined;
  #rowsVersion = 0;

  constructor(readonly bytes: Uint8Array) {
    const packed = packer.decode(bytes as Buffer) as PackedBlock;
    this.#packed = packed;
    this.length = countIds(packed.ids);
    this.nodeCount = countIds(packed.nodes);
    this.#node = unpackColumn(packed.node, this.length);
    this.#template = unpackColumn(packed.template, this.length);
    this.#resource = unpackColumn(packed.resource, this.length);
    this.#metric = unpackColumn(packed.metric, this.length);
    this.#number = unpackColumn(packed.number, this.length);
    this.#names = new Map(packed.names);
    this.#previous = new Map(packed.previous.map(([at, id]) => [at, decodeId(id)]));
    this.#updates = new Set(packed.updates);
  }

  static of(allocations: readonly Allocation[]): PlanBlock {
    return new PlanBlock(packBlock(allocations));
  }

  get templates(): readonly Template[] {
    return this.#packed.templates;
  }

  get resources(): readonly AllocatedResources[] {
    return this.#packed.resources;
  }

  idBytes(at: number): Uint8Array {
    return idAt(this.#packed.ids, at);
  }

  id(at: number): string {
    return decodeId(this.idBytes(at));
  }

  /** Number of the node in the block. */
  node(at: number): number {
    return this.#node[at]!;
  }

  nodeIdBytes(node: number): Uint8Array {
    return idAt(this.#packed.nodes, node);
  }

  nodeId(node: number): string {
    let id = this.#nodeIds[node];
    if (id === undefined) {
      id = decodeId(this.nodeIdBytes(node));
      this.#nodeIds[node] = id;
    }
    return id;
  }

  /** Nodes that get an allocation, each once. */
  placedNodes(): string[] {
    const seen = new Uint8Array(this.nodeCount);
    for (const node of this.#node) seen[node] = 1;
    const ids: string[] = [];
    for (const [node, placed] of seen.entries()) if (placed === 1) ids.push(this.nodeId(node));
    return ids;
  }

  /** Number of the template in `templates`. */
  template(at: number): number {
    return this.#template[at]!;
  }

  templateAt(at: number): Template {
    return element(this.#packed.templates, this.#template[at]);
  }

  /** Number of the resources in `resources`. */
  resource(at: number): number {
    return this.#resource[at]!;
  }

  nameIndex(at: number): number {
    const number = this.#number[at]!;
    return number > 0 ? number - 1 : allocIndexOf(this.#names.get(at) ?? "");
  }

  /** Rows of the block's nodes as they are now, by their numbers; -1 for a node that has none. */
  nodeRows(columns: NodeRows): Int32Array {
    const version = columns.nodesVersion;
    if (this.#rowsOf !== columns || this.#rowsVersion !== version) {
      const { nodes } = this.#packed;
      this.#rows = new Int32Array(this.nodeCount);
      if (nodes instanceof Uint8Array && columns.rowsOf !== undefined) columns.rowsOf(nodes, this.#rows);
      else
        for (let node = 0; node < this.nodeCount; node++)
          this.#rows[node] = columns.row(this.nodeId(node)) ?? -1;
      this.#rowsOf = columns;
      this.#rowsVersion = version;
    }
    return this.#rows;
  }

  name(at: number): string {
    const number = this.#number[at]!;
    if (number === 0) return this.#names.get(at) ?? "";
    const { JobID, TaskGroup } = this.templateAt(at);
    return allocName(JobID, TaskGroup, number - 1);
  }

  previous(at: number): string | undefined {
    return this.#previous.get(at);
  }

  isUpdate(at: number): boolean {
    return this.#updates.has(at);
  }

  /** The allocation as it was planned, or as the entry that committed it left it. */
  allocation(at: number, commit?: Commit): Allocation {
    const template = this.templateAt(at);
    const node = this.#node[at]!;
    const metric = this.#metric[at]!;
    const metrics = (): Allocation["Metrics"] =>
      metric === 0 ? null : this.#metricsReader.metric(metric - 1);
    let read: Allocation["Metrics"] | undefined;
    const health = template.DeploymentStatus;
    const allocation: Allocation = {
      AllocModifyIndex: commit?.index ?? template.AllocModifyIndex,
      AllocatedResources: element(this.#packed.resources, this.#resource[at]),
      ClientDescription: template.ClientDescription,
      ClientStatus: template.ClientStatus,
      CreateIndex: commit?.index ?? template.CreateIndex,
      CreateTime: commit?.time ?? template.CreateTime,
      DeploymentID: template.DeploymentID,
      DeploymentStatus:
        health === null || commit === undefined
          ? health
          : { ...health, ModifyIndex: health.ModifyIndex || commit.index },
      DesiredStatus: template.DesiredStatus,
      EvalID: template.EvalID,
      ID: this.id(at),
      Job: null,
      JobID: template.JobID,
      JobVersion: template.JobVersion,
      // Read when asked for: schedulers and most of the API never look.
      get Metrics() {
        read ??= metrics();
        return read;
      },
      set Metrics(value) {
        read = value;
      },
      ModifyIndex: commit?.index ?? template.ModifyIndex,
      ModifyTime: commit?.time ?? template.ModifyTime,
      Name: this.name(at),
      Namespace: template.Namespace,
      NetworkStatus: template.NetworkStatus,
      NodeID: this.nodeId(node),
      NodeName: this.#packed.nodeNames[node] ?? "",
      TaskGroup: template.TaskGroup,
      TaskStates: template.TaskStates,
    };
    for (const field of TEMPLATE_OPTIONAL) copyField(template, allocation, field);
    const previous = this.#previous.get(at);
    if (previous !== undefined) allocation.PreviousAllocation = previous;
    return allocation;
  }

  /** The block without what is on some nodes. Its tables stay as they are, so nothing has to be read for it. */
  without(nodes: { has(nodeId: string): boolean }): PlanBlock {
    const gone = Array.from({ length: this.nodeCount }, (_, node) => nodes.has(this.nodeId(node)));
    const kept: number[] = [];
    const moved = new Map<number, number>();
    for (const [at, node] of this.#node.entries()) {
      if (gone[node] === true) continue;
      moved.set(at, kept.length);
      kept.push(at);
    }
    const select = (column: NumberArray): PackedColumn => packColumn(kept.map((at) => column[at]!));
    const stillThere = <T>(pairs: readonly (readonly [number, T])[]): (readonly [number, T])[] =>
      pairs.flatMap(([at, value]) => (moved.has(at) ? [[moved.get(at)!, value] as const] : []));
    const packed: PackedBlock = {
      ...this.#packed,
      ids: packIds(kept.map((at) => this.idBytes(at))),
      node: select(this.#node),
      template: select(this.#template),
      resource: select(this.#resource),
      metric: select(this.#metric),
      number: select(this.#number),
      names: stillThere(this.#packed.names),
      previous: stillThere(this.#packed.previous),
      updates: this.#packed.updates.flatMap((at) => moved.get(at) ?? []),
    };
    return new PlanBlock(Uint8Array.from(packer.encode(packed)));
  }

  *[Symbol.iterator](): Generator<Allocation> {
    for (let at = 0; at < this.length; at++) yield this.allocation(at);
  }

  get #metricsReader(): MetricsReader {
    if (this.#packed.metrics === null)
      throw new Error("plan in the log is damaged: it names metrics and has none");
    this.#metrics ??= new MetricsReader(this.#packed.metrics, (node) => this.nodeId(node));
    return this.#metrics;
  }
}

function copyField<K extends keyof Template>(from: Template, to: Allocation, field: K): void {
  if (from[field] !== undefined) (to as Template)[field] = from[field];
}

function countIds(ids: PackedIds): number {
  return ids instanceof Uint8Array ? ids.length / UUID_BYTES : ids.length;
}

function idAt(ids: PackedIds, at: number): Uint8Array {
  return ids instanceof Uint8Array ? ids.subarray(at * UUID_BYTES, (at + 1) * UUID_BYTES) : element(ids, at);
}

function element<T>(items: readonly T[], index: number | undefined): T {
  const item = index === undefined ? undefined : items[index];
  if (item === undefined)
    throw new Error(`plan in the log is damaged: no element ${index} of ${items.length}`);
  return item;
}
