import { setTimeout as sleep } from "node:timers/promises";
import type { Consensus, Evaluation, Logger, Metrics, NodeStatus, StateSnapshot } from "@drover/plugin-sdk";
import {
  clientTerminal,
  EvalStatus,
  EvalTrigger,
  evalShouldBlock,
  evalShouldEnqueue,
  JobType,
} from "@drover/plugin-sdk";
import type { Command, StateStore } from "../state/index.js";
import { CommandType } from "../state/index.js";
import { type CommandLog, unixNanos } from "./command-log.js";
import type { DeploymentWatcher } from "./deployments/watcher.js";
import type { NodeDrainer } from "./drains/drainer.js";
import type { BlockedEvals } from "./evaluations/blocked-evals.js";
import { type EvalBroker, FAILED_QUEUE } from "./evaluations/eval-broker.js";
import type { ClusterFounding } from "./founding.js";
import type { GarbageCollector } from "./garbage/garbage-collector.js";
import type { Heartbeats } from "./nodes/heartbeats.js";
import { newEvaluation } from "./nodes/node-evaluations.js";
import type { PlanQueue } from "./plans/plan-queue.js";

const PAUSED =
  "the evaluation broker is paused by the scheduler configuration (PauseEvalBroker): nothing is scheduled until it is resumed";
/** Milliseconds between tries of evaluations that are blocked because their plans were refused too often. */
const UNBLOCK_FAILED_INTERVAL = 60_000;
/** Milliseconds before a leadership that could not be established is tried again. */
const ESTABLISH_RETRY = 1_000;
/** Milliseconds until the follow-up of an evaluation that was given up is tried: 1 to 2 minutes. */
const FAILED_FOLLOW_UP = 60_000;

export interface LeaderParts {
  readonly consensus: Consensus;
  readonly state: StateStore;
  readonly commands: CommandLog;
  readonly broker: EvalBroker;
  readonly blocked: BlockedEvals;
  readonly planQueue: PlanQueue;
  readonly heartbeats: Heartbeats;
  readonly garbage: GarbageCollector;
  readonly deployments: DeploymentWatcher;
  readonly drainer: NodeDrainer;
  /** What the first leader of a cluster writes. */
  readonly founding: ClusterFounding;
  /** What else is done while this server leads; `stop` may be called twice. */
  readonly duties: readonly { start(): void; stop(): void }[];
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** A term that this server leads in. */
interface LeaderTerm {
  readonly number: number;
  /** Aborted when it is over. */
  readonly ended: AbortController;
}

/**
 * What a server does while it leads: it fills its trackers from the state when leadership begins, keeps them current
 * with every command it commits, and empties them when leadership ends.
 */
export class Leadership {
  /** The term that this server leads in, or prepares to. */
  #present: LeaderTerm | undefined;
  #leading = false;
  #unblockFailed: NodeJS.Timeout | undefined;
  /** Computed classes by node; a node gets another one only when it registers. */
  readonly #classes = new Map<string, string>();
  #unsubscribe: (() => void) | undefined;
  /** The state is being replaced: nobody leads on it meanwhile. */
  #held = false;
  #isEstablished!: () => void;
  /** Resolves when leadership is established for the first time. */
  readonly established = new Promise<void>((resolve) => {
    this.#isEstablished = resolve;
  });

  constructor(private readonly parts: LeaderParts) {
    parts.commands.onCommitted((command, index) => this.#committed(command, index));
  }

  get leading(): boolean {
    return this.#leading;
  }

  start(): void {
    this.#unsubscribe = this.parts.consensus.onLeadership((leader, term) => {
      if (!leader) this.#revoke();
      else if (!this.#held && this.#present?.number !== term) this.#begin(term);
    });
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#revoke();
  }

  /**
   * Lets `work` replace the state: everything that leaders keep in memory is dropped before, and made anew of what the state
   * then is, also when the work fails.
   */
  async restart<T>(work: () => Promise<T>): Promise<T> {
    const { consensus } = this.parts;
    this.#held = true;
    this.#revoke();
    try {
      return await work();
    } finally {
      this.#held = false;
      if (consensus.isLeader()) this.#begin(consensus.term());
    }
  }

  #begin(number: number): void {
    this.#revoke();
    this.#present = { number, ended: new AbortController() };
    void this.#establish(this.#present);
  }

