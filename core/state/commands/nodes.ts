/** Nodes: registration, status, eligibility and removal. */
import { createHash } from "node:crypto";
import {
  NODE_MAX_EVENTS,
  type Node,
  NodeEligibility,
  type NodeEvent,
  NodeEventSubsystem,
  NodeStatus,
} from "@drover/plugin-sdk";
import type { CommandPayloads, CommandType } from "../commands.js";
import { CommandRefused } from "../refusal.js";
import { rfc3339 } from "../time.js";
import type { StateTransaction } from "../transaction.js";
import { upsertEvaluations } from "./evaluations.js";

const NANOS_PER_SECOND = 1_000_000_000;
/** Attributes and metadata under this prefix differ between otherwise equal nodes. */
const UNIQUE_PREFIX = "unique.";

export function registerNode(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.NodeRegister],
): void {
  const existing = txn.node(payload.Node.ID);
  const seconds = Math.floor(payload.Time / NANOS_PER_SECOND);
  const clusterEvent = (message: string, createIndex: number): NodeEvent => ({
    CreateIndex: createIndex,
    Details: null,
    Message: message,
    Subsystem: NodeEventSubsystem.Cluster,
    Timestamp: rfc3339(seconds * NANOS_PER_SECOND),
  });
  const node: Node = {
    ...payload.Node,
    // The secret authenticates the agent; nobody needs it in the state, so nobody can read it there.
    SecretID: "",
    ComputedClass: computedClass(payload.Node),
    CreateIndex: txn.index,
    ModifyIndex: txn.index,
    Drain: false,
    DrainStrategy: null,
    LastDrain: null,
    SchedulingEligibility: payload.Node.SchedulingEligibility || NodeEligibility.Eligible,
    StatusUpdatedAt: seconds,
    Events: [clusterEvent("Node registered", 0)],
  };
  if (existing !== null) {
    node.CreateIndex = existing.CreateIndex;
    node.Drain = existing.DrainStrategy !== null;
    node.DrainStrategy = existing.DrainStrategy;
    node.LastDrain = existing.LastDrain;
    node.SchedulingEligibility = existing.SchedulingEligibility;
    node.Events = existing.Events;
    if (existing.Status === node.Status) node.StatusUpdatedAt = existing.StatusUpdatedAt;
    if (existing.Status === NodeStatus.Down && node.Status !== NodeStatus.Down) {
      node.Events = withEvent(existing.Events, clusterEvent("Node re-registered", txn.index));
    }
  }
  txn.putNode(node);
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
}

export function deregisterNodes(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.NodeDeregister],
): CommandRefused | undefined {
  const unknown = payload.NodeIDs.find((id) => txn.node(id) === null);
  if (unknown !== undefined) return new CommandRefused(`node not found: ${unknown}`);
  for (const id of payload.NodeIDs) txn.removeNode(id);
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
  return undefined;
}

export function updateNodeStatus(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.NodeUpdateStatus],
): CommandRefused | undefined {
  const node = txn.node(payload.NodeID);
  if (node === null) return new CommandRefused(`node not found: ${payload.NodeID}`);
  txn.putNode({
    ...node,
    Status: payload.Status,
    StatusDescription: payload.Description,
    StatusUpdatedAt: Math.floor(payload.Time / NANOS_PER_SECOND),
    ModifyIndex: txn.index,
    Events: withEvent(node.Events, stamped(payload.Event, txn.index)),
  });
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
  return undefined;
}

export function updateNodeEligibility(
  txn: StateTransaction,
  payload: CommandPayloads[typeof CommandType.NodeUpdateEligibility],
): CommandRefused | undefined {
  const node = txn.node(payload.NodeID);
  if (node === null) return new CommandRefused(`node not found: ${payload.NodeID}`);
  if (node.DrainStrategy !== null && payload.Eligibility === NodeEligibility.Eligible) {
    return new CommandRefused("can not set node's scheduling eligibility to eligible while it is draining");
  }
  txn.putNode({
    ...node,
    SchedulingEligibility: payload.Eligibility,
    ModifyIndex: txn.index,
    Events: withEvent(node.Events, stamped(payload.Event, txn.index)),
  });
  upsertEvaluations(txn, payload.Evaluations, payload.Time);
  return undefined;
}

export function stamped(event: NodeEvent | null, index: number): NodeEvent | null {
  return event === null ? null : { ...event, CreateIndex: index };
}

export function withEvent(events: readonly NodeEvent[], event: NodeEvent | null): NodeEvent[] {
  return event === null ? [...events] : [...events, event].slice(-NODE_MAX_EVENTS);
}

/** Hash of everything by which a scheduler may tell nodes apart, except what is unique to each. */
export function computedClass(node: Pick<Node, "Datacenter" | "NodeClass" | "Attributes" | "Meta">): string {
  const shared = (values: Readonly<Record<string, string>> | null): [string, string][] =>
    Object.entries(values ?? {})
      .filter(([key]) => !key.startsWith(UNIQUE_PREFIX))
      .sort(([a], [b]) => (a < b ? -1 : 1));
  const facts = [node.Datacenter, node.NodeClass, shared(node.Attributes), shared(node.Meta)];
  const digest = createHash("sha256").update(JSON.stringify(facts)).digest();
  return `v1:${digest.readBigUInt64BE(0)}`;
}
