import type {
  AllocationUpdate,
  Evaluation,
  Logger,
  Metrics,
  Node,
  NodeEvent,
  ServerMethods,
} from "@drover/plugin-sdk";
import { clientTerminal, RemoteError, serverTerminal } from "@drover/plugin-sdk";
import type { StateStore } from "../../state/index.js";
import { CommandRefused, CommandType } from "../../state/index.js";
import { type CommandLog, unixNanos } from "../command-log.js";
import type { HeartbeatAnswer, HeartbeatOutcome } from "./heartbeat-relay.js";
import type { Heartbeats } from "./heartbeats.js";
import { newEvaluation, nodeEvaluations } from "./node-evaluations.js";

/** What client agents ask of the leader: enrolment, registration, heartbeats, status of allocations. */
export class Agents {
  constructor(
    private readonly state: StateStore,
    private readonly log: CommandLog,
    private readonly timers: Heartbeats,
    private readonly logger: Logger,
    private readonly metrics: Metrics,
  ) {}

  /** Key in base64, SHA-256 of the join secret in hex. Gives the index at which the key is pinned. */
  async enroll(nodeId: string, publicKey: string, tokenHash: string): Promise<number> {
    try {
      const { index } = await this.log.propose(CommandType.NodeEnroll, {
        NodeID: nodeId,
        PublicKey: publicKey,
        TokenHash: tokenHash,
        Time: unixNanos(),
      });
      return index;
    } catch (error) {
      if (!(error instanceof CommandRefused)) throw error;
      this.metrics.increment("drover.agent.enroll_refused");
      throw new RemoteError("enroll_refused", error.message);
    }
  }

  async register(nodeId: string, node: Node): Promise<ServerMethods["node.register"]["answer"]> {
    if (node.ID !== nodeId)
      throw new RemoteError("bad_request", `node ${nodeId} tried to register as ${node.ID}`);
    const missing = (["Name", "Datacenter", "Attributes", "NodeResources"] as const).filter(
      (key) => !node[key],
    );
    if (missing.length > 0)
      throw new RemoteError("bad_request", `node registration lacks ${missing.join(", ")}`);
    const heartbeatTTL = this.timers.reset(nodeId);
    using snapshot = this.state.snapshot();
    const known = snapshot.node(nodeId);
    const becomesReady = known === null || known.Status !== "ready";
    const { index } = await this.log.propose(CommandType.NodeRegister, {
      Node: {
        ...node,
        Status: "ready",
        StatusDescription: "",
        Events: [...node.Events, event("Cluster", known === null ? "Node registered" : "Node re-registered")],
      },
      Evaluations: becomesReady ? nodeEvaluations(snapshot, nodeId, snapshot.index) : [],
      Time: unixNanos(),
    });
    return { heartbeatTTL, index };
  }

  async heartbeat(nodeId: string): Promise<HeartbeatAnswer> {
    using snapshot = this.state.snapshot();
    const node = snapshot.node(nodeId);
    if (node === null) throw new RemoteError("unknown_node", "node is not registered: register it again");
    const heartbeatTTL = this.timers.reset(nodeId);
    if (node.Status === "ready") return { heartbeatTTL, index: snapshot.index };
    const { index } = await this.log.propose(CommandType.NodeUpdateStatus, {
      NodeID: nodeId,
      Status: "ready",
      Description: "",
      Event: event("Heartbeat", "Node heartbeat received again"),
      Evaluations: nodeEvaluations(snapshot, nodeId, snapshot.index),
      Time: unixNanos(),
    });
    return { heartbeatTTL, index };
  }

  /** Heartbeats that another server gathered, each answered for itself. */
  heartbeats(nodeIds: readonly string[]): Promise<HeartbeatOutcome[]> {
    return Promise.all(
      nodeIds.map(async (nodeId): Promise<HeartbeatOutcome> => {
        try {
          const { heartbeatTTL, index } = await this.heartbeat(nodeId);
          return [heartbeatTTL, index];
        } catch (error) {
          if (error instanceof RemoteError) return [error.code, error.message];
          throw error;
        }
      }),
    );
  }

  /** A node was not heard of within its TTL: it is down, and its jobs are looked at. */
  async missed(nodeId: string): Promise<void> {
    using snapshot = this.state.snapshot();
    const node = snapshot.node(nodeId);
    if (node === null || node.Status === "down") return;
    this.logger.warn({ node: nodeId, name: node.Name }, "node missed its heartbeat and is marked down");
    await this.log.propose(CommandType.NodeUpdateStatus, {
      NodeID: nodeId,
      Status: "down",
      Description: "heartbeat missed",
      Event: event("Heartbeat", "Node heartbeat missed"),
      Evaluations: nodeEvaluations(snapshot, nodeId, snapshot.index),
      Time: unixNanos(),
    });
  }

  async update(
    nodeId: string,
    updates: readonly AllocationUpdate[],
  ): Promise<ServerMethods["allocation.update"]["answer"]> {
    using snapshot = this.state.snapshot();
    const own: AllocationUpdate[] = [];
    const evaluations = new Map<string, Evaluation>();
    for (const update of updates) {
      const present = snapshot.allocation(update.ID);
      // Removed meanwhile, or not this node's to report on; the agent is told by its next assignment.
      if (present === null || present.NodeID !== nodeId) continue;
      own.push({ ...update, NodeID: nodeId });
      const failed = update.ClientStatus === "failed" && present.ClientStatus !== "failed";
      const complete = update.ClientStatus === "complete" && !clientTerminal(present);
      if (!(failed || complete) || serverTerminal(present)) continue;
      const job = snapshot.job(present.Namespace, present.JobID);
      if (job === null || job.Stop || !wantsEvaluation(job.Type, failed)) continue;
      const key = `${job.Namespace}\0${job.ID}`;
      if (!evaluations.has(key))
        evaluations.set(key, newEvaluation(job, failed ? "alloc-failure" : "alloc-stop"));
    }
    if (own.length === 0) return { index: snapshot.index };
    const { index } = await this.log.propose(CommandType.AllocationClientUpdate, {
      Updates: own,
      Evaluations: [...evaluations.values()],
      Time: unixNanos(),
    });
    return { index };
  }
}

/**
 * Whether somebody must look at a job one of whose allocations ended though it should run. What fails is rescheduled; system
 * jobs stay where they are. What runs for ever ends well only where it was stopped, and by a state that is no more: an older
 * one was restored, which still wants it.
 */
function wantsEvaluation(type: string, failed: boolean): boolean {
  return failed ? type === "service" || type === "batch" : type === "service" || type === "system";
}

/** An event for a node's history. */
export function event(subsystem: NodeEvent["Subsystem"], message: string): NodeEvent {
  return {
    CreateIndex: 0,
    Details: null,
    Message: message,
    Subsystem: subsystem,
    Timestamp: new Date().toISOString(),
  };
}
