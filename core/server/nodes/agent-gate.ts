import { createHash } from "node:crypto";
import type {
  AgentServerHandler,
  AllocationUpdate,
  EnrollmentRequest,
  Logger,
  Node,
  ServerMethods,
} from "@drover/plugin-sdk";
import { EndpointError, isUUID, RemoteError } from "@drover/plugin-sdk";
import { z } from "zod";
import type { AgentCalls } from "../../rpc/forwarding/agent-calls.js";
import type { Consistency } from "../../rpc/forwarding/consistency.js";
import type { LeaderCalls } from "../../rpc/forwarding/leader-calls.js";
import type { StateStore } from "../../state/index.js";
import type { Agents } from "./agents.js";
import type { Assignments } from "./assignments.js";
import { HeartbeatRelay, MAX_BATCH } from "./heartbeat-relay.js";

/** Updates of one message; an agent with more sends several. */
const MAX_UPDATES = 10_000;
/** Milliseconds that this server has to apply what the leader wrote for one of its agents. */
const APPLY_LIMIT = 5_000;

const nodeId = z.string().max(64);
const row = z.record(z.string(), z.unknown());

export interface AgentGateParts {
  readonly state: StateStore;
  /** Does on the leader what agents ask for. */
  readonly agents: Agents;
  readonly assignments: Assignments;
  readonly calls: LeaderCalls;
  readonly consistency: Consistency;
  readonly routes: AgentCalls;
  /** Whether this server leads and its state is the newest. */
  leads(): boolean;
  readonly log: Logger;
}

/**
 * What agents meet on every server. Whatever writes goes to the leader; what a node should run is answered from this server's
 * own state.
 */
export class AgentGate implements AgentServerHandler {
  readonly #enroll;
  readonly #register;
  readonly #update;
  readonly #heartbeats: HeartbeatRelay;

  constructor(private readonly parts: AgentGateParts) {
    const { agents, calls } = parts;
    this.#enroll = calls.define(
      "Node.Enroll",
      z.tuple([nodeId, z.string().max(64), z.string().max(64)]),
      (id, publicKey, tokenHash) => agents.enroll(id, publicKey, tokenHash),
    );
    this.#register = calls.define("Node.Register", z.tuple([nodeId, row]), (id, node) =>
      agents.register(id, node as unknown as Node),
    );
    this.#update = calls.define(
      "Node.UpdateAlloc",
      z.tuple([nodeId, z.array(row).max(MAX_UPDATES)]),
      (id, updates) => agents.update(id, updates as unknown as AllocationUpdate[]),
    );
    this.#heartbeats = new HeartbeatRelay(
      parts.leads,
      (id) => agents.heartbeat(id),
      calls.define("Node.Heartbeats", z.tuple([z.array(nodeId).max(MAX_BATCH)]), (ids) =>
        agents.heartbeats(ids),
      ),
    );
  }

  nodeKey(id: string): Uint8Array | undefined {
    return this.parts.state.nodeKey(id);
  }

  async enroll({ nodeId: id, publicKey, joinSecret }: EnrollmentRequest): Promise<void> {
    if (!isUUID(id)) throw new RemoteError("bad_request", "node id must be a UUID");
    // The secret goes no further than here.
    const hash = createHash("sha256").update(joinSecret).digest("hex");
    const index = await asked(this.#enroll(id, Buffer.from(publicKey).toString("base64"), hash));
    await this.#applied(index);
    this.parts.log.info({ node: id }, "node enrolled");
  }

  connection(id: string, connected: boolean): void {
    if (!connected) this.parts.assignments.forget(id);
    this.parts.routes.connection(id, connected);
    this.parts.log.debug({ node: id, connected }, "agent connection changed");
  }

  async handle<M extends keyof ServerMethods>(
    id: string,
    method: M,
    request: ServerMethods[M]["request"],
  ): Promise<ServerMethods[M]["answer"]> {
    switch (method) {
      case "node.register": {
        const { node } = request as ServerMethods["node.register"]["request"];
        const answer = await asked(this.#register(id, node as unknown as Record<string, unknown>));
        // Later than anything the agent can have heard from another server: its assignment won't go back in time here.
        await this.#applied(answer.index);
        return answer;
      }
      case "node.heartbeat":
        return asked(this.#heartbeats.beat(id));
      case "assignment.pull":
        return this.#pull(id, request as ServerMethods["assignment.pull"]["request"]);
      case "allocation.update":
        return asked(this.#report(id, request as ServerMethods["allocation.update"]["request"]));
      default:
        throw new RemoteError("unknown_method", `servers have no method "${String(method)}"`);
    }
  }

  /** Against an old state the agent would stop what was placed since: without a leader it keeps what it runs. */
  async #pull(
    id: string,
    { known }: ServerMethods["assignment.pull"]["request"],
  ): Promise<ServerMethods["assignment.pull"]["answer"]> {
    await asked(this.parts.consistency.catchUp(false));
    return this.parts.assignments.pull(id, known);
  }

  #report(
    id: string,
    { updates }: ServerMethods["allocation.update"]["request"],
  ): Promise<ServerMethods["allocation.update"]["answer"]> {
    if (!Array.isArray(updates) || updates.length > MAX_UPDATES) {
      throw new RemoteError("bad_request", `an update holds up to ${MAX_UPDATES} allocations`);
    }
    return this.#update(id, updates as unknown as Record<string, unknown>[]);
  }

  async #applied(index: number): Promise<void> {
    try {
      await this.parts.state.waitForIndex(index, APPLY_LIMIT);
    } catch (error) {
      throw new RemoteError(
        "unreachable",
        `this server is behind its leader: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}

/** An agent has nothing to change about a cluster without a leader: it asks again, as when it can't reach a server. */
async function asked<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof EndpointError) throw new RemoteError("unreachable", error.message);
    throw error;
  }
}
