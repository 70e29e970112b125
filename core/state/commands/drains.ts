/** Drains of nodes: begun, changed, ended. */
import { DrainStatus, type Node, NodeEligibility } from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "../commands.js";
import { CommandRefused } from "../refusal.js";
import { rfc3339 } from "../time.js";
import type { StateTransaction } from "../transaction.js";
import { upsertEvaluations } from "./evaluations.js";
import { stamped, withEvent } from "./nodes.js";

const NANOS_PER_SECOND = 1_000_000_000;

export function updateNodeDrain(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.NodeUpdateDrain],
): CommandRefused | undefined {
  const node = txn.node(payload.NodeID);
  if (node === null) return new CommandRefused(`node not found: ${payload.NodeID}`);
  if (payload.Complete && node.DrainStrategy === null)
    return new CommandRefused(`node ${node.ID} is not draining`);
  const row: Node = {
    ...node,
    Drain: payload.Drain !== null,
    DrainStrategy: payload.Drain,
    LastDrain: lastDrain(node, payload),
    ModifyIndex: txn.index,
    Events: withEvent(node.Events, stamped(payload.Event, txn.index)),
  };
  if (payload.Drain !== null) {
    row.SchedulingEligibility = NodeEligibility.Ineligible;
    // A drain that is changed began when it began.
    if (node.DrainStrategy !== null)
      row.DrainStrategy = { ...payload.Drain, StartedAt: node.DrainStrategy.StartedAt };
  } else if (payload.MarkEligible) row.SchedulingEligibility = NodeEligibility.Eligible;
  txn.putNode(row);
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
  return undefined;
}

function lastDrain(
  node: Node,
  { Drain, Complete, Meta, Time }: CommandPayloads[typeof CommandType.NodeUpdateDrain],
): Node["LastDrain"] {
  const now = rfc3339(Math.floor(Time / NANOS_PER_SECOND) * NANOS_PER_SECOND);
  const underWay = node.DrainStrategy === null ? null : node.LastDrain;
  // Ending what is no drain leaves the record of the last one alone.
  if (Drain === null && underWay === null) return node.LastDrain;
  const Status =
    Drain !== null ? DrainStatus.Draining : Complete ? DrainStatus.Complete : DrainStatus.Canceled;
  return {
    AccessorID: "",
    Meta: Meta ?? underWay?.Meta ?? null,
    StartedAt: underWay?.StartedAt ?? now,
    Status,
    UpdatedAt: now,
  };
}
