import type {
  AgentMethods,
  AgentStreams,
  DrainSpec,
  DrainStrategy,
  FileFrame,
  Node,
  NodeEndpoint,
  NodeWriteResponse,
  StateReader,
  StateSnapshot,
} from "@drover/plugin-sdk";
import { EndpointError, isUUID } from "@drover/plugin-sdk";
import { type CommandLog, unixNanos } from "../../server/command-log.js";
import { event } from "../../server/nodes/agents.js";
import { nodeEvaluations } from "../../server/nodes/node-evaluations.js";
import { CommandType } from "../../state/index.js";
import type { AgentCalls } from "../forwarding/agent-calls.js";

/** `Node.*`, and the way to the client agents, whichever server they are connected to. */
export class Nodes implements NodeEndpoint {
  constructor(
    private readonly state: StateReader,
    private readonly commands: CommandLog,
    private readonly routes: AgentCalls,
  ) {}

  async setEligibility(nodeId: string, eligibility: string): Promise<NodeWriteResponse> {
    if (eligibility !== "eligible" && eligibility !== "ineligible") {
      throw new EndpointError(500, `invalid scheduling eligibility "${eligibility}"`);
    }
    using snapshot = this.state.snapshot();
    const node = nodeOf(snapshot, nodeId);
    if (node.Drain && eligibility === "eligible") {
      throw new EndpointError(
        500,
        "can not set node's scheduling eligibility to eligible while it is draining",
      );
    }
    const evaluations = eligibility === "eligible" ? nodeEvaluations(snapshot, nodeId, node.ModifyIndex) : [];
    const message = `Node marked as ${eligibility} for scheduling`;
    const { index } = await this.commands.propose(CommandType.NodeUpdateEligibility, {
      NodeID: nodeId,
      Eligibility: eligibility,
      Event: event("Cluster", message),
      Evaluations: evaluations,
      Time: unixNanos(),
    });
    return {
      EvalCreateIndex: evaluations.length > 0 ? index : 0,
      EvalIDs: evaluations.length > 0 ? evaluations.map((evaluation) => evaluation.ID) : null,
      Index: index,
      NodeModifyIndex: 0,
    };
  }

  async setDrain({
    nodeId,
    spec,
    markEligible,
    meta,
  }: Parameters<NodeEndpoint["setDrain"]>[0]): Promise<NodeWriteResponse> {
    using snapshot = this.state.snapshot();
    const node = nodeOf(snapshot, nodeId);
    const eligible = spec === null && markEligible;
    const evaluations = eligible ? nodeEvaluations(snapshot, nodeId, node.ModifyIndex) : [];
    const now = unixNanos();
    const { index } = await this.commands.propose(CommandType.NodeUpdateDrain, {
      NodeID: nodeId,
      Drain: spec === null ? null : strategyOf(spec, now),
      Complete: false,
      MarkEligible: eligible,
      Meta: meta === null ? null : { ...meta },
      Event: event("Drain", drainMessage(node, spec)),
      Evaluations: evaluations,
      Time: now,
    });
    return {
      EvalCreateIndex: evaluations.length > 0 ? index : 0,
      EvalIDs: evaluations.length > 0 ? evaluations.map((evaluation) => evaluation.ID) : null,
      Index: index,
      NodeModifyIndex: index,
    };
  }

  async evaluate(nodeId: string): Promise<NodeWriteResponse & { readonly NumNodes: number }> {
    using snapshot = this.state.snapshot();
    const node = nodeOf(snapshot, nodeId);
    const evaluations = nodeEvaluations(snapshot, nodeId, node.ModifyIndex);
    const NumNodes = snapshot.nodeCount();
    if (evaluations.length === 0) {
      return { EvalCreateIndex: 0, EvalIDs: null, Index: snapshot.index, NodeModifyIndex: 0, NumNodes };
    }
    const { index } = await this.commands.propose(CommandType.EvaluationUpdate, {
      Evaluations: evaluations,
      Time: unixNanos(),
    });
    const EvalIDs = evaluations.map((evaluation) => evaluation.ID);
    return { EvalCreateIndex: index, EvalIDs, Index: index, NodeModifyIndex: 0, NumNodes };
  }

  async purge(nodeId: string): Promise<NodeWriteResponse> {
    using snapshot = this.state.snapshot();
    const node = nodeOf(snapshot, nodeId);
    const evaluations = nodeEvaluations(snapshot, nodeId, node.ModifyIndex);
    const { index } = await this.commands.propose(CommandType.NodeDeregister, {
      NodeIDs: [nodeId],
      Evaluations: evaluations,
      Time: unixNanos(),
    });
    return {
      EvalCreateIndex: evaluations.length > 0 ? index : 0,
      EvalIDs: evaluations.length > 0 ? evaluations.map((evaluation) => evaluation.ID) : null,
      Index: index,
      NodeModifyIndex: index,
    };
  }

  call<M extends keyof AgentMethods>(
    nodeId: string,
    method: M,
    request: AgentMethods[M]["request"],
  ): Promise<AgentMethods[M]["answer"]> {
    return this.routes.call(nodeId, method, request);
  }

  stream<M extends keyof AgentStreams>(
    nodeId: string,
    method: M,
    request: AgentStreams[M]["request"],
    signal: AbortSignal,
  ): AsyncIterable<FileFrame> {
    return this.routes.stream(nodeId, method, request, signal);
  }
}

function nodeOf(snapshot: StateSnapshot, nodeId: string): Node {
  if (!isUUID(nodeId))
    throw new EndpointError(500, "node lookup failed: index error: UUID must be 36 characters");
  const node = snapshot.node(nodeId);
  if (node === null) throw new EndpointError(404, "node not found");
  return node;
}

/** Go's zero time, which stands for "none". */
const NO_DEADLINE = "0001-01-01T00:00:00Z";

function strategyOf(spec: DrainSpec, now: number): DrainStrategy {
  return {
    Deadline: spec.Deadline,
    ForceDeadline: spec.Deadline > 0 ? new Date((now + spec.Deadline) / 1e6).toISOString() : NO_DEADLINE,
    IgnoreSystemJobs: spec.IgnoreSystemJobs,
    StartedAt: new Date(now / 1e6).toISOString(),
  };
}

function drainMessage(node: Node, spec: DrainSpec | null): string {
  if (spec === null) return "Node drain disabled";
  return node.DrainStrategy === null ? "Node drain strategy set" : "Node drain strategy updated";
}
