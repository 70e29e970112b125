import type {
  AdmissionHook,
  AgentInfo,
  AgentTransport,
  Consensus,
  EventSink,
  Logger,
  Metrics,
  ServerEndpoints,
} from "@drover/plugin-sdk";
import { JobType } from "@drover/plugin-sdk";
import { Allocations } from "../rpc/endpoints/allocations.js";
import { Deployments } from "../rpc/endpoints/deployments.js";
import { Jobs } from "../rpc/endpoints/jobs.js";
import { Nodes } from "../rpc/endpoints/nodes.js";
import { Operator } from "../rpc/endpoints/operator.js";
import { Status } from "../rpc/endpoints/status.js";
import { CommandType, StateFsm, type StateStore } from "../state/index.js";
import { CommandLog, unixNanos } from "./command-log.js";
import { DeploymentWatcher } from "./deployments/watcher.js";
import { NodeDrainer } from "./drains/drainer.js";
import { DryRuns } from "./dry-runs.js";
import { BlockedEvals } from "./evaluations/blocked-evals.js";
import { DEFAULT_BROKER_OPTIONS, EvalBroker } from "./evaluations/eval-broker.js";
import { EventPublisher } from "./events.js";
import { GarbageCollector } from "./garbage/garbage-collector.js";
import { Leadership } from "./leader.js";
import { Agents } from "./nodes/agents.js";
import { Assignments } from "./nodes/assignments.js";
import { Heartbeats } from "./nodes/heartbeats.js";
import { JoinTokenIssuer } from "./nodes/join-tokens.js";
import { PlanApplier } from "./plans/plan-applier.js";
import { PluginTables } from "./replicated-state.js";
import type { SchedulerCatalog } from "./scheduler-catalog.js";
import { SchedulerPool, type SchedulerRequests } from "./scheduler-pool.js";

/** Milliseconds that nodes have to be heard again after a change of leader. */
const FAILOVER_HEARTBEAT_TTL = 300_000;

export interface ServerParts {
  readonly agent: AgentInfo;
  readonly consensus: Consensus;
  readonly transport: AgentTransport;
  readonly state: StateStore;
  readonly hooks: readonly AdmissionHook[];
  readonly sinks: readonly EventSink[];
  readonly schedulers: SchedulerCatalog;
  /** Job types that those schedulers handle and that are not switched off. */
  readonly types: readonly string[];
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Ends the agent: the server can't do its work any more. */
  fatal(error: Error): void;
}

