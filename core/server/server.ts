import { dirname, join } from "node:path";
import type {
  AdmissionHook,
  AgentInfo,
  AgentTransport,
  Consensus,
  EventSink,
  Gossip,
  Logger,
  Metrics,
  ServerDiscovery,
  ServerEndpoints,
  ServerNetwork,
} from "@drover/plugin-sdk";
import { JobType } from "@drover/plugin-sdk";
import { Allocations } from "../rpc/endpoints/allocations.js";
import { Deployments } from "../rpc/endpoints/deployments.js";
import { Jobs } from "../rpc/endpoints/jobs.js";
import { Nodes } from "../rpc/endpoints/nodes.js";
import { Operator } from "../rpc/endpoints/operator.js";
import { OperatorRaft } from "../rpc/endpoints/operator-raft.js";
import { Snapshots } from "../rpc/endpoints/snapshots.js";
import { Status } from "../rpc/endpoints/status.js";
import { AgentCalls } from "../rpc/forwarding/agent-calls.js";
import { Consistency } from "../rpc/forwarding/consistency.js";
import { forwardedEndpoints } from "../rpc/forwarding/endpoints.js";
import { Hold } from "../rpc/forwarding/hold.js";
import { LeaderCalls } from "../rpc/forwarding/leader-calls.js";
import { TermBarrier } from "../rpc/forwarding/term-barrier.js";
import { CommandType, StateFsm, type StateStore } from "../state/index.js";
import { Autopilot } from "./autopilot/autopilot.js";
import { CommandLog, unixNanos } from "./command-log.js";
import { DeploymentWatcher } from "./deployments/watcher.js";
import { NodeDrainer } from "./drains/drainer.js";
import { DryRuns } from "./dry-runs.js";
import { BlockedEvals } from "./evaluations/blocked-evals.js";
import { DEFAULT_BROKER_OPTIONS, EvalBroker } from "./evaluations/eval-broker.js";
import { EventPublisher } from "./events.js";
import { ClusterFounding } from "./founding.js";
import { GarbageCollector } from "./garbage/garbage-collector.js";
import { Leadership } from "./leader.js";
import { ClusterServers, type ClusterServersParts } from "./members/cluster-servers.js";
import { AgentGate } from "./nodes/agent-gate.js";
import { AgentService } from "./nodes/agent-service.js";
import { Agents } from "./nodes/agents.js";
import { Assignments } from "./nodes/assignments.js";
import { ClusterKey } from "./nodes/cluster-key.js";
import { Heartbeats } from "./nodes/heartbeats.js";
import { JoinTokenIssuer } from "./nodes/join-tokens.js";
import { PlanApplier } from "./plans/plan-applier.js";
import { PluginTables } from "./replicated-state.js";
import type { SchedulerCatalog } from "./scheduler-catalog.js";
import { SchedulerPool, type SchedulerRequests } from "./scheduler-pool.js";
import { SnapshotArchives } from "./snapshots/archives.js";

/** Milliseconds that nodes have to be heard again after a change of leader. */
const FAILOVER_HEARTBEAT_TTL = 300_000;
/** Milliseconds that a server which stops has to hand leadership on. */
const HAND_OVER = 1_000;