  /**
   * Prepares until it succeeds or the term is over, and only then switches anything on: what an ended term was still waiting
   * for finds its signal aborted.
   */
  async #establish(term: LeaderTerm): Promise<void> {
    const { log } = this.parts;
    const { signal } = term.ended;
    while (this.#holds(term)) {
      try {
        await this.#prepare(term);
        if (this.#holds(term)) this.#open(term);
        return;
      } catch (error) {
        if (!this.#holds(term)) return;
        this.#close();
        log.error(
          { term: term.number, error: text(error) },
          "leadership could not be established; tried again",
        );
      }
      await sleep(ESTABLISH_RETRY, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  #holds({ number, ended }: LeaderTerm): boolean {
    const { consensus } = this.parts;
    return !ended.signal.aborted && consensus.isLeader() && consensus.term() === number;
  }

  async #prepare(term: LeaderTerm): Promise<void> {
    const { consensus, founding } = this.parts;
    // Everything that earlier leaders committed must be in the state before decisions are made on it.
    await consensus.barrier();
    if (this.#holds(term)) await founding.complete(() => this.#holds(term));
  }

  /** Switches everything on; in one turn of the event loop, so that nothing can end the term in between. */
  #open(term: LeaderTerm): void {
    const { state, blocked, planQueue, heartbeats, log } = this.parts;
    this.#leading = true;
    planQueue.setEnabled(true);
    using snapshot = state.snapshot();
    const isPaused = snapshot.schedulerConfiguration().PauseEvalBroker;
    if (isPaused) log.warn({ term: term.number }, PAUSED);
    else this.#resumeScheduling(snapshot);
    const nodes: string[] = [];
    const draining: string[] = [];
    for (const node of snapshot.nodes()) {
      if (node.Status !== "down") nodes.push(node.ID);
      if (node.DrainStrategy !== null) draining.push(node.ID);
    }
    heartbeats.enable(nodes);
    this.parts.deployments.enable(snapshot);
    this.parts.drainer.enable(draining);
    this.#unblockFailed = setInterval(() => blocked.unblockFailed(), UNBLOCK_FAILED_INTERVAL);
    this.#unblockFailed.unref();
    this.parts.garbage.start();
    for (const duty of this.parts.duties) duty.start();
    this.#isEstablished();
    log.info({ term: term.number, nodes: nodes.length }, "cluster leadership acquired");
  }

  /** Fills broker and blocked evaluations from the state. */
  #resumeScheduling(snapshot: StateSnapshot): void {
    const { broker, blocked, log } = this.parts;
    broker.setEnabled(true);
    blocked.setEnabled(true);
    let restored = 0;
    for (const evaluation of snapshot.evaluations()) {
      if (evalShouldEnqueue(evaluation)) broker.enqueue(evaluation);
      else if (evalShouldBlock(evaluation)) blocked.block(evaluation);
      else continue;
      restored++;
    }
    // What came free before is not known here: everything blocked is tried once.
    blocked.unblockAll(snapshot.index);
    if (restored > 0) log.info({ evaluations: restored }, "evaluations restored");
  }

  #pauseScheduling(): void {
    this.parts.broker.setEnabled(false);
    this.parts.blocked.setEnabled(false);
  }

