import type {
  ColumnBuffers,
  DryRunOutcome,
  DryRunTask,
  Evaluation,
  GarbageBatch,
  GarbageCutoffs,
  Job,
  Logger,
  Metrics,
  PackedPlan,
  PackedPlanResult,
  SchedulingAnswer,
  SchedulingOutcome,
  SchedulingRequest,
  SchedulingWorkerData,
} from "@drover/plugin-sdk";
import { EvalStatus, JobType } from "@drover/plugin-sdk";
import type { CheckedScheduler } from "../kernel/index.js";
import type { Delivery, EvalBroker } from "./evaluations/eval-broker.js";
import { Heap } from "./heap.js";
import type { SchedulerCatalog } from "./scheduler-catalog.js";
import { SchedulingThreads, ThreadEnded } from "./scheduling-threads.js";

/** Milliseconds for an evaluation of `_core`, which collects garbage for as long as there is some. */
const CORE_DEADLINE = 3_600_000;
/** MiB of heap of a thread. */
const THREAD_MEMORY = 1024;

/** What a scheduler asks of the leader while it works. */
export interface SchedulerRequests {
  submitPlan(plan: PackedPlan): Promise<PackedPlanResult>;
  updateEvaluation(evaluation: Evaluation, token: string): Promise<void>;
  createEvaluation(evaluation: Evaluation): Promise<void>;
  reblockEvaluation(evaluation: Evaluation, token: string): Promise<void>;
  /** For the holder of a `_core` evaluation. */
  collectGarbage(batch: GarbageBatch, evaluation: Evaluation, token: string): Promise<void>;
}

export interface SchedulerPoolOptions {
  readonly threads: number;
  /** Job types it takes from the broker. */
  readonly types: readonly string[];
  readonly catalog: SchedulerCatalog;
  /** Milliseconds for an evaluation, where the operator's rules don't say. */
  readonly deadline: number;
  readonly statePath: string;
  readonly columns: ColumnBuffers;
  /** Index that the snapshot of a delivery must contain. */
  readonly index: () => number;
  /** What is old for an evaluation of `_core`. */
  readonly cutoffs: (evaluation: Evaluation) => GarbageCutoffs;
  readonly job: (namespace: string, id: string) => Job | null;
}

/**
 * Moves evaluations from the broker into scheduling threads and their requests back.
 *
 * Built-in schedulers share their threads. A thread decides one evaluation at a time, and begins the next one while the plan of
 * the last one is committed. It knows what its own plans have taken that are on their way: without that they would refuse each
 * other on the nodes that all of them like best, and one that always comes second would give up. Where that can't be told by
 * numbers (ports, cores, devices, evictions) the next one waits for the commit.
 *
 * Where code from elsewhere takes part, an evaluation has a thread to itself for as long as it takes: whatever happens to that
 * thread is its doing and hurts no other. An evaluation under which a shared thread ended is delivered again to a thread of its
 * own, without counting: there it shows whether it was the one.
 */
export class SchedulerPool {
  readonly #shared: SchedulingThreads;
  #alone: SchedulingThreads | undefined;
  readonly #sharedTypes: readonly string[];
  readonly #guestTypes: readonly string[];
  /** Deliveries that wait for a thread of their own. */
  readonly #waiting = new Heap<Delivery>((a, b) => a.evaluation.Priority > b.evaluation.Priority);
  /** Evaluations in whose thread something went wrong. */
  readonly #suspects = new WeakSet<Evaluation>();
  #stopped = false;

  constructor(
    private readonly options: SchedulerPoolOptions,
    private readonly broker: EvalBroker,
    private readonly requests: SchedulerRequests,
    private readonly log: Logger,
    private readonly metrics: Metrics,
    /** Told when threads end again and again before they get anything done. */
    private readonly onFatal: (error: Error) => void,
  ) {
    const { catalog, types } = options;
    this.#guestTypes = types.filter((type) => catalog.guestType(type));
    this.#sharedTypes = types.filter((type) => !catalog.guestType(type));
    this.#shared = this.#threads(catalog.builtIn, true, this.#sharedTypes.length > 0 ? 1 : 0);
    // Started now, so that a plugin that can't run in a thread shows at once.
    if (catalog.hasGuests) this.#alone = this.#threads(catalog.plugins, false, 1);
  }

