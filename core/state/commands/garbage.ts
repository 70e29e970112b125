/**
 * Deletions of the garbage collection. It decided on an older snapshot: what changed since stays, and what is gone already
 * is not an error.
 */
import { JobStatus, NodeStatus } from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "../commands.js";
import type { StateTransaction } from "../transaction.js";

export function deleteEvaluations(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.EvaluationDelete],
): void {
  for (const id of payload.EvalIDs) {
    const evaluation = txn.evaluation(id);
    if (evaluation !== null) txn.removeEvaluation(evaluation);
  }
  for (const id of payload.AllocIDs) {
    const allocation = txn.allocation(id);
    if (allocation !== null) txn.removeAllocation(allocation);
  }
}

export function deregisterJobs(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.JobBatchDeregister],
): void {
  for (const { Namespace, ID, ModifyIndex } of payload.Jobs) {
    const job = txn.job(Namespace, ID);
    if (job === null || job.ModifyIndex !== ModifyIndex || job.Status !== JobStatus.Dead) continue;
    txn.removeJob(job);
    txn.accounts.jobPurged(job);
  }
}

export function deleteDeployments(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.DeploymentDelete],
): void {
  for (const id of payload.IDs) {
    const deployment = txn.deployment(id);
    if (deployment !== null) txn.removeDeployment(deployment);
  }
}

export function collectNodes(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.NodeCollect],
): void {
  for (const { ID, ModifyIndex } of payload.Nodes) {
    const node = txn.node(ID);
    if (node?.Status === NodeStatus.Down && node.ModifyIndex === ModifyIndex) txn.removeNode(ID);
  }
}

export function deleteJoinTokens(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.JoinTokenDelete],
): void {
  for (const hash of payload.Hashes) if (txn.joinToken(hash) !== null) txn.removeJoinToken(hash);
}
