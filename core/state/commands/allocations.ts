/** Allocations: what agents report of them, and what operators and the drainer wish for. */
import {
  type Allocation,
  type AllocationUpdate,
  type AllocDeploymentStatus,
  changedAllocation,
  type DesiredTransition,
} from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "../commands.js";
import type { StateTransaction } from "../transaction.js";
import { upsertEvaluations } from "./evaluations.js";

/** Updates of unknown allocations (collected meanwhile) and of another node's allocations change nothing. */
export function updateFromClient(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.AllocationClientUpdate],
): void {
  for (const update of payload.Updates) {
    const existing = txn.allocation(update.ID);
    if (existing === null || existing.NodeID !== update.NodeID) continue;
    txn.putAllocation(
      changedAllocation(existing, {
        ClientStatus: update.ClientStatus,
        ClientDescription: update.ClientDescription,
        TaskStates: mergedStates(existing, update),
        DeploymentStatus: mergedHealth(existing.DeploymentStatus, update.DeploymentStatus, txn.index),
        NetworkStatus: update.NetworkStatus ?? existing.NetworkStatus,
        ModifyIndex: txn.index,
        ModifyTime: payload.Time,
      }),
      existing,
    );
  }
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
}

export function updateDesiredTransition(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.AllocationDesiredTransition],
): void {
  for (const [id, wish] of Object.entries(payload.Transitions)) {
    const existing = txn.allocation(id);
    if (existing === null) continue;
    txn.putAllocation(
      changedAllocation(existing, {
        DesiredTransition: mergedTransition(existing.DesiredTransition, wish),
        ModifyIndex: txn.index,
        ModifyTime: payload.Time,
      }),
      existing,
    );
  }
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
}

function mergedStates(existing: Allocation, update: AllocationUpdate): Allocation["TaskStates"] {
  if (existing.TaskStates === null && Object.keys(update.TaskStates).length === 0) return null;
  return { ...existing.TaskStates, ...update.TaskStates };
}

/** The node decides on health and its time; whether it is a canary is the servers' matter. */
function mergedHealth(
  existing: AllocDeploymentStatus | null,
  reported: AllocDeploymentStatus | null,
  index: number,
): AllocDeploymentStatus | null {
  if (reported === null) return existing;
  if (existing === null) return { ...reported, ModifyIndex: index };
  if (reported.Healthy === null || reported.Healthy === existing.Healthy) return existing;
  return { ...existing, Healthy: reported.Healthy, Timestamp: reported.Timestamp, ModifyIndex: index };
}

function mergedTransition(
  existing: DesiredTransition | undefined,
  wish: DesiredTransition,
): DesiredTransition {
  return {
    ForceReschedule: wish.ForceReschedule ?? existing?.ForceReschedule ?? null,
    Migrate: wish.Migrate ?? existing?.Migrate ?? null,
    Reschedule: wish.Reschedule ?? existing?.Reschedule ?? null,
  };
}