export interface ServerParts {
  readonly agent: AgentInfo;
  readonly consensus: Consensus;
  readonly transport: AgentTransport;
  readonly network: ServerNetwork;
  /** Keeps the list of servers in place of the server itself. */
  readonly gossip?: Gossip | undefined;
  readonly discoveries: readonly ServerDiscovery[];
  readonly state: StateStore;
  readonly hooks: readonly AdmissionHook[];
  readonly sinks: readonly EventSink[];
  readonly schedulers: SchedulerCatalog;
  /** Job types that those schedulers handle and that are not switched off. */
  readonly types: readonly string[];
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Times of the member list that differ from the defaults. */
  readonly memberTimes?: ClusterServersParts["times"];
  /** Milliseconds between two looks of autopilot; default 2,000. */
  readonly autopilotInterval?: number;
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
  readonly #assignments: Assignments;
  readonly #agentService: AgentService;
  readonly #hold = new Hold();
  /** What other servers can't ask for any more. */
  readonly #served: { stop(): void }[];
  readonly #leadership: Leadership;
  readonly #servers: ClusterServers;
  readonly #pool: SchedulerPool | undefined;
  readonly #uncollect: () => void;
  readonly #archives: SnapshotArchives;
  readonly #snapshots: Snapshots;
  #stopServing: (() => void) | undefined;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    const { agent, consensus, network, transport, state, log, metrics } = parts;
    const config = agent.config.server;
    const commands = new CommandLog(consensus);
    const barrier = new TermBarrier(consensus);
    const hold = this.#hold;
    const consistency = new Consistency(consensus, barrier, hold);
    const calls = new LeaderCalls({ consensus, barrier, network, hold, log, metrics });
    const routes = new AgentCalls({ consensus, transport, network });
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
    this.#assignments = new Assignments(state, transport, log);
    const garbage = new GarbageCollector({
      state,
      commands,
      broker,
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
    const servers = new ClusterServers({
      agent,
      consensus,
      network,
      state,
      gossip: parts.gossip,
      discoveries: parts.discoveries,
      log,
      ...(parts.memberTimes === undefined ? {} : { times: parts.memberTimes }),
      fatal: parts.fatal,
    });
    this.#servers = servers;
    const autopilot = new Autopilot({
      consensus,
      state,
      members: () => servers.list.members().filter(({ Tags }) => Tags.region === agent.region),
      log,
      metrics,
      ...(parts.autopilotInterval === undefined ? {} : { interval: parts.autopilotInterval }),
    });
    const drainer = new NodeDrainer(state, commands, log, metrics);
    const key = new ClusterKey({ consensus, commands, state, transport, network, log });
    this.joinTokens = new JoinTokenIssuer(commands, key, hold, calls);
    this.tables = new PluginTables(state, commands, calls);
    this.#agents = new Agents(state, commands, heartbeats, log, metrics);
    const gate = new AgentGate({
      state,
      agents: this.#agents,
      assignments: this.#assignments,
      calls,
      consistency,
      routes,
      leads: () => barrier.passed,
      log,
    });
    this.#agentService = new AgentService({ consensus, state, transport, gate, key, log });
    this.#served = [calls, routes, key];
    this.#leadership = new Leadership({
      consensus,
      state,
      commands,
      broker,
      blocked,
      planQueue: applier.queue,
      heartbeats,
      garbage,
      deployments,
      drainer,
      founding: new ClusterFounding({
        state,
        commands,
        schedulers: config.default_scheduler_config,
        autopilot: agent.config.autopilot,
        log,
      }),
      duties: [servers.reconciler, autopilot],
      log,
      metrics,
    });
    this.#archives = new SnapshotArchives({
      consensus,
      leadership: this.#leadership,
      region: agent.region,
      version: agent.version,
      folder: join(dirname(state.path), "archives"),
      stateBytes: () => state.bytesOnDisk(),
      log,
    });
    this.#snapshots = new Snapshots(consensus, this.#archives, network, hold);
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
    const endpoints: ServerEndpoints = {
      jobs: new Jobs(
        state,
        commands,
        [...parts.hooks, parts.schedulers.admissionHook()],
        parts.types,
        dryRuns,
        log,
      ),
      nodes: new Nodes(state, commands, routes),
      allocations: new Allocations(state, commands),
      deployments: new Deployments(state, commands),
      operator: new Operator(
        state,
        commands,
        this.joinTokens,
        broker,
        garbage,
        autopilot,
        new OperatorRaft(consensus, () => servers.list.members()),
      ),
      snapshots: this.#snapshots,
      status: new Status(consensus, broker, blocked, agent, consistency, servers.list, () =>
        servers.identity.cluster(),
      ),
    };
    this.endpoints = forwardedEndpoints(endpoints, calls, consistency);
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
    const { consensus, state } = this.#parts;
    await this.#archives.open();
    this.#leadership.start();
    state.onAssignments((changed) => this.#assignments.changed(changed));
    const events = new EventPublisher(state, this.#parts.sinks, this.#parts.log);
    const listener = this.#parts.sinks.length > 0 ? events.applied.bind(events) : undefined;
    await consensus.start(new StateFsm(state, listener));
    this.#stopServing = this.#snapshots.serve();
    await this.#servers.start();
    const served = this.#agentService.start();
    // A server that is a cluster of its own leads at once; being asked before it could answer helps nobody. Others must not
    // wait for a leader: it may need them.
    if (!this.#isAlone()) return;
    await this.#leadership.established;
    await served;
  }

  /** Leaves the cluster for good, before `stop`: bounded, and what failed is logged. */
  leave(): Promise<void> {
    return this.#servers.leaving.leave();
  }

  /** Whether this server's vote is the only one; where an engine outside counts them, whether it leads already. */
  #isAlone(): boolean {
    const { consensus } = this.#parts;
    if (consensus.membership === undefined) return consensus.isLeader();
    const voters = consensus.peers().filter(({ voter }) => voter);
    return voters.length === 1 && voters[0]!.id === consensus.id;
  }

  async stop(): Promise<void> {
    this.#uncollect();
    this.#stopServing?.();
    await this.#servers.leaving.handOver(HAND_OVER);
    await this.#servers.stop();
    this.#agentService.stop();
    this.#hold.stop();
    for (const served of this.#served) served.stop();
    this.#assignments.stop();
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
