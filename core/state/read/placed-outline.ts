/** The outline of an allocation in a block, read field by field where it is asked for. */
import {
  type AllocatedResources,
  type Allocation,
  type AllocationOutline,
  type AllocClientStatus,
  type AllocDesiredStatus,
  type DesiredTransition,
  WHOLE_ALLOCATION,
} from "@drover/plugin-sdk";
import { CHANGED, clientStatusOf, desiredStatusOf } from "./block-states.js";
import type { PlanBlock } from "./plan-block.js";

/** What the outlines of one block share. */
export interface OutlineSource {
  readonly block: PlanBlock;
  /** Index of the log entry that committed the block. */
  readonly index: number;
  /** Reads a row; throws once the snapshot is closed. */
  readonly read: (id: string) => Allocation;
}

export class PlacedOutline implements AllocationOutline {
  #whole: Allocation | undefined;

  constructor(
    private readonly source: OutlineSource,
    private readonly position: number,
    private readonly state: number,
  ) {}

  [WHOLE_ALLOCATION](): Allocation {
    this.#whole ??= this.source.read(this.ID);
    return this.#whole;
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
    return this.#template.Namespace;
  }

  get JobID(): string {
    return this.#template.JobID;
  }

  get TaskGroup(): string {
    return this.#template.TaskGroup;
  }

  get ClientStatus(): AllocClientStatus {
    return this.#changed?.ClientStatus ?? clientStatusOf(this.state)!;
  }

  get DesiredStatus(): AllocDesiredStatus {
    return this.#changed?.DesiredStatus ?? desiredStatusOf(this.state)!;
  }

  get JobVersion(): number {
    return (this.#changed ?? this.#template).JobVersion;
  }

  get JobCreateIndex(): number | undefined {
    return (this.#changed ?? this.#template).JobCreateIndex;
  }

  get DeploymentID(): string {
    return (this.#changed ?? this.#template).DeploymentID;
  }

  get DesiredTransition(): DesiredTransition | undefined {
    return (this.#changed ?? this.#template).DesiredTransition;
  }

  get NextAllocation(): string | undefined {
    return (this.#changed ?? this.#template).NextAllocation;
  }

  get CreateIndex(): number {
    const { block, index } = this.source;
    // What was updated in place had been created before.
    return block.isUpdate(this.position) ? this[WHOLE_ALLOCATION]().CreateIndex : index;
  }

  get #template(): PlanBlock["templates"][number] {
    const { block } = this.source;
    return block.templates[block.template(this.position)]!;
  }

  /** The row, where it says other than the block. */
  get #changed(): Allocation | undefined {
    return (this.state & CHANGED) === 0 ? undefined : this[WHOLE_ALLOCATION]();
  }
}
