/** Evaluations: written by whoever asks for scheduling, and by schedulers with their outcome. */
import type { Evaluation } from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "../commands.js";
import { CommandRefused } from "../refusal.js";
import type { StateTransaction } from "../transaction.js";

/** Inserts or replaces evaluations; create index and time of those that exist are kept. Refused for one of another job. */
export function upsertEvaluations(
  txn: StateTransaction,
  evaluations: readonly Evaluation[],
  time: number,
): void {
  for (const evaluation of evaluations) {
    const existing = txn.evaluation(evaluation.ID);
    if (
      existing !== null &&
      (existing.JobID !== evaluation.JobID || existing.Namespace !== evaluation.Namespace)
    ) {
      throw new CommandRefused(
        `evaluation ${evaluation.ID} is of job "${existing.JobID}" in namespace "${existing.Namespace}", not of "${evaluation.JobID}" in "${evaluation.Namespace}"`,
      );
    }
    txn.putEvaluation(
      {
        ...evaluation,
        CreateIndex: existing?.CreateIndex ?? txn.index,
        ModifyIndex: txn.index,
        CreateTime: existing?.CreateTime ?? (evaluation.CreateTime || time),
        ModifyTime: time,
      },
      existing,
    );
  }
}

export function updateEvaluations(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.EvaluationUpdate],
): void {
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
}
