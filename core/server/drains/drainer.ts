import type {
  Allocation,
  DesiredTransition,
  DrainStrategy,
  Evaluation,
  Job,
  Logger,
  Metrics,
  Node,
  StateSnapshot,
} from "@drover/plugin-sdk";
import { clientTerminal, EvalTrigger, JobType, serverTerminal } from "@drover/plugin-sdk";
import type { Command, PlanCommand, StateStore } from "../../state/index.js";
import { CommandRefused, CommandType, PlanBlock } from "../../state/index.js";
import { Coalesced } from "../coalesced.js";
import { type CommandLog, unixNanos } from "../command-log.js";
import { event } from "../nodes/agents.js";
import { newEvaluation } from "../nodes/node-evaluations.js";
import { WallDeadlines } from "../wall-deadlines.js";
import { DrainingJob } from "./draining-job.js";

/** Milliseconds over which news of all drains are gathered into one entry of the log. */
const GATHERING = 250;
/** Milliseconds before something that could not be written is tried again. */
const RETRY = 1_000;
/** Allocations of one entry of the log. */
const BATCH = 500;

/** What is still on a draining node. */
interface Remaining {
  /** The node's allocations that have not ended. */
  readonly service: Allocation[];
  readonly batch: Allocation[];
  readonly system: Allocation[];
}

const MIGRATE: DesiredTransition = { ForceReschedule: null, Migrate: true, Reschedule: null };

/**
 * Empties the nodes that drain while this server leads. Allocations of services leave as their group's `migrate` block
 * allows, batch jobs may finish, system jobs leave last; at the deadline all that is left goes at once. It learns from the
 * committed commands what changed, and keeps count of the jobs that have allocations on draining nodes.
 */
export class NodeDrainer {
  #enabled = false;
  /** Counts terms of leadership: what was found in one is not written in another. */
  #term = 0;
  /** Draining nodes. */
  readonly #nodes = new Set<string>();
  readonly #jobs = new Map<string, DrainingJob>();
  /** Job of each allocation that may have to be counted. */
  readonly #counted = new Map<string, DrainingJob>();
  readonly #changedNodes = new Set<string>();
  readonly #changedJobs = new Set<DrainingJob>();
  readonly #deadlines = new WallDeadlines((id) => this.#look(id));
  readonly #turn = new Coalesced(
    GATHERING,
    () => this.#work(),
    (error) => {
      this.log.error({ error: text(error) }, "drains could not be looked at; tried again");
      for (const id of this.#nodes) this.#look(id, RETRY);
    },
  );

  constructor(
    private readonly state: StateStore,
    private readonly commands: CommandLog,
    private readonly log: Logger,
    private readonly metrics: Metrics,
  ) {}

  /** Nodes that drain. */
  get active(): number {
    return this.#nodes.size;
  }

  /** On becoming leader: `nodes` are those that drain. */
  enable(nodes: Iterable<string>): void {
    this.#enabled = true;
    for (const id of nodes) this.#begin(id);
    if (this.#nodes.size > 0) this.log.info({ nodes: this.#nodes.size }, "drains restored");
  }

  disable(): void {
    this.#enabled = false;
    this.#term++;
    this.#turn.cancel();
    this.#deadlines.clearAll();
    this.#nodes.clear();
    this.#changedNodes.clear();
    this.#forgetJobs();
  }

  /** Takes every command that is committed while this server leads. */
  committed(command: Command): void {
    if (command.type === CommandType.NodeUpdateDrain) {
      const { NodeID, Drain } = command.payload;
      if (Drain === null) this.#end(NodeID);
      else this.#begin(NodeID);
      return;
    }
    if (this.#nodes.size === 0) return;
    switch (command.type) {
      case CommandType.NodeUpdateStatus:
        this.#look(command.payload.NodeID);
        break;
      case CommandType.NodeDeregister:
        for (const id of command.payload.NodeIDs) this.#look(id);
        break;
      case CommandType.PlanApply:
        this.#planned(command.payload);
        break;
      case CommandType.AllocationClientUpdate:
        this.#recount(command.payload.Updates.map(({ ID }) => ID));
        for (const update of command.payload.Updates) {
          if (clientTerminal(update)) this.#look(update.NodeID);
        }
        break;
      case CommandType.DeploymentAllocHealth:
        this.#recount([...command.payload.HealthyAllocationIDs, ...command.payload.UnhealthyAllocationIDs]);
        break;
      case CommandType.AllocationDesiredTransition:
        this.#recount(Object.keys(command.payload.Transitions));
        break;
      case CommandType.JobRegister:
        this.#jobChanged(command.payload.Job.Namespace, command.payload.Job.ID);
        break;
      case CommandType.JobDeregister:
        this.#jobChanged(command.payload.Namespace, command.payload.JobID);
        break;
      default:
        break;
    }
  }

  #begin(id: string): void {
    this.#nodes.add(id);
    this.#look(id);
  }

  #end(id: string): void {
    this.#nodes.delete(id);
    this.#changedNodes.delete(id);
    this.#deadlines.clear(id);
    if (this.#nodes.size === 0) this.#forgetJobs();
    // Its allocations stay where they are, which leaves other nodes' more room to go.
    else for (const job of this.#jobs.values()) this.#lookAt(job);
  }

  #forgetJobs(): void {
    this.#jobs.clear();
    this.#counted.clear();
    this.#changedJobs.clear();
  }

  #look(node: string, delay?: number): void {
    if (!this.#nodes.has(node)) return;
    this.#changedNodes.add(node);
    this.#turn.request(delay);
  }

  #lookAt(job: DrainingJob, delay?: number): void {
    this.#changedJobs.add(job);
    this.#turn.request(delay);
  }

