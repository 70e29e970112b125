/** Configuration of the schedulers. The result of an update is whether it was made. */
import type { CommandPayloads, CommandType } from "../commands.js";
import type { StateTransaction } from "../transaction.js";

export function updateSchedulerConfiguration(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.SchedulerConfigUpdate],
): boolean {
  const { CreateIndex, ModifyIndex } = txn.schedulerConfiguration();
  if (payload.ModifyIndex !== undefined && payload.ModifyIndex !== ModifyIndex) return false;
  txn.putSchedulerConfiguration({
    ...payload.Config,
    CreateIndex: CreateIndex || txn.index,
    ModifyIndex: txn.index,
  });
  return true;
}