/** One server: ties the trackers, the plan applier, the scheduling pool and the agents' gateway together. */
export class Server {
  readonly endpoints: ServerEndpoints;
  readonly joinTokens: JoinTokenIssuer;
  readonly tables: PluginTables;
  readonly #parts: ServerParts;
  readonly #agents: Agents;
  readonly #leadership: Leadership;
  readonly #pool: SchedulerPool | undefined;
  readonly #uncollect: () => void;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    const { agent, consensus, transport, state, log, metrics } = parts;
    const config = agent.config.server;
    const commands = new CommandLog(consensus);
    const broker = new EvalBroker(
      {
        ...DEFAULT_BROKER_OPTIONS,
        nackTimeout: config.eval_nack_timeout,
        deliveryLimit: config.eval_delivery_limit,
      },
      () => setImmediate(() => this.#evaluationReady()),
      (evaluation, why) => {
        metrics.increment("nomad.broker.nack");
        log.warn({ evaluation: evaluation.ID, job: evaluation.JobID, why }, "evaluation nacked");
      },
      (evaluations) => this.#leadership.cancelSuperseded(evaluations),
    );
    const blocked = new BlockedEvals(
      (evaluation) => broker.requeue(evaluation, broker.outstandingToken(evaluation.ID) ?? ""),
      () => setImmediate(() => this.#leadership.reapDuplicates()),
    );
    const applier = new PlanApplier({
      state,
      usage: state.usage,
      commands,
      broker,
      log,
      metrics,
    });
    const heartbeats = new Heartbeats(
      {
        minTTL: config.min_heartbeat_ttl,
        grace: config.heartbeat_grace,
        maxPerSecond: config.max_heartbeats_per_second,
        failoverTTL: FAILOVER_HEARTBEAT_TTL,
      },
      (nodeId) => {
        this.#agents.missed(nodeId).catch((error: unknown) => {
          log.error({ node: nodeId, error: text(error) }, "node could not be marked down; tried again");
          heartbeats.reset(nodeId);
        });
      },
      log,
      metrics,
    );
    const assignments = new Assignments(state, transport, log);
    const garbage = new GarbageCollector({
      state,
      commands,
      broker,
      assignments,
      settings: {
        evaluationThreshold: config.eval_gc_threshold,
        jobThreshold: config.job_gc_threshold,
        nodeThreshold: config.node_gc_threshold,
        deploymentThreshold: config.deployment_gc_threshold,
        jobInterval: config.job_gc_interval,
      },
      log,
      metrics,
    });
    const deployments = new DeploymentWatcher(state, commands, log, metrics);
    const drainer = new NodeDrainer(state, commands, log, metrics);
    this.joinTokens = new JoinTokenIssuer(commands, transport);
    this.tables = new PluginTables(state, commands);
    this.#agents = new Agents(state, commands, heartbeats, assignments, log, metrics);
    this.#leadership = new Leadership({
      consensus,
      state,
      commands,
      broker,
      blocked,
      planQueue: applier.queue,
      heartbeats,
      assignments,
      garbage,
      deployments,
      drainer,
      initialSettings: config.default_scheduler_config,
      log,
      metrics,
    });
    this.#pool =
      config.num_schedulers > 0
        ? new SchedulerPool(
            {
              threads: config.num_schedulers,
              types: [...parts.types, JobType.Core],
              statePath: state.path,
              columns: state.columns,
              catalog: parts.schedulers,
              deadline: config.eval_nack_timeout / 2,
              index: () => state.index(),
              cutoffs: (evaluation) => garbage.cutoffs(evaluation),
              job: (namespace, id) => {
                using snapshot = state.snapshot();
                return snapshot.job(namespace, id);
              },
            },
            broker,
            schedulerRequests(commands, applier, broker, garbage),
            log,
            metrics,
            parts.fatal,
          )
        : undefined;
    const pool = this.#pool;
    const dryRuns =
      pool === undefined ? undefined : new DryRuns((task) => pool.dryRun(task), config.num_schedulers);
    this.endpoints = {
      jobs: new Jobs(
        state,
        commands,
        [...parts.hooks, parts.schedulers.admissionHook()],
        parts.types,
        dryRuns,
        log,
      ),
      nodes: new Nodes(state, commands, transport),
      allocations: new Allocations(state, commands),
      deployments: new Deployments(state, commands),
      operator: new Operator(state, commands, this.joinTokens, broker, garbage),
      status: new Status(consensus, broker, blocked, agent),
    };
    this.#uncollect = metrics.onCollect(() => {
      const ready = broker.stats();
      metrics.gauge("nomad.broker.total_ready", ready.ready);
      metrics.gauge("nomad.broker.total_unacked", ready.unacked);
      metrics.gauge("nomad.broker.total_blocked", ready.pending);
      metrics.gauge("nomad.broker.total_waiting", ready.delayed);
      const waiting = blocked.stats();
      metrics.gauge("nomad.blocked_evals.total_blocked", waiting.blocked);
      metrics.gauge("nomad.blocked_evals.total_escaped", waiting.escaped);
      metrics.gauge("nomad.blocked_evals.total_quota_limit", waiting.quota);
      metrics.gauge("nomad.plan.queue_depth", applier.queue.depth);
      metrics.gauge("nomad.heartbeat.active", heartbeats.active);
      metrics.gauge("drover.deployments.active", deployments.active);
      metrics.gauge("drover.drains.active", drainer.active);
      metrics.gauge("nomad.state.index", state.index());
    });
  }

  async start(): Promise<void> {
    const { consensus, state, transport } = this.#parts;
    this.#leadership.start();
    const events = new EventPublisher(state, this.#parts.sinks, this.#parts.log);
    const listener = this.#parts.sinks.length > 0 ? events.applied.bind(events) : undefined;
    await consensus.start(new StateFsm(state, listener));
    const { advertise, config } = this.#parts.agent;
    if (consensus.membership?.bootstrapped() === false && config.server.bootstrap_expect === 1)
      await consensus.membership.bootstrap([{ id: consensus.id, address: advertise.rpc }]);
    const others = consensus.peers().filter(({ id, voter }) => voter && id !== consensus.id);
    if (others.length === 0 && consensus.peers().length > 0) {
      // A server that is a cluster of its own leads at once; being asked before it could answer helps nobody.
      await leads(consensus);
      await consensus.barrier();
    }
    await transport.serve(this.#agents);
  }

  async stop(): Promise<void> {
    this.#uncollect();
    this.#leadership.stop();
    await this.#pool?.stop();
    await this.#parts.consensus.stop();
    await this.#parts.state.close();
  }

  #evaluationReady(): void {
    if (!this.#leadership.leading) return;
    this.#leadership.reapFailed();
    this.#pool?.pump();
  }
}

/** Resolves once this server leads. */
function leads(consensus: Consensus): Promise<void> {
  return new Promise((resolve) => {
    let remove: (() => void) | undefined;
    let led = false;
    remove = consensus.onLeadership((leader) => {
      if (!leader) return;
      led = true;
      remove?.();
      resolve();
    });
    if (led) remove();
  });
}

/** Answers to the schedulers; all of them only while the delivery they hold is the present one. */
function schedulerRequests(
  commands: CommandLog,
  applier: PlanApplier,
  broker: EvalBroker,
  garbage: GarbageCollector,
): SchedulerRequests {
  const held = (evaluationId: string, token: string): void => {
    if (broker.outstandingToken(evaluationId) !== token) {
      throw new Error(`evaluation ${evaluationId} was delivered again: this delivery is out of date`);
    }
  };
  return {
    submitPlan: (plan) => applier.submit(plan),
    async updateEvaluation(evaluation, token) {
      held(evaluation.ID, token);
      await commands.propose(CommandType.EvaluationUpdate, { Evaluations: [evaluation], Time: unixNanos() });
    },
    async createEvaluation(evaluation) {
      await commands.propose(CommandType.EvaluationUpdate, { Evaluations: [evaluation], Time: unixNanos() });
    },
    async reblockEvaluation(evaluation, token) {
      held(evaluation.ID, token);
      // Its status is `blocked`, so the leader's tracker takes it back with the commit.
      await commands.propose(CommandType.EvaluationUpdate, { Evaluations: [evaluation], Time: unixNanos() });
    },
    async collectGarbage(batch, evaluation, token) {
      if (evaluation.Type !== JobType.Core)
        throw new Error(
          `garbage collection is for evaluations of ${JobType.Core}, not of ${evaluation.Type}`,
        );
      // It goes on for as long as there is something to collect.
      broker.pauseNackTimeout(evaluation.ID, token);
      try {
        await garbage.collect(batch);
      } finally {
        broker.resumeNackTimeout(evaluation.ID, token);
      }
    },
  };
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
