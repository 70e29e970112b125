/** The cluster itself: its identity, and the settings of autopilot. */
import type { ClusterMetadata } from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "../commands.js";
import type { StateTransaction } from "../transaction.js";

/** The result of an update is whether it was made. */
export function updateAutopilotConfiguration(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.AutopilotConfigUpdate],
): boolean {
  const { CreateIndex, ModifyIndex } = txn.autopilotConfiguration();
  if (payload.ModifyIndex !== undefined && payload.ModifyIndex !== ModifyIndex) return false;
  txn.putAutopilotConfiguration({
    ...payload.Config,
    CreateIndex: CreateIndex || txn.index,
    ModifyIndex: txn.index,
  });
  return true;
}

/** A cluster is named once: two leaders that both found it nameless agree on what the log had first. */
export function initializeClusterMetadata(
  txn: StateTransaction,
  { Metadata }: CommandPayloads[typeof CommandType.ClusterMetadataInit],
): ClusterMetadata {
  const present = txn.clusterMetadata();
  if (present !== null) return present;
  txn.putClusterMetadata(Metadata);
  return Metadata;
}
