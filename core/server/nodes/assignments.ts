import type {
  AgentTransport,
  Allocation,
  AssignedAllocation,
  AssignmentDelta,
  Logger,
  StateReader,
  StateSnapshot,
} from "@drover/plugin-sdk";
import { clientTerminal } from "@drover/plugin-sdk";

/** Milliseconds before a push that a connected node did not answer is tried again; doubles up to the limit. */
const FIRST_RETRY = 500;
const LAST_RETRY = 30_000;

interface NodeAssignment {
  /** `AllocModifyIndex` of every allocation that the agent said it has. */
  acknowledged: Map<string, number>;
  pushing: boolean;
  /** The state changed while a push was under way. */
  dirty: boolean;
  retry: number;
}

/** The state, and the index at which a copy of another time was put in force (0: never). */
export type AssignmentState = Pick<StateReader, "snapshot"> & { restoredIndex(): number };

/** Nodes that are looked at in one go, before other work has its turn. */
const SLICE = 64;

/**
 * Keeps every node that is connected to this server told of what it should run, by this server's own state. The agent pulls
 * when it connects; from then on changes are pushed as deltas against what it acknowledged, one push a node at a time.
 */
export class Assignments {
  readonly #nodes = new Map<string, NodeAssignment>();
  /** Changed and not looked at yet. */
  readonly #changed = new Set<string>();
  #turn: NodeJS.Immediate | undefined;

  constructor(
    private readonly state: AssignmentState,
    private readonly transport: AgentTransport,
    private readonly log: Logger,
  ) {}

  /** Answers `assignment.pull`. */
  pull(nodeId: string, known: Readonly<Record<string, number>>): AssignmentDelta {
    const acknowledged = new Map(Object.entries(known));
    const delta = this.#delta(nodeId, acknowledged);
    acknowledge(acknowledged, delta);
    const present = this.#nodes.get(nodeId);
    if (present?.pushing === true) {
      present.acknowledged = acknowledged;
      present.dirty = true;
    } else {
      this.#nodes.set(nodeId, { acknowledged, pushing: false, dirty: false, retry: FIRST_RETRY });
    }
    return delta;
  }

  forget(nodeId: string): void {
    this.#nodes.delete(nodeId);
  }

  /** Allocations of these nodes changed; null: of any. Cheap: called inside of the state machine. */
  changed(nodeIds: Iterable<string> | null): void {
    if (this.#nodes.size === 0) return;
    for (const nodeId of nodeIds ?? this.#nodes.keys()) {
      // Others pull when they connect.
      if (this.#nodes.has(nodeId)) this.#changed.add(nodeId);
    }
    if (this.#changed.size > 0) this.#turn ??= setImmediate(() => this.#look());
  }

  /** Begins no more pushes. */
  stop(): void {
    clearImmediate(this.#turn);
    this.#nodes.clear();
    this.#changed.clear();
  }

  #look(): void {
    this.#turn = undefined;
    let looked = 0;
    for (const nodeId of this.#changed) {
      if (looked++ === SLICE) {
        this.#turn = setImmediate(() => this.#look());
        return;
      }
      this.#changed.delete(nodeId);
      const node = this.#nodes.get(nodeId);
      if (node === undefined) continue;
      if (node.pushing) node.dirty = true;
      else void this.#push(nodeId, node);
    }
  }

  #delta(nodeId: string, known: ReadonlyMap<string, number>): AssignmentDelta {
    using snapshot = this.state.snapshot();
    return deltaOf(snapshot, nodeId, known, this.state.restoredIndex());
  }

  async #push(nodeId: string, node: NodeAssignment): Promise<void> {
    node.pushing = true;
    try {
      do {
        node.dirty = false;
        const acknowledged = node.acknowledged;
        const delta = this.#delta(nodeId, acknowledged);
        if (delta.upserts.length > 0 || delta.removed.length > 0) {
          await this.transport.call(nodeId, "assignment.changed", delta);
          acknowledge(acknowledged, delta);
        }
        node.retry = FIRST_RETRY;
      } while (node.dirty);
    } catch (error) {
      this.#retryLater(nodeId, node, error);
    } finally {
      node.pushing = false;
    }
  }

  #retryLater(nodeId: string, node: NodeAssignment, error: unknown): void {
    if (!this.transport.isConnected(nodeId)) {
      this.forget(nodeId);
      return;
    }
    const message = error instanceof Error ? error.message : String(error);
    this.log.warn({ node: nodeId, error: message, retry_ms: node.retry }, "node did not take its assignment");
    setTimeout(() => this.changed([nodeId]), node.retry).unref();
    node.retry = Math.min(node.retry * 2, LAST_RETRY);
  }
}

/**
 * Every row counts as changed at `restored`, so that an agent that knows a later version of it, from before, hears of it and
 * reports what became of it.
 */
function deltaOf(
  state: StateSnapshot,
  nodeId: string,
  known: ReadonlyMap<string, number>,
  restored: number,
): AssignmentDelta {
  const upserts: AssignedAllocation[] = [];
  const present = new Set<string>();
  for (const allocation of state.allocationsByNode(nodeId)) {
    present.add(allocation.ID);
    const has = known.get(allocation.ID);
    const AllocModifyIndex = Math.max(allocation.AllocModifyIndex, restored);
    if (has === undefined ? clientTerminal(allocation) : has >= AllocModifyIndex) continue;
    const assigned = assign(state, { ...allocation, AllocModifyIndex });
    if (assigned !== null) upserts.push(assigned);
  }
  const removed: string[] = [];
  for (const id of known.keys()) if (!present.has(id)) removed.push(id);
  return { index: state.index, upserts, removed };
}

/** The row with its job, the job cut down to the one group that the node runs. */
function assign(state: StateSnapshot, allocation: Allocation): AssignedAllocation | null {
  const job = state.allocationJob(allocation);
  if (job === null) return null;
  const TaskGroups = (job.TaskGroups ?? []).filter((group) => group.Name === allocation.TaskGroup);
  return { ...allocation, Metrics: null, Job: { ...job, TaskGroups } };
}

function acknowledge(known: Map<string, number>, delta: AssignmentDelta): void {
  for (const allocation of delta.upserts) known.set(allocation.ID, allocation.AllocModifyIndex);
  for (const id of delta.removed) known.delete(id);
}