  #jobChanged(namespace: string, id: string): void {
    const job = this.#jobs.get(keyOf(namespace, id));
    if (job !== undefined) this.#lookAt(job);
  }

  #planned({ Placed, Stopped, Preempted }: PlanCommand): void {
    const placed: string[] = [];
    if (Placed instanceof PlanBlock) {
      const jobs = Placed.templates.map((each) => this.#jobs.get(keyOf(each.Namespace, each.JobID)));
      if (jobs.some((job) => job !== undefined)) {
        for (let at = 0; at < Placed.length; at++) {
          const job = jobs[Placed.template(at)];
          if (job === undefined) continue;
          const id = Placed.id(at);
          this.#counted.set(id, job);
          placed.push(id);
        }
      }
      for (const node of Placed.placedNodes()) this.#look(node);
    } else {
      for (const { ID, NodeID, Namespace, JobID } of Placed) {
        this.#look(NodeID);
        const job = this.#jobs.get(keyOf(Namespace, JobID));
        if (job === undefined) continue;
        this.#counted.set(ID, job);
        placed.push(ID);
      }
    }
    const stopped = [...Stopped, ...Preempted];
    this.#recount([...placed, ...stopped.map(({ ID }) => ID)]);
    const lost = stopped.filter(({ ClientStatus }) => ClientStatus !== undefined);
    if (lost.length === 0) return;
    // No client reports their end.
    using snapshot = this.state.snapshot();
    for (const { ID } of lost) {
      const allocation = snapshot.allocation(ID);
      if (allocation !== null) this.#look(allocation.NodeID);
    }
  }

  #recount(ids: readonly string[]): void {
    if (this.#counted.size === 0) return;
    const known = ids.filter((id) => this.#counted.has(id));
    if (known.length === 0) return;
    using snapshot = this.state.snapshot();
    for (const id of known) {
      const job = this.#counted.get(id)!;
      job.read(snapshot, id);
      this.#lookAt(job);
    }
  }

  async #work(): Promise<void> {
    const term = this.#term;
    const nodes = [...this.#changedNodes];
    this.#changedNodes.clear();
    const leaving = new Map<string, Allocation>();
    const empty: Node[] = [];
    const services: Allocation[] = [];
    {
      using snapshot = this.state.snapshot();
      for (const id of nodes) this.#judge(snapshot, id, { leaving, empty, services });
    }
    for (const allocation of services) {
      await this.#count(allocation);
      if (term !== this.#term) return;
    }
    const jobs = [...this.#changedJobs];
    this.#changedJobs.clear();
    {
      using snapshot = this.state.snapshot();
      for (const job of jobs) {
        const row = snapshot.job(job.namespace, job.id);
        for (const id of job.leaving(row, (node) => this.#nodes.has(node))) {
          const allocation = snapshot.allocation(id);
          if (allocation !== null) leaving.set(id, allocation);
        }
      }
    }
    await Promise.all([...this.#move([...leaving.values()]), ...empty.map((node) => this.#complete(node))]);
  }

  #judge(
    snapshot: StateSnapshot,
    id: string,
    found: {
      readonly leaving: Map<string, Allocation>;
      readonly empty: Node[];
      readonly services: Allocation[];
    },
  ): void {
    if (!this.#nodes.has(id)) return;
    const node = snapshot.node(id);
    const strategy = node?.DrainStrategy ?? null;
    if (node === null || strategy === null) {
      this.#end(id);
      return;
    }
    this.#deadlines.set(id, strategy.Deadline > 0 ? strategy.ForceDeadline : null);
    const remaining = remainingOn(snapshot, node, strategy);
    const { service, batch, system } = remaining;
    const others = service.length + batch.length;
    if (others + system.length === 0) {
      found.empty.push(node);
      return;
    }
    const forced = strategy.Deadline < 0 || this.#deadlines.isDue(id);
    // System jobs serve the others on the node: they go when those have gone.
    const now = forced ? [...service, ...batch, ...system] : others === 0 ? system : [];
    for (const allocation of now) if (isToGo(allocation)) found.leaving.set(allocation.ID, allocation);
    if (!forced) found.services.push(...service);
  }

  /** Begins to count the allocation's job, where that isn't done yet. */
  async #count({ Namespace, JobID }: Allocation): Promise<void> {
    const key = keyOf(Namespace, JobID);
    const present = this.#jobs.get(key);
    if (present !== undefined) {
      this.#lookAt(present);
      return;
    }
    const job = new DrainingJob(Namespace, JobID);
    this.#jobs.set(key, job);
    let ids: string[];
    {
      using view = this.state.view();
      ids = view.allocationIdsByJob(Namespace, JobID);
    }
    // Before they are read, so that what changes meanwhile is read again.
    for (const id of ids) this.#counted.set(id, job);
    await job.load(this.state, ids);
    // The term may have ended meanwhile, and the job with it.
    if (this.#jobs.get(key) === job) this.#changedJobs.add(job);
  }

  /** Asks for other places for these, with one evaluation a job. */
  #move(allocations: readonly Allocation[]): Promise<void>[] {
    const writes: Promise<void>[] = [];
    for (let at = 0; at < allocations.length; at += BATCH)
      writes.push(this.#moveBatch(allocations.slice(at, at + BATCH)));
    return writes;
  }

  async #moveBatch(allocations: readonly Allocation[]): Promise<void> {
    const Transitions: Record<string, DesiredTransition> = {};
    const evaluations = new Map<string, Evaluation>();
    {
      using snapshot = this.state.snapshot();
      for (const allocation of allocations) {
        Transitions[allocation.ID] = MIGRATE;
        const key = keyOf(allocation.Namespace, allocation.JobID);
        const job = evaluations.has(key) ? null : jobOf(snapshot, allocation);
        if (job !== null) evaluations.set(key, newEvaluation(job, EvalTrigger.NodeDrain));
      }
    }
    const nodes = new Set(allocations.map(({ NodeID }) => NodeID));
    this.log.info({ allocations: allocations.length, nodes: nodes.size }, "allocations leave draining nodes");
    this.metrics.increment("drover.drain.allocations", allocations.length);
    await this.#write([...nodes], () =>
      this.commands.propose(CommandType.AllocationDesiredTransition, {
        Transitions,
        Evaluations: [...evaluations.values()],
        Time: unixNanos(),
      }),
    );
  }

  async #complete(node: Node): Promise<void> {
    const late = this.#deadlines.isDue(node.ID);
    await this.#write([node.ID], async () => {
      await this.commands.propose(CommandType.NodeUpdateDrain, {
        NodeID: node.ID,
        Drain: null,
        Complete: true,
        MarkEligible: false,
        Meta: null,
        Event: {
          ...event("Drain", "Node drain complete"),
          ...(late ? { Details: { deadline_reached: "true" } } : {}),
        },
        Evaluations: [],
        Time: unixNanos(),
      });
      this.log.info({ node: node.ID, name: node.Name }, "node drain complete");
    });
  }

  async #write(nodes: readonly string[], propose: () => Promise<unknown>): Promise<void> {
    if (!this.#enabled) return;
    try {
      await propose();
    } catch (error) {
      if (!this.#enabled) return;
      // A refusal is no trouble: the drain ended meanwhile.
      if (!(error instanceof CommandRefused)) {
        this.log.warn({ nodes: nodes.length, error: text(error) }, "drain could not be written; tried again");
      }
      for (const id of nodes) this.#look(id, RETRY);
    }
  }
}

function remainingOn(snapshot: StateSnapshot, node: Node, strategy: DrainStrategy): Remaining {
  const remaining: Remaining = { service: [], batch: [], system: [] };
  for (const allocation of snapshot.allocationsByNode(node.ID)) {
    if (clientTerminal(allocation)) continue;
    const type = jobOf(snapshot, allocation)?.Type ?? JobType.Service;
    if (type === JobType.System || type === JobType.SysBatch) {
      if (!strategy.IgnoreSystemJobs) remaining.system.push(allocation);
    } else if (type === JobType.Batch) remaining.batch.push(allocation);
    else remaining.service.push(allocation);
  }
  return remaining;
}

function isToGo(allocation: Allocation): boolean {
  return !serverTerminal(allocation) && allocation.DesiredTransition?.Migrate !== true;
}

/** The present job rather than the version that the allocation was made from: what is decided now is decided by it. */
function jobOf(snapshot: StateSnapshot, allocation: Allocation): Job | null {
  return snapshot.job(allocation.Namespace, allocation.JobID) ?? snapshot.allocationJob(allocation);
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}\0${id}`;
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
