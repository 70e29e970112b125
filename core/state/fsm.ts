/** The replicated state machine: applies committed commands to the state store. */
import type { LogEntry, StateMachine } from "@drover/plugin-sdk";
import { decodeCommand } from "./codec.js";
import { enrollNode, issueJoinToken } from "./commands/agents.js";
import { updateDesiredTransition, updateFromClient } from "./commands/allocations.js";
import { promoteDeployment, updateDeployment, updateDeploymentHealth } from "./commands/deployments.js";
import { updateNodeDrain } from "./commands/drains.js";
import { updateEvaluations } from "./commands/evaluations.js";
import {
  collectNodes,
  deleteDeployments,
  deleteEvaluations,
  deleteJoinTokens,
  deregisterJobs,
} from "./commands/garbage.js";
import { deregisterJob, registerJob, updateStability } from "./commands/jobs.js";
import { deregisterNodes, registerNode, updateNodeEligibility, updateNodeStatus } from "./commands/nodes.js";
import { applyPlan } from "./commands/plans.js";
import { deletePluginRow, putPluginRow } from "./commands/plugin-rows.js";
import { updateSchedulerConfiguration } from "./commands/scheduler-config.js";
import { type Command, type CommandPayloads, CommandType } from "./commands.js";
import { KeyError } from "./read/keys.js";
import { CommandRefused } from "./refusal.js";
import { readSnapshot, verifySnapshot, writeSnapshot } from "./snapshot-folder.js";
import type { StateStore } from "./store.js";
import type { StateTransaction } from "./transaction.js";

type Handlers = {
  readonly [T in CommandType]: (txn: StateTransaction, payload: CommandPayloads[T]) => unknown;
};

const HANDLERS: Handlers = {
  [CommandType.NodeRegister]: registerNode,
  [CommandType.NodeDeregister]: deregisterNodes,
  [CommandType.NodeUpdateStatus]: updateNodeStatus,
  [CommandType.NodeUpdateEligibility]: updateNodeEligibility,
  [CommandType.NodeUpdateDrain]: updateNodeDrain,
  [CommandType.JobRegister]: registerJob,
  [CommandType.JobDeregister]: deregisterJob,
  [CommandType.JobStability]: updateStability,
  [CommandType.JobBatchDeregister]: deregisterJobs,
  [CommandType.EvaluationUpdate]: updateEvaluations,
  [CommandType.EvaluationDelete]: deleteEvaluations,
  [CommandType.PlanApply]: applyPlan,
  [CommandType.AllocationClientUpdate]: updateFromClient,
  [CommandType.AllocationDesiredTransition]: updateDesiredTransition,
  [CommandType.DeploymentStatusUpdate]: updateDeployment,
  [CommandType.DeploymentPromote]: promoteDeployment,
  [CommandType.DeploymentAllocHealth]: updateDeploymentHealth,
  [CommandType.DeploymentDelete]: deleteDeployments,
  [CommandType.NodeCollect]: collectNodes,
  [CommandType.JoinTokenDelete]: deleteJoinTokens,
  [CommandType.SchedulerConfigUpdate]: updateSchedulerConfiguration,
  [CommandType.JoinTokenIssue]: issueJoinToken,
  [CommandType.NodeEnroll]: enrollNode,
  [CommandType.PluginRowPut]: putPluginRow,
  [CommandType.PluginRowDelete]: deletePluginRow,
};

/** Thrown through the transaction to undo the batch because of one entry. */
class BatchUndone extends Error {
  constructor(
    readonly at: number,
    readonly refusal: Error,
  ) {
    super("batch undone");
  }
}

/** Called after the batch is committed, in log order, for each command that was not refused. */
export type AppliedListener = (index: number, command: Command) => void;

export class StateFsm implements StateMachine {
  constructor(
    private readonly store: StateStore,
    private readonly onApplied?: AppliedListener,
  ) {}

  lastApplied(): number {
    return this.store.index();
  }

  /**
   * Applies a batch in one transaction. The result of a refused command is an Error and it leaves no trace. Throws, with
   * nothing applied, for a command that this version does not know, and when the storage fails.
   */
  apply(entries: readonly LogEntry[]): readonly unknown[] {
    const last = entries.at(-1);
    if (last === undefined) return [];
    let previous = this.store.index();
    for (const { index } of entries) {
      if (index <= previous) {
        throw new Error(`log entry ${index} was delivered to the state again, it is at ${previous}`);
      }
      previous = index;
    }
    const refused = new Map<number, Error>();
    for (;;) {
      const commands = entries.map(decodeEntry);
      try {
        const results = this.store.commit(last.index, (txn) =>
          entries.map(({ index }, at) => applyOne(txn, index, commands[at], at, refused)),
        );
        this.#tell(entries, commands, refused);
        return results;
      } catch (error) {
        if (!(error instanceof BatchUndone)) throw error;
        refused.set(error.at, error.refusal);
      }
    }
  }

  #tell(
    entries: readonly LogEntry[],
    commands: readonly (Command | undefined)[],
    refused: ReadonlyMap<number, Error>,
  ): void {
    if (this.onApplied === undefined) return;
    for (const [at, command] of commands.entries()) {
      if (command !== undefined && !refused.has(at)) this.onApplied(entries[at]!.index, command);
    }
  }

  snapshot(folder: string): Promise<number> {
    return writeSnapshot(this.store, folder);
  }

  restore(folder: string, index?: number): Promise<void> {
    return readSnapshot(this.store, folder, index);
  }

  verify(folder: string): Promise<number> {
    return verifySnapshot(this.store, folder);
  }
}

function decodeEntry(entry: LogEntry): Command | undefined {
  if (entry.data.length === 0) return undefined;
  try {
    return decodeCommand(entry.data);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`log entry ${entry.index} of term ${entry.term}: ${reason}`, { cause: error });
  }
}

function applyOne(
  txn: StateTransaction,
  index: number,
  command: Command | undefined,
  at: number,
  refused: ReadonlyMap<number, Error>,
): unknown {
  const refusal = refused.get(at);
  if (refusal !== undefined) return refusal;
  if (command === undefined) return undefined;
  txn.begin(index);
  try {
    const handler = HANDLERS[command.type] as (txn: StateTransaction, payload: unknown) => unknown;
    const result = handler(txn, command.payload);
    txn.end();
    return result;
  } catch (error) {
    if (error instanceof CommandRefused || error instanceof KeyError) throw new BatchUndone(at, error);
    throw error;
  }
}
