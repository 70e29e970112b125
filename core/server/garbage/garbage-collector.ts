import { setImmediate as turn } from "node:timers/promises";
import {
  CORE_JOB_PRIORITY,
  CoreJob,
  EvalStatus,
  EvalTrigger,
  type Evaluation,
  type GarbageBatch,
  type GarbageCutoffs,
  generateUUID,
  JobType,
  type Logger,
  type Metrics,
  type StateReader,
} from "@drover/plugin-sdk";
import { CommandType } from "../../state/index.js";
import { type CommandLog, unixNanos } from "../command-log.js";
import type { EvalBroker } from "../evaluations/eval-broker.js";
import { TimeTable } from "./time-table.js";

/** Milliseconds. */
export interface GarbageSettings {
  readonly evaluationThreshold: number;
  readonly jobThreshold: number;
  readonly nodeThreshold: number;
  readonly deploymentThreshold: number;
  readonly jobInterval: number;
}

/** Milliseconds between collections of everything but jobs. */
const INTERVAL = 300_000;
/** Longest delay that a timer of Node takes. */
const MAX_TIMER = 2 ** 31 - 1;
/** Namespace of evaluations that belong to no job of anybody's. */
const CORE_NAMESPACE = "-";
/** Rows read between two turns of the event loop. */
const ROWS_A_TURN = 200;

export interface GarbageParts {
  readonly state: StateReader;
  readonly commands: CommandLog;
  readonly broker: EvalBroker;
  readonly settings: GarbageSettings;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/**
 * The leader's part of garbage collection: it makes evaluations of type `_core` on timers, knows how old an index is, and
 * deletes what the scheduling threads found. The evaluations go into the broker alone: one that is lost with its leader is
 * made again by the next leader's timers, and the state would have to collect them too.
 */
export class GarbageCollector {
  readonly #parts: GarbageParts;
  readonly #times = new TimeTable();
  /** The last evaluation of each job. */
  readonly #latest = new Map<CoreJob, string>();
  #timers: NodeJS.Timeout[] = [];
  #term = 0;

  constructor(parts: GarbageParts) {
    this.#parts = parts;
    parts.commands.onCommitted((_, index) => this.#times.witness(index));
  }

  /** On becoming leader. */
  start(): void {
    const { log, settings } = this.#parts;
    const every = (interval: number, ...jobs: CoreJob[]): void => {
      const timer = setInterval(
        () => {
          for (const job of jobs) this.#evaluate(job);
        },
        Math.min(interval, MAX_TIMER),
      );
      this.#timers.push(timer.unref());
    };
    every(INTERVAL, CoreJob.EvalGC, CoreJob.NodeGC, CoreJob.DeploymentGC);
    every(settings.jobInterval, CoreJob.JobGC);
    this.#remember(++this.#term).catch((error: unknown) =>
      log.warn(
        { error: text(error) },
        "ages of rows are counted from now on only: those before could not be read",
      ),
    );
  }

  stop(): void {
    this.#term++;
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    this.#times.clear();
    this.#latest.clear();
  }

  /** Has everything collected that may go, however young. */
  force(): void {
    this.#evaluate(CoreJob.ForceGC);
  }

  cutoffs(evaluation: Evaluation): GarbageCutoffs {
    if (evaluation.JobID.startsWith(`${CoreJob.ForceGC}:`)) {
      const all = Number.MAX_SAFE_INTEGER;
      return { evaluations: all, jobs: all, nodes: all, deployments: all };
    }
    const { settings } = this.#parts;
    return {
      evaluations: this.#times.indexBefore(settings.evaluationThreshold),
      jobs: this.#times.indexBefore(settings.jobThreshold),
      nodes: this.#times.indexBefore(settings.nodeThreshold),
      deployments: this.#times.indexBefore(settings.deploymentThreshold),
    };
  }

  /** Deletes a batch that a scheduling thread found. */
  async collect(batch: GarbageBatch): Promise<void> {
    const { commands } = this.#parts;
    switch (batch.table) {
      case "evaluations": {
        const { evaluations, allocations } = batch;
        await commands.propose(CommandType.EvaluationDelete, {
          EvalIDs: [...evaluations],
          AllocIDs: [...allocations],
        });
        this.#count("evaluations", evaluations.length);
        this.#count("allocations", allocations.length);
        return;
      }
      case "jobs":
        await commands.propose(CommandType.JobBatchDeregister, { Jobs: [...batch.jobs] });
        return this.#count("jobs", batch.jobs.length);
      case "deployments":
        await commands.propose(CommandType.DeploymentDelete, { IDs: [...batch.deployments] });
        return this.#count("deployments", batch.deployments.length);
      case "nodes":
        await commands.propose(CommandType.NodeCollect, { Nodes: [...batch.nodes] });
        return this.#count("nodes", batch.nodes.length);
      case "join-tokens":
        await commands.propose(CommandType.JoinTokenDelete, { Hashes: [...batch.hashes] });
        return this.#count("join_tokens", batch.hashes.length);
    }
  }

  #count(what: string, number: number): void {
    this.#parts.metrics.increment(`drover.gc.${what}`, number);
    this.#parts.log.debug({ [what]: number }, "garbage collected");
  }

  #evaluate(job: CoreJob): void {
    const { broker, state } = this.#parts;
    // One that still waits or works does what another would.
    const before = this.#latest.get(job);
    if (before !== undefined && broker.has(before)) return;
    const index = state.index();
    // After the last change the log may be quiet for long: time goes on nevertheless.
    this.#times.witness(index);
    const now = unixNanos();
    const evaluation: Evaluation = {
      ID: generateUUID(),
      Namespace: CORE_NAMESPACE,
      Priority: CORE_JOB_PRIORITY,
      Type: JobType.Core,
      TriggeredBy: EvalTrigger.Scheduled,
      JobID: `${job}:${index}`,
      Status: EvalStatus.Pending,
      CreateIndex: index,
      ModifyIndex: index,
      CreateTime: now,
      ModifyTime: now,
    };
    this.#latest.set(job, evaluation.ID);
    broker.enqueue(evaluation);
  }

  /** Learns how old earlier indexes are from the evaluations, which carry both: ages outlive a change of leader. */
  async #remember(term: number): Promise<void> {
    using snapshot = this.#parts.state.snapshot();
    this.#times.witness(snapshot.index);
    const now = unixNanos();
    const known: { index: number; age: number }[] = [];
    let left = ROWS_A_TURN;
    for (const { ModifyIndex, ModifyTime } of snapshot.evaluations()) {
      known.push({ index: ModifyIndex, age: (now - ModifyTime) / 1e6 });
      if (--left > 0) continue;
      left = ROWS_A_TURN;
      await turn();
      if (this.#term !== term) return;
    }
    this.#times.seed(known);
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));
