/** Plans as commands of the log. Scheduling threads make them, so that the main thread passes on bytes. */
import type { Allocation, Deployment, DeploymentStatusUpdate, Evaluation } from "@drover/plugin-sdk";
import { Packr } from "msgpackr";
import { PlanBlock, packBlock } from "./plan-block.js";

/** Version of the encoding. A command of a newer version is refused, never guessed at. */
export const COMMAND_CODEC_VERSION = 1;
/** The number of plans among the commands (`CommandType.PlanApply`). */
export const PLAN_COMMAND = 30;

/** What a plan changes of an allocation that it stops or evicts. */
export interface AllocationStop {
  ID: string;
  DesiredStatus: "stop" | "evict";
  DesiredDescription: string;
  /** Set for allocations on lost nodes, where no client will report. */
  ClientStatus?: Allocation["ClientStatus"];
  FollowupEvalID?: string;
  PreemptedByAllocation?: string;
}

/**
 * The committed part of a plan. `Placed` are new or updated in place; `Stopped` and `Preempted` name what changes of an
 * existing allocation. Rows keep what the client reported.
 */
export interface PlanCommand {
  EvalID: string;
  Placed: readonly Allocation[] | PlanBlock;
  Stopped: AllocationStop[];
  Preempted: AllocationStop[];
  Deployment: Deployment | null;
  DeploymentUpdates: DeploymentStatusUpdate[];
  /** Follow-up evaluations of preempted jobs. */
  Evaluations: Evaluation[];
  /** Unix nanoseconds. */
  Time: number;
}

export interface PackedPlan {
  readonly rest: Omit<PlanCommand, "Placed">;
  readonly block: Uint8Array;
}

const packer = new Packr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

export function encodePlanCommand({ Placed, ...rest }: PlanCommand): Uint8Array {
  const block = Placed instanceof PlanBlock ? Placed.bytes : packBlock(Placed);
  return Uint8Array.from(
    packer.encode([COMMAND_CODEC_VERSION, PLAN_COMMAND, { rest, block } satisfies PackedPlan]),
  );
}

/** How a plan's command changes an allocation that it stops or evicts. */
export function stopOf(allocation: Allocation): AllocationStop {
  return {
    ID: allocation.ID,
    DesiredStatus: allocation.DesiredStatus === "evict" ? "evict" : "stop",
    DesiredDescription: allocation.DesiredDescription ?? "",
    ...(allocation.ClientStatus === "lost" ? { ClientStatus: allocation.ClientStatus } : {}),
    ...(allocation.FollowupEvalID ? { FollowupEvalID: allocation.FollowupEvalID } : {}),
    ...(allocation.PreemptedByAllocation ? { PreemptedByAllocation: allocation.PreemptedByAllocation } : {}),
  };
}
