import { createHash } from "node:crypto";
import type {
  AgentServerHandler,
  AllocationUpdate,
  EnrollmentRequest,
  Evaluation,
  Logger,
  Metrics,
  Node,
  NodeEvent,
  ServerMethods,
} from "@drover/plugin-sdk";
import { isUUID, RemoteError, serverTerminal } from "@drover/plugin-sdk";
import type { StateStore } from "../../state/index.js";
import { CommandType } from "../../state/index.js";
import { type CommandLog, unixNanos } from "../command-log.js";
import type { Assignments } from "./assignments.js";
import type { Heartbeats } from "./heartbeats.js";
import { newEvaluation, nodeEvaluations } from "./node-evaluations.js";

/** Updates of one message; an agent with more sends several. */
const MAX_UPDATES = 10_000;

/** The server's answers to client agents: enrolment, registration, heartbeats, assignments, status of allocations. */
export class Agents implements AgentServerHandler {
  constructor(
    private readonly state: StateStore,
    private readonly log: CommandLog,
    private readonly heartbeats: Heartbeats,
    private readonly assignments: Assignments,
    private readonly logger: Logger,
    private readonly metrics: Metrics,
  ) {}

  nodeKey(nodeId: string): Uint8Array | undefined {
    return this.state.nodeKey(nodeId);
  }

  async enroll(request: EnrollmentRequest): Promise<void> {
    if (!isUUID(request.nodeId)) throw new RemoteError("bad_request", "node id must be a UUID");
    try {
      await this.log.propose(CommandType.NodeEnroll, {
        NodeID: request.nodeId,
        PublicKey: Buffer.from(request.publicKey).toString("base64"),
        TokenHash: createHash("sha256").update(request.joinSecret).digest("hex"),
        Time: unixNanos(),
      });
    } catch (error) {
      this.metrics.increment("drover.agent.enroll_refused");
      throw new RemoteError("enroll_refused", error instanceof Error ? error.message : String(error));
    }
    this.logger.info({ node: request.nodeId }, "node enrolled");
  }

  connection(nodeId: string, connected: boolean): void {
    if (!connected) this.assignments.forget(nodeId);
    this.logger.debug({ node: nodeId, connected }, "agent connection changed");
  }

  async handle<M extends keyof ServerMethods>(
    nodeId: string,
    method: M,
    request: ServerMethods[M]["request"],
  ): Promise<ServerMethods[M]["answer"]> {
    switch (method) {
      case "node.register":
        return this.#register(nodeId, (request as ServerMethods["node.register"]["request"]).node);
      case "node.heartbeat":
        return this.#heartbeat(nodeId);
      case "assignment.pull":
        return this.assignments.pull(nodeId, (request as ServerMethods["assignment.pull"]["request"]).known);
      case "allocation.update":
        return this.#update(nodeId, (request as ServerMethods["allocation.update"]["request"]).updates);
      default:
        throw new RemoteError("unknown_method", `servers have no method "${String(method)}"`);
    }
  }

  async #register(nodeId: string, node: Node): Promise<ServerMethods["node.register"]["answer"]> {
    if (node.ID !== nodeId)
      throw new RemoteError("bad_request", `node ${nodeId} tried to register as ${node.ID}`);
    const missing = (["Name", "Datacenter", "Attributes", "NodeResources"] as const).filter(
      (key) => !node[key],
    );
    if (missing.length > 0)
      throw new RemoteError("bad_request", `node registration lacks ${missing.join(", ")}`);
    const heartbeatTTL = this.heartbeats.reset(nodeId);
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

  async #heartbeat(nodeId: string): Promise<ServerMethods["node.heartbeat"]["answer"]> {
    using snapshot = this.state.snapshot();
    const node = snapshot.node(nodeId);
    if (node === null) throw new RemoteError("unknown_node", "node is not registered: register it again");
    const heartbeatTTL = this.heartbeats.reset(nodeId);
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

  async #update(
    nodeId: string,
    updates: readonly AllocationUpdate[],
  ): Promise<ServerMethods["allocation.update"]["answer"]> {
    if (!Array.isArray(updates) || updates.length > MAX_UPDATES) {
      throw new RemoteError("bad_request", `an update holds up to ${MAX_UPDATES} allocations`);
    }
    using snapshot = this.state.snapshot();
    const own: AllocationUpdate[] = [];
    const evaluations = new Map<string, Evaluation>();
    for (const update of updates) {
      const present = snapshot.allocation(update.ID);
      // Removed meanwhile, or not this node's to report on; the agent is told by its next assignment.
      if (present === null || present.NodeID !== nodeId) continue;
      own.push({ ...update, NodeID: nodeId });
      if (update.ClientStatus !== "failed" || present.ClientStatus === "failed" || serverTerminal(present))
        continue;
      const job = snapshot.job(present.Namespace, present.JobID);
      if (job === null || job.Stop || job.Type === "system" || job.Type === "sysbatch") continue;
      const key = `${job.Namespace}\0${job.ID}`;
      if (!evaluations.has(key)) evaluations.set(key, newEvaluation(job, "alloc-failure"));
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
