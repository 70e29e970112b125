/** The outline of an allocation in a block, read field by field where it is asked for. */
import {
  type AllocatedResources,
  type Allocation,
  type AllocationOutline,
  type AllocClientStatus,
  type AllocDesiredStatus,
  type DesiredTransition,
  type NodeRows,
  STORED_OUTLINE,
  type StoredOutline,
} from "@drover/plugin-sdk";
import { CHANGED, clientStatusOf, desiredStatusOf } from "./block-states.js";
import type { PlanBlock, Template } from "./plan-block.js";

/** What the outlines of one block in one snapshot share. */
export class OutlineSource {
  #columns: NodeRows | undefined;
  #rows: Int32Array = NO_ROWS;

  constructor(
    readonly block: PlanBlock,
    /** Index of the log entry that committed the block. */
    readonly index: number,
    /** Reads a row; throws once the snapshot is closed. */
    readonly read: (id: string) => Allocation,
  ) {}

  /** Looked up once: who goes over the allocations of a job sees the nodes as they were when it began. */
  nodeRow(node: number, columns: NodeRows): number | undefined {
    if (this.#columns !== columns) {
      this.#rows = this.block.nodeRows(columns);
      this.#columns = columns;
    }
    const row = this.#rows[node]!;
    return row < 0 ? undefined : row;
  }
}

const NO_ROWS = new Int32Array(0);

export class PlacedOutline implements AllocationOutline, StoredOutline {
  private readonly template: Template;
  #whole: Allocation | undefined;

  constructor(
    private readonly source: OutlineSource,
    private readonly position: number,
    private readonly state: number,
  ) {
    this.template = source.block.templateAt(position);
  }

  get [STORED_OUTLINE](): StoredOutline {
    return this;
  }

  whole(): Allocation {
    this.#whole ??= this.source.read(this.ID);
    return this.#whole;
  }

  nodeRow(columns: NodeRows): number | undefined {
    const { source, position } = this;
    return source.nodeRow(source.block.node(position), columns);
  }

  nameIndex(): number {
    return this.source.block.nameIndex(this.position);
  }

  get ID(): string {
    return this.source.block.id(this.position);
  }

  get Name(): string {
    return this.source.block.name(this.position);
  }

  get NodeID(): string {
    const { block } = this.source;
    return block.nodeId(block.node(this.position));
  }

  get AllocatedResources(): AllocatedResources {
    const { block } = this.source;
    return block.resources[block.resource(this.position)]!;
  }

  get Namespace(): string {
    return this.template.Namespace;
  }

  get JobID(): string {
    return this.template.JobID;
  }

  get TaskGroup(): string {
    return this.template.TaskGroup;
  }

  get ClientStatus(): AllocClientStatus {
    return this.#changed?.ClientStatus ?? clientStatusOf(this.state)!;
  }

  get DesiredStatus(): AllocDesiredStatus {
    return this.#changed?.DesiredStatus ?? desiredStatusOf(this.state)!;
  }

  get JobVersion(): number {
    return (this.#changed ?? this.template).JobVersion;
  }

  get JobCreateIndex(): number | undefined {
    return (this.#changed ?? this.template).JobCreateIndex;
  }

  get DeploymentID(): string {
    return (this.#changed ?? this.template).DeploymentID;
  }

  get DesiredTransition(): DesiredTransition | undefined {
    return (this.#changed ?? this.template).DesiredTransition;
  }

  get NextAllocation(): string | undefined {
    return (this.#changed ?? this.template).NextAllocation;
  }

  get CreateIndex(): number {
    const { block, index } = this.source;
    // What was updated in place had been created before.
    if (block.isUpdate(this.position)) return this.whole().CreateIndex;
    return this.#changed?.CreateIndex ?? index;
  }

  /** The row, where it says other than the block. */
  get #changed(): Allocation | undefined {
    return (this.state & CHANGED) === 0 ? undefined : this.whole();
  }
}
