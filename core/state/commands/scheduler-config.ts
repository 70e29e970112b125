/** Configuration of the schedulers. */
import type { CommandPayloads, CommandType } from "../commands.js";
import type { StateTransaction } from "../transaction.js";

export function updateSchedulerConfiguration(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.SchedulerConfigUpdate],
): void {
  const { CreateIndex } = txn.schedulerConfiguration();
  txn.putSchedulerConfiguration({
    ...payload.Config,
    CreateIndex: CreateIndex || txn.index,
    ModifyIndex: txn.index,
  });
}