  /** Takes what the broker has ready, up to what the threads can hold. */
  pump(): void {
    if (this.#stopped) return;
    this.#startWaiting();
    for (;;) {
      const types = [
        ...(this.#shared.free > 0 ? this.#sharedTypes : []),
        ...(this.#freeAlone > 0 ? this.#guestTypes : []),
      ];
      const delivery = types.length === 0 ? undefined : this.broker.dequeue(types);
      if (delivery === undefined) return;
      const { evaluation, token } = delivery;
      if (!this.#runsAlone(evaluation)) this.#start(delivery, this.#shared);
      else if (this.#freeAlone > 0) this.#start(delivery, this.#aloneThreads());
      else {
        this.broker.pauseNackTimeout(evaluation.ID, token);
        this.#waiting.push(delivery);
      }
    }
  }

  /** Lets the scheduler of a job's type work on a job that is not registered, in one of the threads. Nothing is written. */
  async dryRun(task: DryRunTask): Promise<DryRunOutcome> {
    const { evaluation, job } = task;
    const { catalog } = this.options;
    const threads = catalog.guestsPlace(evaluation, () => job) ? this.#aloneThreads() : this.#shared;
    try {
      return await threads.dryRun(task);
    } catch (error) {
      if (!(error instanceof ThreadEnded)) throw error;
      throw new Error(`${catalog.culprit(evaluation, job)}: ${error.message}`, { cause: error });
    } finally {
      this.pump();
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([this.#shared.stop(), this.#alone?.stop()]);
  }

  get #freeAlone(): number {
    return this.#alone?.free ?? this.options.threads;
  }

  #startWaiting(): void {
    while (this.#freeAlone > 0) {
      const delivery = this.#waiting.pop();
      if (delivery === undefined) return;
      const { evaluation, token } = delivery;
      // Leadership may have been lost meanwhile, and the delivery with it.
      if (this.broker.outstandingToken(evaluation.ID) !== token) continue;
      this.broker.resumeNackTimeout(evaluation.ID, token);
      this.#start(delivery, this.#aloneThreads());
    }
  }

  #runsAlone(evaluation: Evaluation): boolean {
    return (
      this.#suspects.has(evaluation) ||
      this.options.catalog.guestsPlace(evaluation, () => this.#job(evaluation))
    );
  }

  #job(evaluation: Evaluation): Job | null {
    return this.options.job(evaluation.Namespace, evaluation.JobID);
  }

  #aloneThreads(): SchedulingThreads {
    this.#alone ??= this.#threads(this.options.catalog.plugins, false, 0);
    return this.#alone;
  }

  #threads(plugins: readonly CheckedScheduler[], overlap: boolean, kept: 0 | 1): SchedulingThreads {
    const { threads, statePath, columns, catalog } = this.options;
    const workerData: SchedulingWorkerData = {
      statePath,
      columns,
      modules: plugins.map(({ module }) => module),
      rules: catalog.rules,
    };
    return new SchedulingThreads(
      { threads, kept, overlap, memory: THREAD_MEMORY, workerData },
      this.log,
      this.onFatal,
      () => this.pump(),
    );
  }

  #start(delivery: Delivery, threads: SchedulingThreads): void {
    this.#run(delivery, threads)
      .catch((error: unknown) =>
        this.log.error(
          { evaluation: delivery.evaluation.ID, error: messageOf(error) },
          "evaluation not settled",
        ),
      )
      .finally(() => this.pump());
  }

  async #run({ evaluation, token }: Delivery, threads: SchedulingThreads): Promise<void> {
    const begin = performance.now();
    const { ID, Type } = evaluation;
    const task = {
      evaluation,
      token,
      minIndex: this.options.index(),
      now: Date.now(),
      ...(Type === JobType.Core ? { garbage: this.options.cutoffs(evaluation) } : {}),
    };
    const deadline =
      Type === JobType.Core ? CORE_DEADLINE : (this.options.catalog.deadline(Type) ?? this.options.deadline);
    let outcome: SchedulingOutcome;
    try {
      outcome = await threads.run(task, deadline, (request) => this.#answer(request, evaluation, token));
    } catch (error) {
      if (!this.#holds(ID, token)) return;
      this.metrics.increment("drover.scheduler.thread_ended");
      const why = messageOf(error);
      if (threads === this.#shared) this.#sendAlone(evaluation, token, why);
      else {
        this.#suspects.add(evaluation);
        this.broker.nack(
          ID,
          token,
          `${this.options.catalog.culprit(evaluation, this.#job(evaluation))}: ${why}`,
        );
      }
      return;
    }
    // Another delivery may have taken over after the nack timeout; that one answers for the evaluation now.
    if (!this.#holds(ID, token)) return;
    if (outcome.error === null) {
      this.metrics.sample(`nomad.worker.invoke_scheduler.${Type}`, performance.now() - begin);
      this.broker.ack(ID, token);
    } else if (outcome.next === "retry") this.broker.nack(ID, token, outcome.error);
    // The job may have changed since it was looked at here, and now name what these threads don't load.
    else if (threads === this.#shared) this.#sendAlone(evaluation, token, outcome.error);
    else await this.#fail(evaluation, token, outcome.error);
  }

  #holds(evaluationId: string, token: string): boolean {
    return !this.#stopped && this.broker.outstandingToken(evaluationId) === token;
  }

  #sendAlone(evaluation: Evaluation, token: string, why: string): void {
    this.log.warn(
      { evaluation: evaluation.ID, job: evaluation.JobID, why },
      "evaluation is delivered again, to a thread of its own",
    );
    this.#suspects.add(evaluation);
    this.broker.giveBack(evaluation.ID, token);
  }

  /** Ends an evaluation that would fail again however often it is delivered. The job's next evaluation is a new try. */
  async #fail(evaluation: Evaluation, token: string, why: string): Promise<void> {
    this.log.error({ evaluation: evaluation.ID, job: evaluation.JobID, why }, "evaluation failed");
    this.metrics.increment("drover.scheduler.plugin_fault");
    try {
      await this.requests.updateEvaluation(
        { ...evaluation, Status: EvalStatus.Failed, StatusDescription: why },
        token,
      );
    } catch (error) {
      if (this.#holds(evaluation.ID, token)) this.broker.nack(evaluation.ID, token, messageOf(error));
      return;
    }
    if (this.#holds(evaluation.ID, token)) this.broker.ack(evaluation.ID, token);
  }

  async #answer(
    request: Exclude<SchedulingRequest, { kind: "started" | "decided" }>,
    evaluation: Evaluation,
    token: string,
  ): Promise<SchedulingAnswer> {
    const { id } = request;
    try {
      switch (request.kind) {
        case "plan":
          return { id, result: await this.requests.submitPlan(request.plan) };
        case "evaluation.update":
          await this.requests.updateEvaluation(request.evaluation, token);
          return { id, result: null };
        case "evaluation.create":
          if (!this.#holds(evaluation.ID, token)) {
            throw new Error(`evaluation ${evaluation.ID} was delivered again: this delivery is out of date`);
          }
          await this.requests.createEvaluation(request.evaluation);
          return { id, result: null };
        case "evaluation.reblock":
          await this.requests.reblockEvaluation(request.evaluation, token);
          return { id, result: null };
        case "garbage":
          await this.requests.collectGarbage(request.batch, evaluation, token);
          return { id, result: null };
      }
    } catch (error) {
      return { id, error: messageOf(error) };
    }
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