  /** Settings of the schedulers changed: another one may make any placement possible. */
  #settingsChanged(index: number): void {
    const { state, broker, blocked, log } = this.parts;
    using snapshot = state.snapshot();
    const { PauseEvalBroker: isPaused } = snapshot.schedulerConfiguration();
    if (isPaused !== broker.enabled) {
      if (!isPaused) blocked.unblockAll(index);
      return;
    }
    if (isPaused) {
      log.warn({}, PAUSED);
      this.#pauseScheduling();
    } else {
      log.info({}, "the evaluation broker works again");
      this.#resumeScheduling(snapshot);
    }
  }

  #revoke(): void {
    const term = this.#present;
    if (term === undefined) return;
    this.#present = undefined;
    term.ended.abort();
    if (!this.#leading) return;
    this.#close();
    this.parts.log.info({ term: term.number }, "cluster leadership lost");
  }

  /** Switches everything off, also what a failed `#open` left on. */
  #close(): void {
    this.#leading = false;
    clearInterval(this.#unblockFailed);
    this.#classes.clear();
    const { planQueue, heartbeats } = this.parts;
    planQueue.setEnabled(false);
    this.#pauseScheduling();
    heartbeats.disable();
    this.parts.garbage.stop();
    this.parts.deployments.disable();
    this.parts.drainer.disable();
    for (const duty of this.parts.duties) duty.stop();
  }

  /** Keeps the trackers current; `index` is that of the command. */
  #committed(command: Command, index: number): void {
    if (!this.#leading) return;
    this.parts.deployments.committed(command);
    this.parts.drainer.committed(command);
    switch (command.type) {
      case CommandType.EvaluationUpdate:
        this.#track(command.payload.Evaluations);
        break;
      case CommandType.JobRegister:
      case CommandType.JobDeregister: {
        const { Evaluation: evaluation } = command.payload;
        if (evaluation !== null) this.#track([evaluation]);
        if (command.type === CommandType.JobDeregister) {
          this.#cancelBlocked(command.payload.Namespace, command.payload.JobID);
        }
        break;
      }
      case CommandType.NodeRegister:
        this.#track(command.payload.Evaluations);
        this.#capacityOf(command.payload.Node.ID, index);
        break;
      case CommandType.NodeUpdateStatus:
        this.#track(command.payload.Evaluations);
        this.#nodeStatus(command.payload.NodeID, command.payload.Status, index);
        break;
      case CommandType.NodeUpdateEligibility:
        this.#track(command.payload.Evaluations);
        if (command.payload.Eligibility === "eligible") this.#capacityOf(command.payload.NodeID, index);
        break;
      case CommandType.NodeUpdateDrain:
        this.#track(command.payload.Evaluations);
        if (command.payload.MarkEligible) this.#capacityOf(command.payload.NodeID, index);
        break;
      case CommandType.DeploymentStatusUpdate:
      case CommandType.DeploymentPromote:
      case CommandType.DeploymentAllocHealth:
        if (command.payload.Evaluation !== null) this.#track([command.payload.Evaluation]);
        break;
      case CommandType.NodeDeregister:
        this.#track(command.payload.Evaluations);
        for (const node of command.payload.NodeIDs) this.#nodeGone(node);
        break;
      case CommandType.NodeCollect:
        this.#nodesCollected(command.payload.Nodes.map(({ ID }) => ID));
        break;
      case CommandType.PlanApply: {
        this.#track(command.payload.Evaluations);
        const ids = [...command.payload.Stopped, ...command.payload.Preempted].map((stop) => stop.ID);
        // What was stopped makes room at once: a terminal allocation counts no more.
        if (ids.length > 0) this.#capacityOfAll(ids, index);
        break;
      }
      case CommandType.AllocationClientUpdate: {
        this.#track(command.payload.Evaluations);
        const ended = command.payload.Updates.filter((update) => clientTerminal(update)).map(
          (update) => update.ID,
        );
        if (ended.length > 0) this.#capacityOfAll(ended, index);
        break;
      }
      case CommandType.AllocationDesiredTransition:
        this.#track(command.payload.Evaluations);
        break;
      case CommandType.SchedulerConfigUpdate:
        this.#settingsChanged(index);
        break;
      default:
        break;
    }
  }

  /** Takes evaluations as the state now holds them: with the indexes that the commit gave them. */
  #track(written: readonly Evaluation[]): void {
    if (written.length === 0) return;
    const { state, broker, blocked } = this.parts;
    using snapshot = state.snapshot();
    for (const { ID } of written) {
      const evaluation = snapshot.evaluation(ID);
      if (evaluation === null) continue;
      if (evalShouldEnqueue(evaluation)) broker.enqueue(evaluation);
      else if (evalShouldBlock(evaluation)) blocked.block(evaluation);
      else if (evaluation.Status === EvalStatus.Complete && !evaluation.FailedTGAllocs) {
        // Everything is placed: an older blocked evaluation of the job has nothing left to do. One that waited for a node
        // looked at that node alone.
        const waited = evaluation.TriggeredBy === EvalTrigger.QueuedAllocs ? evaluation.NodeID : undefined;
        this.#cancelBlocked(evaluation.Namespace, evaluation.JobID, waited);
      }
    }
  }

  #cancelBlocked(namespace: string, jobId: string, nodeId?: string): void {
    const obsolete = this.parts.blocked.untrack(namespace, jobId, nodeId);
    if (obsolete.length > 0) this.#cancel(obsolete, "evaluation is no longer needed");
  }

  /** One that came back after it was picked is still there. */
  #nodesCollected(nodeIds: readonly string[]): void {
    using snapshot = this.parts.state.snapshot();
    for (const id of nodeIds) if (snapshot.node(id) === null) this.#nodeGone(id);
  }

  #nodeGone(nodeId: string): void {
    this.#classes.delete(nodeId);
    this.parts.heartbeats.clear(nodeId);
    const obsolete = this.parts.blocked.untrackNode(nodeId);
    if (obsolete.length > 0) this.#cancel(obsolete, "node is gone");
  }

  #nodeStatus(nodeId: string, status: NodeStatus, index: number): void {
    if (status === "down") this.parts.heartbeats.clear(nodeId);
    else this.#capacityOf(nodeId, index);
  }

  #capacityOf(nodeId: string, index: number): void {
    using snapshot = this.parts.state.snapshot();
    const node = snapshot.node(nodeId);
    if (node === null) return;
    this.#classes.set(nodeId, node.ComputedClass);
    this.parts.blocked.unblock(nodeId, node.ComputedClass, index);
  }

  #capacityOfAll(allocationIds: readonly string[], index: number): void {
    using snapshot = this.parts.state.snapshot();
    const nodes = new Map<string, string>();
    for (const id of allocationIds) {
      const allocation = snapshot.allocation(id);
      if (allocation === null || nodes.has(allocation.NodeID)) continue;
      const computedClass = this.#classOf(snapshot, allocation.NodeID);
      if (computedClass !== undefined) nodes.set(allocation.NodeID, computedClass);
    }
    this.parts.blocked.unblockNodes(nodes, index);
  }

  /** A node's computed class, read once: rows of nodes are large, and capacity changes thousands of times a second. */
  #classOf(snapshot: StateSnapshot, nodeId: string): string | undefined {
    const known = this.#classes.get(nodeId) ?? snapshot.node(nodeId)?.ComputedClass;
    if (known !== undefined) this.#classes.set(nodeId, known);
    return known;
  }

  /** Cancels blocked evaluations that a newer one of the same job replaced. */
  reapDuplicates(): void {
    const duplicates = this.parts.blocked.takeDuplicates();
    if (duplicates.length > 0) this.#cancel(duplicates, "existing blocked evaluation exists for this job");
  }

  /** Cancels evaluations that a newer one of the same job made needless before they had their turn. */
  cancelSuperseded(evaluations: readonly Evaluation[]): void {
    this.parts.metrics.increment("nomad.broker.eval_superseded", evaluations.length);
    this.#cancel(evaluations, "canceled after a more recent evaluation of the job was made");
  }

  /** Gives up evaluations that were delivered too often, each with a follow-up that tries again later. */
  reapFailed(): void {
    const { broker, commands, log, metrics } = this.parts;
    for (
      let held = broker.dequeue([FAILED_QUEUE]);
      held !== undefined;
      held = broker.dequeue([FAILED_QUEUE])
    ) {
      const { evaluation, token } = held;
      if (evaluation.Type === JobType.Core) {
        // It is in no state, and the next timer makes another.
        log.error(
          { job: evaluation.JobID },
          "garbage collection failed; it is tried again at the next interval",
        );
        broker.ack(evaluation.ID, token);
        continue;
      }
      const wait = FAILED_FOLLOW_UP * (1 + Math.random());
      const followUp = newEvaluation(
        {
          ID: evaluation.JobID,
          Namespace: evaluation.Namespace,
          Priority: evaluation.Priority,
          Type: evaluation.Type,
        },
        "failed-follow-up",
        {
          PreviousEval: evaluation.ID,
          WaitUntil: new Date(Date.now() + wait).toISOString(),
          ...(evaluation.JobModifyIndex === undefined ? {} : { JobModifyIndex: evaluation.JobModifyIndex }),
        },
      );
      metrics.increment("nomad.broker.failed");
      log.warn({ evaluation: evaluation.ID, job: evaluation.JobID }, "evaluation reached its delivery limit");
      commands
        .propose(CommandType.EvaluationUpdate, {
          Evaluations: [
            {
              ...evaluation,
              Status: EvalStatus.Failed,
              StatusDescription: deliveryLimit(broker.lastFailure(evaluation.ID)),
              NextEval: followUp.ID,
            },
            followUp,
          ],
          Time: unixNanos(),
        })
        .then(
          () => broker.ack(evaluation.ID, token),
          (error: unknown) => broker.nack(evaluation.ID, token, text(error)),
        )
        .catch((error: unknown) =>
          log.error({ evaluation: evaluation.ID, error: text(error) }, "reaping failed"),
        );
    }
  }

  #cancel(evaluations: readonly Evaluation[], why: string): void {
    this.parts.commands
      .propose(CommandType.EvaluationUpdate, {
        Evaluations: evaluations.map((evaluation) => ({
          ...evaluation,
          Status: EvalStatus.Cancelled,
          StatusDescription: why,
        })),
        Time: unixNanos(),
      })
      .catch((error: unknown) => {
        this.parts.log.warn(
          { error: text(error) },
          "obsolete evaluations were not cancelled; the next leader does",
        );
      });
  }
}

/** What is said of an evaluation that was delivered too often, with why the last delivery failed. */
const deliveryLimit = (why: string | undefined): string =>
  `evaluation reached delivery limit${why === undefined ? "" : `: ${why}`}`;

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
